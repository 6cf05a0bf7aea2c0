"""The switch process is killed, or upgraded, under 64 guests' load: how long do they do without a switch?"""

import contextlib
import os
import signal
import statistics
import time

from evswitch import Evswitchd, add_guest
from front import Front
from machine import Trouble, run_dir, wait_for

GUESTS, RATE = 64, 100000
KILLS = UPGRADES = 5
INTERVAL_MS = 20
CALM_S, AFTER_S = 1, 2
SETTLED_S = 0.5  # an upgrade answers when guests are back
APART_S = 10.5  # whoever crashes more often is started again later
MEMORY_FS = "/dev/shm"


def start(directory, stack, *words):
    switch = Evswitchd(directory)
    stack.callback(switch.stop)
    rpc = switch.rpc()
    rpc("switch.add", name="sw0", kind="internal")
    for i in range(GUESTS):
        add_guest(rpc, f"vm{i}", "sw0", directory / f"vm{i}.sock", "client")
    rpc.close()
    front = Front(directory, "guests", [directory / "vm%d.sock"], "--server", "--devices", GUESTS, "--mode", "paced",
                  "--rate", RATE, "--stamp", "--nap", 20, "--interval", INTERVAL_MS, *words)
    stack.callback(front.stop)
    return switch, front


def intervals(front):
    return [o for o in front.said() if o["event"] == "interval"]


def blocked_s(front, act, after_s=AFTER_S):
    """What did not arrive from act() to so long after it and would have, as seconds of what arrived before it."""
    time.sleep(CALM_S)
    before = intervals(front)[-int(CALM_S * 500 / INTERVAL_MS):]
    rate = sum(o["rx_pps"] * o["seconds"] for o in before) / sum(o["seconds"] for o in before)
    n = len(intervals(front))
    act()
    time.sleep(after_s)
    after = intervals(front)[n:]
    if not after or statistics.mean(o["rx_pps"] for o in after[-10:]) < rate / 2:
        raise Trouble("the guests' traffic did not come back")
    return sum((1 - o["rx_pps"] / rate) * o["seconds"] for o in after)


def ready_after(switch, act):
    """Calls act(); seconds until another switch process answers."""
    rpc = switch.rpc()
    old = rpc("system.show")[0]["pid"]
    rpc.close()
    begin = time.monotonic()
    act(old)

    def is_back():
        with contextlib.suppress(OSError, Trouble):
            another = switch.rpc()
            try:
                return another("system.show")[0]["pid"] != old
            finally:
                another.close()
        return False

    wait_for(is_back, 30, "the switch process is back")
    return time.monotonic() - begin


def kill(row):
    with run_dir(MEMORY_FS) as directory, contextlib.ExitStack() as stack:
        switch, front = start(directory, stack, *(["--packed"] if row.name.endswith("packed") else []))
        times, ready = [], []
        for i in range(KILLS):
            if i > 0:
                time.sleep(APART_S - CALM_S - AFTER_S)
            times.append(blocked_s(front, lambda: ready.append(
                ready_after(switch, lambda pid: os.kill(pid, signal.SIGKILL)))))
        final = front.final()
    row.bound(f"ms blocked, {GUESTS} guests, median", statistics.median(times) * 1000, 600, False,
              (min(times) * 1000, None, max(times) * 1000), KILLS)
    row.note(f"ms until it answers: {min(ready) * 1000:.0f} … {max(ready) * 1000:.0f}; late {final['late']}, "
             f"repeated {final['dup']}")
    row.samples = {"blocked_s": times, "ready_s": ready}


def upgraded(switch):
    """Another process has taken over; seconds until its predecessor said so."""
    rpc = switch.rpc()
    rpc.socket.settimeout(60)
    begin = time.monotonic()
    rpc("system.upgrade")
    took = time.monotonic() - begin
    rpc.close()
    return took


def upgrade(row):
    with run_dir(MEMORY_FS) as directory, contextlib.ExitStack() as stack:
        switch, front = start(directory, stack, *(["--packed"] if row.name.endswith("packed") else []))
        took = []
        times = [blocked_s(front, lambda: took.append(upgraded(switch)), SETTLED_S) for _ in range(UPGRADES)]
        final = front.final()
    row.bound(f"ms blocked, {GUESTS} guests, median", statistics.median(times) * 1000, 50, False,
              (min(times) * 1000, None, max(times) * 1000), UPGRADES)
    row.note(f"ms from request to answer: {min(took) * 1000:.0f} … {max(took) * 1000:.0f}; late {final['late']}, "
             f"repeated {final['dup']}")
    row.samples = {"blocked_s": times, "took_s": took}
