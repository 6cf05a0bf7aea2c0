"""A thousand attached guests: what the silent ones cost those that work, and what all of them cost when none does."""

import contextlib
import time

import noise
import paired
from evswitch import Evswitchd, add_guest
from front import Front
from machine import run_dir, wait_for
from sides import Ours

GUESTS, BUSY = 1000, 8
IDLE_S = 5
READY_S = 1
FIRST_PPS, FIRST_S = 50, 10  # each packet finds everybody asleep
MEMORY_FS = "/dev/shm"  # a thousand ports are written down faster


def start(directory, stack, name, n, *options):
    """A daemon that connects to n guests of one load generator: (daemon, generator)."""
    where = directory / name
    where.mkdir()
    switch = Evswitchd(where, ("--memory", "512"))
    stack.callback(switch.stop)
    rpc = switch.rpc()
    rpc("switch.add", name="sw0", kind="internal")
    for i in range(n):
        add_guest(rpc, f"vm{i}", "sw0", f"{where}/{i}.sock", "client")
    front = Front(where, "front", [f"{where}/%d.sock"], "--devices", n, "--server", *options)
    stack.callback(front.stop)
    wait_for(lambda: all(p["state"] == "up" for p in rpc("port.show")), 60, f"all {n} guests are up")
    return switch, front


def silent(row):
    with run_dir(MEMORY_FS) as directory, contextlib.ExitStack() as stack:
        sides = []
        for name, n in ((f"{BUSY} of {GUESTS:,}", GUESTS), (f"{BUSY} alone", BUSY)):
            switch, front = start(directory, stack, f"of{n}", n, "--busy", BUSY)
            sides.append(Ours(name, switch, front, stack))
            sides[-1].pause()
        rounds = paired.measure(sides)
        paired.notes(row, rounds, sides)
        paired.ratio(row, rounds, "pps", sides[0].name, sides[1].name, 0.9, True)


def cpu_s(pid):
    return sum(t[0] for t in noise.Busiest.now(pid).values())


def idle(row):
    with run_dir(MEMORY_FS) as directory, contextlib.ExitStack() as stack:
        switch, front = start(directory, stack, "idle", GUESTS, "--busy", 2, "--mode", "paced", "--rate", FIRST_PPS)
        time.sleep(READY_S + FIRST_S)
        latency = front.final()["latency_ns"]
    with run_dir(MEMORY_FS) as directory, contextlib.ExitStack() as stack:
        switch, front = start(directory, stack, "idle", GUESTS, "--busy", 2, "--mode", "paced", "--rate", 1)
        pid = switch.rpc()("system.show")[0]["pid"]
        time.sleep(READY_S)
        before, begin = cpu_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        share = (cpu_s(pid) - before) / (time.monotonic() - begin)
    row.bound(f"share of one core, {GUESTS:,} silent guests", share, 0.05, False)
    row.bound("µs of a first packet, median", latency["p50"] / 1000, 200, False)
    row.bound("µs of a first packet, 99th percentile", latency["p99"] / 1000, 1000, False)
    row.note(f"µs of a first packet: max {latency['max'] / 1000:.0f}, {FIRST_PPS} packets/s for {FIRST_S} s")
