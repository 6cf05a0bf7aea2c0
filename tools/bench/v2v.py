"""Two guests, one worker, learned unicast: evswitchd beside dpdk-testpmd, which moves frames and decides nothing, and
beside Open vSwitch, which learns as we do."""

import contextlib

import paired
import sides
from machine import Trouble, run_dir

WALK = ("--flows", "0")


@contextlib.contextmanager
def started(*starts):
    """Sides that are up and stopped."""
    with run_dir() as directory, contextlib.ExitStack() as stack:
        all_sides = []
        for start in starts:
            all_sides.append(start(directory, stack))
            all_sides[-1].pause()
        yield all_sides


def check_addresses(ours):
    ours.resume()
    if not sides.learned(ours.rpc):
        raise Trouble(f"v2v: the addresses did not stay where they belong: {ours.rpc('fdb.show')}")


def run(row, *starts):
    """Rounds of all sides; ours is the first."""
    with started(*starts) as all_sides:
        rounds = paired.measure(all_sides)
        paired.notes(row, rounds, all_sides)
        row.note(f"frames dropped by evswitch in its windows: {sum(r['evswitch']['lost'] for r in rounds)}")
        check_addresses(all_sides[0])
    return rounds


def ours_with(**more):
    return lambda directory, stack: sides.start_ours(directory, stack, **more)


def beside(load, io, ovs=None, **port):
    """A row: at most io × the cycles of testpmd and ovs × those of Open vSwitch. port: of evswitch's."""
    def measure(row):
        peers = [lambda d, s: sides.start_null(d, s, load)]
        peers += [lambda d, s: sides.start_ovs(d, s, load)] if ovs else []
        rounds = run(row, ours_with(load=load, port=port), *peers)
        paired.ratio(row, rounds, "cycles", "evswitch", "testpmd io", io, False)
        if ovs:
            paired.ratio(row, rounds, "cycles", "evswitch", "Open vSwitch", ovs, False)
    return measure


def good_rates(rounds):
    return [r["evswitch"]["pps"] for r in rounds if "evswitch" in r and not r["evswitch"]["complaints"]]


def walk_64(row):
    rounds = run(row, ours_with(options=WALK), sides.start_null)
    rates = paired.tenths(good_rates(rounds))
    row.bound("packets/s, both directions", rates[1], 3_000_000, True, rates, len(rounds))
    paired.ratio(row, rounds, "pps", "evswitch", "testpmd io", 0.4, True)


def every_stage(rpc):
    """Addresses of their own (sources are checked) and VLANs; the rest of the built-in stages is always there."""
    for i in (1, 2):
        rpc("port.set", name=f"vm{i}", mac=sides.testpmd.MACS[i - 1])
        rpc("vlan.set", port=f"vm{i}", mode="access", vlan=10)


def walk_only(row):
    rounds = run(row, ours_with(options=WALK, prepare=every_stage))
    rates = paired.tenths(good_rates(rounds))
    row.bound("packets/s, both directions", rates[1], 500_000, True, rates, len(rounds))
