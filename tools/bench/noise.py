"""What makes a window worthless: time that the host took away, a worker that was interrupted, a core that changed
its speed. Such windows are left out and counted, never averaged."""

import contextlib
import hashlib
import os
import time
from pathlib import Path

from machine import SWITCH_CORE

STEAL = 0.005  # share of a window that the host may take of one CPU
SWITCHES_PER_S = 2.5  # times that the worker had to leave its core against its will
WAITED = 0.03  # share of a window that the worker may have waited for its core; one that sleeps does not wait
CLOCK = 0.05  # by so much its speed may differ before and after a window, and between a pair's (cores flip 1 : 1.8)
PROBE_ROUNDS, PROBE_TRIES = 1000, 6
USER_HZ = os.sysconf("SC_CLK_TCK")


def stolen_s():
    return [int(line.split()[8]) / USER_HZ for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("cpu") and line[3] != " "]


def probe():
    """Time of a chain of dependent arithmetic on the switch's core: the best of a few, which an interrupt may not
    lengthen. The switches stand still meanwhile."""
    before, best = os.sched_getaffinity(0), float("inf")
    os.sched_setaffinity(0, {SWITCH_CORE})
    try:
        for _ in range(PROBE_TRIES):
            begin = time.perf_counter()
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", PROBE_ROUNDS)
            best = min(best, time.perf_counter() - begin)
    finally:
        os.sched_setaffinity(0, before)
    return best


def keep_core(pid):
    """Threads of the switch that have its core to themselves go before all that is not of real time, on every side
    alike; without the right to do so, more windows are left out."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if os.sched_getaffinity(int(task.name)) == {SWITCH_CORE}:
                os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(1))


class Busiest:
    """The thread of a process that had the most CPU time: the one that polls."""

    def __init__(self, pid):
        self.pid, self.before = pid, self.now(pid)

    @staticmethod
    def now(pid):
        threads = {}
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                status = (task / "status").read_text()
                ran, waited = (int(n) / 1e9 for n in (task / "schedstat").read_text().split()[:2])
                threads[task.name] = (ran, int(status.rpartition("nonvoluntary_ctxt_switches:")[2]), waited)
        return threads

    def since(self):
        """Seconds of CPU time, how often it was interrupted, and seconds that it waited for a CPU."""
        zero = (0, 0, 0)
        return max((tuple(b - a for a, b in zip(self.before.get(name, zero), now))
                    for name, now in self.now(self.pid).items()), default=zero)


class Watch:
    """Between the start and the end of a window."""

    def __init__(self, pid):
        self.stolen, self.busiest, self.begin = stolen_s(), Busiest(pid), time.monotonic()

    def complaints(self):
        """Empty if the window counts."""
        took = time.monotonic() - self.begin
        stolen = max(b - a for a, b in zip(self.stolen, stolen_s())) / took
        _, switches, waited_s = self.busiest.since()
        found = []
        if stolen > STEAL:
            found.append("time stolen")
        if switches / took > SWITCHES_PER_S:
            found.append("interrupted")
        if waited_s / took > WAITED:
            found.append("waited for its core")
        return found


def same_speed(a, b):
    return max(a, b) <= min(a, b) * (1 + CLOCK)
