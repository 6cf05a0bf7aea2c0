"""Many ports: the time of one more among a thousand, of starting again with all of them, and what the traffic of others
notices when a hundred come and go."""

import contextlib
import os
import statistics
import time

import sides
from evswitch import Evswitchd
from machine import Trouble, run_dir, say, wait_for

PORTS = 1000
ADDS = 100
RESTARTS = 5
COME_AND_GO = 100
MEMORY_FS = "/dev/shm"
PAGE = b"\0" * 4096


def add(rpc, directory, name):
    rpc("port.add", name=name, switch="sw0", type="guest", socket=f"{directory}/{name}.sock", mode="client")


def fill(rpc, directory):
    rpc("switch.add", name="sw0", kind="internal")
    for i in range(PORTS):
        add(rpc, directory, f"vm{i}")


def timed_ms(call, *args):
    begin = time.perf_counter()
    call(*args)
    return (time.perf_counter() - begin) * 1000


def flush(fd):
    os.pwrite(fd, PAGE, 0)
    os.fsync(fd)


def measure_adds(parent):
    """Times of one request, and of one flushed write of a page in the same file system, taking turns."""
    adds, flushes = [], []
    with run_dir(parent) as directory:
        daemon = Evswitchd(directory)
        fd = os.open(directory / "page", os.O_RDWR | os.O_CREAT)
        try:
            rpc = daemon.rpc()
            fill(rpc, directory)
            for _ in range(ADDS):
                adds.append(timed_ms(add, rpc, directory, "more"))
                flushes.append(timed_ms(flush, fd))
                rpc("port.del", name="more")
        finally:
            os.close(fd)
            daemon.stop()
    return adds, flushes


def port_add(row):
    """One change flushes several times, and a disk that others use too has no price: what is ours is measured in a
    file system without a disk, and the same with the disk is told beside it."""
    if not os.access(MEMORY_FS, os.W_OK):
        raise Trouble(f"port-add: needs {MEMORY_FS}, a file system without a disk")
    own, _ = measure_adds(MEMORY_FS)
    adds, flushes = measure_adds(None)
    row.bound("ms of one request without the disk, median", statistics.median(own), 2, False)
    row.note(f"ms without the disk: {tail(own)}")
    row.note(f"ms with the disk: {tail(adds)}")
    row.note(f"ms of one flush of the disk: {tail(flushes)}")
    row.samples = {"request_no_disk_ms": own, "request_ms": adds, "flush_ms": flushes}


def tail(values):
    cuts = statistics.quantiles(values, n=10)
    return f"median {statistics.median(values):.2f}, tenths {cuts[0]:.2f} … {cuts[-1]:.2f}, n={len(values)}"


def settled(rows):
    states = [r["state"] for r in rows]
    if "failed" in states:
        raise Trouble(f"restore: {next(r for r in rows if r['state'] == 'failed')}")
    return len(states) == PORTS and "opening" not in states


def restore_once(directory):
    """Seconds from exec to readiness, and to all ports shown and open."""
    begin = time.perf_counter()
    daemon = Evswitchd(directory)
    try:
        ready = time.perf_counter()
        rpc = daemon.rpc()
        wait_for(lambda: settled(rpc("port.show")), 30, f"all {PORTS} ports are shown and open")
        return ready - begin, time.perf_counter() - begin
    finally:
        daemon.stop()


def restore(row):
    with run_dir() as directory:
        daemon = Evswitchd(directory)
        try:
            fill(daemon.rpc(), directory)
        finally:
            daemon.stop()
        times = []
        for _ in range(RESTARTS):
            times.append(restore_once(directory))
            say(f"ready after {times[-1][0]:.2f} s, all ports after {times[-1][1]:.2f} s")
    ready, shown = zip(*times)
    row.bound(f"s from exec to {PORTS} ports shown and open, median", statistics.median(shown), 2, False)
    row.note(f"s: ready {min(ready):.2f} … {max(ready):.2f}, all ports {min(shown):.2f} … {max(shown):.2f}, "
             f"n={RESTARTS}")
    row.samples = {"ready_s": ready, "shown_s": shown}


def lost(rpc):
    return sum(p["dropped"] for p in rpc("port.show") if p["name"] in ("vm1", "vm2"))


def under_load(row):
    """Every frame that circles between two guests is counted by the switch: delivered, or dropped for a reason."""
    with run_dir() as directory, contextlib.ExitStack() as stack:
        ours = sides.start_ours(directory, stack)
        before, packets, begin = lost(ours.rpc), ours.count()["packets"], time.perf_counter()
        for i in range(COME_AND_GO):
            add(ours.rpc, directory, f"more{i}")
        for i in range(COME_AND_GO):
            ours.rpc("port.del", name=f"more{i}")
        took, packets = time.perf_counter() - begin, ours.count()["packets"] - packets
        row.bound("frames of two other guests that were lost", lost(ours.rpc) - before, 0, False)
    if packets == 0:
        raise Trouble("ports-under-load: nothing moved meanwhile")
    row.note(f"{COME_AND_GO} ports added and removed in {took:.2f} s, meanwhile {packets:,} frames "
             f"({packets / took / 1e6:.2f} Mpps)")
