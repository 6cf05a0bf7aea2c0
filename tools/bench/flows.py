"""Many flows through one worker: evswitchd beside Open vSwitch, each with ten, a thousand … flows of the same guests.

One daemon of each kind serves all: every number of flows has guests of its own, each two of them on a switch (a bridge)
of their own, and only the guests of one number run at a time.
"""

import contextlib

import paired
from evswitch import Evswitchd, add_guest
from front import Front
from machine import run_dir
from ovs import Ovs
from sides import Ours, Side

RING = 1024
MAX_MACS = 65536  # of an evswitch switch; Open vSwitch is given as many
FEW = 10
MAC_PAIRS_OF_GUESTS = 4  # 100,000 pairs are 200,000 addresses: more than one switch learns


def label(kind, n):
    return f"{kind}, {n:,}"


def case(pairs, flows, macs):
    """Pairs of guests, and the options of their generator."""
    return range(pairs), ("--ring", RING, "--in-flight", RING // 2, "--flows", flows, "--macs", macs)


def ours(directory, stack, cases):
    switch = Evswitchd(directory)
    stack.callback(switch.stop)
    rpc, found = switch.rpc(), []
    for n, (pairs, options) in cases.items():
        sockets = []
        for pair in pairs:
            rpc("switch.add", name=f"sw{n}.{pair}", kind="internal")
            for end in "ab":
                sockets.append(directory / f"{end}{n}.{pair}.sock")
                add_guest(rpc, f"{end}{n}.{pair}", f"sw{n}.{pair}", sockets[-1])
        front = Front(directory, f"front-ours-{n}", sockets, *options)
        stack.callback(front.stop)
        found.append(Ours(label("evswitch", n), switch, front, stack))
        found[-1].guests.signal(paired.STOP)
    found[-1].pause()
    return found


def theirs(directory, stack, cases):
    switch = Ovs(directory)
    stack.callback(switch.stop)
    found = []
    for n, (pairs, options) in cases.items():
        sockets = []
        for pair in pairs:
            bridge = f"br{n}.{pair}"
            switch.add_bridge(bridge, MAX_MACS)
            sockets += [switch.add_guest(f"{end}{n}.{pair}", bridge) for end in "ab"]
        front = Front(directory, f"front-ovs-{n}", sockets, *options)
        stack.callback(front.stop)
        found.append(Side(label("Open vSwitch", n), switch, front, stack))
        found[-1].guests.signal(paired.STOP)
    found[-1].pause()
    return found


def measure(row, cases):
    with run_dir() as directory, contextlib.ExitStack() as stack:
        mine, peers = ours(directory, stack, cases), theirs(directory, stack, cases)
        few, most = mine[0], mine[-1]
        rounds = paired.measure(mine + peers, [*zip(mine, peers), (most, few)])
        paired.notes(row, rounds, mine + peers)
    return rounds


def cost(row, rounds, n, peer, bound):
    """The other's busy cycles per packet / ours: as throughput of a saturated worker would compare."""
    paired.ratio(row, rounds, "cycles", peer, label("evswitch", n), bound, True)


def l2(row):
    counts = (FEW, 1000, 100_000, 1_000_000)
    rounds = measure(row, {n: case(1, n, 1) for n in counts})
    cost(row, rounds, counts[-1], label("evswitch", FEW), 0.9)
    for n in counts:
        cost(row, rounds, n, label("Open vSwitch", n), 1.0)


def macs(row):
    n, guests = 100_000, MAC_PAIRS_OF_GUESTS
    rounds = measure(row, {m: case(guests, -(-m // guests), -(-m // guests)) for m in (FEW, n)})
    cost(row, rounds, n, label("evswitch", FEW), 0.6)
    cost(row, rounds, n, label("Open vSwitch", n), 2.0)
