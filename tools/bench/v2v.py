"""Two guests, one worker, learned unicast: evswitchd beside dpdk-testpmd, which moves frames and decides nothing.

Both switches and their guests are up all the time; all but the pair that is measured are stopped (SIGSTOP). The
windows alternate, so that whatever the machine does at the moment meets both; each ratio is of two neighbours.
"""

import contextlib
import signal
import statistics
import time

import testpmd
from evswitch import Evswitchd
from machine import SWITCH_CORE, CpuTime, Trouble, run_dir, say, spread, wait_for

WARM_S, WINDOW_S = 1, 2
PAIRS = 8
BURSTS = 24  # 24 × 32 frames in flight each way
OWN_CORE = 0.9  # share of its core that the switch must have had


class Side:
    """A switch with its guests. Guests leave only while the switch answers them."""

    def __init__(self, switch, guests, stack):
        self.switch, self.guests = switch, guests
        stack.callback(self.resume)

    def pause(self):
        self.guests.signal(signal.SIGSTOP)
        self.switch.signal(signal.SIGSTOP)

    def resume(self):
        self.switch.signal(signal.SIGCONT)
        self.guests.signal(signal.SIGCONT)

    def pid(self):
        return self.switch.child.pid

    def window(self):
        """pps, and cycles per packet where the switch counts them."""
        self.resume()
        time.sleep(WARM_S)
        cpu, before, begin = CpuTime(self.pid()), self.count(), time.monotonic()
        time.sleep(WINDOW_S)
        after, took = self.count(), time.monotonic() - begin
        share = cpu.busiest_s() / took
        self.pause()
        self.switch.check()
        self.guests.check()
        return {"pps": (after["packets"] - before["packets"]) / took, "core_share": share} | self.extra(before, after)


class Null(Side):
    def count(self):
        return {"packets": self.switch.sent()}

    def extra(self, before, after):
        return {}


class Ours(Side):
    def __init__(self, switch, guests, stack):
        super().__init__(switch, guests, stack)
        self.rpc = switch.rpc()
        self.switch_pid = self.rpc("system.show")[0]["pid"]

    def pid(self):
        return self.switch_pid

    def count(self):
        ports, worker = self.rpc("port.show"), self.rpc("worker.show")[0]
        return {"packets": sum(p["tx_packets"] for p in ports), "lost": sum(p["dropped"] for p in ports),
                "received": worker["packets"], "busy": worker["busy_cycles"]}

    def extra(self, before, after):
        packets = after["received"] - before["received"]
        return {"cycles": (after["busy"] - before["busy"]) / max(packets, 1), "lost": after["lost"] - before["lost"]}


def start_null(directory, stack):
    sockets = [directory / "null0.sock", directory / "null1.sock"]
    switch = testpmd.null_switch(directory, sockets, SWITCH_CORE)
    stack.callback(switch.stop)
    guests = testpmd.guests(directory, "guests-null", sockets)
    stack.callback(guests.stop)
    guests.ask(f"start tx_first {BURSTS}")
    return Null(switch, guests, stack)


def start_ours(directory, stack):
    switch = Evswitchd(directory)
    stack.callback(switch.stop)
    rpc = switch.rpc()
    rpc("switch.add", name="sw0", kind="internal")
    sockets = [directory / "vm1.sock", directory / "vm2.sock"]
    for i, s in enumerate(sockets, 1):
        rpc("port.add", name=f"vm{i}", switch="sw0", type="guest", socket=str(s), mode="server")
    guests = testpmd.guests(directory, "guests-ours", sockets)
    stack.callback(guests.stop)
    wait_for(lambda: all(p["state"] == "up" for p in rpc("port.show")), 10, "both guests are up")
    teach(rpc, guests)
    guests.ask(f"start tx_first {BURSTS}")
    return Ours(switch, guests, stack)


def learned(rpc):
    return {r["mac"]: r["port"] for r in rpc("fdb.show")} == {testpmd.MACS[0]: "vm1", testpmd.MACS[1]: "vm2"}


def teach(rpc, guests):
    """One burst each way; the frames in flight are then known unicast from the first on."""
    guests.ask("start tx_first 1")
    wait_for(lambda: learned(rpc), 10, f"the guests' addresses are learned, there is only {rpc('fdb.show')}")
    guests.ask("stop")


def measure(ours, null):
    """Pairs of windows. One in which a switch had to share its core says nothing about it and is left out."""
    pairs, left_out = [], 0
    while len(pairs) < PAIRS:
        a, p = ours.window(), null.window()
        say(f"evswitch {a['pps'] / 1e6:.2f} Mpps {a['cycles']:.0f} cycles/packet, testpmd io {p['pps'] / 1e6:.2f} Mpps")
        if min(a["core_share"], p["core_share"]) >= OWN_CORE:
            pairs.append((a, p))
            continue
        left_out += 1
        if left_out > PAIRS:
            raise Trouble("v2v: the switches have core 1 for themselves in less than half of the windows; "
                          "try again when this machine has less to do")
    return pairs, left_out


def report(row, pairs, left_out):
    rates, ratios = [a["pps"] for a, _ in pairs], [a["pps"] / p["pps"] for a, p in pairs]
    row.bound("packets/s, both directions, median", statistics.median(rates), 3_000_000, True)
    row.bound("ratio to testpmd io, median of pairs", statistics.median(ratios), 0.4, True)
    row.note(f"Mpps {spread([r / 1e6 for r in rates])}; testpmd io {spread([p['pps'] / 1e6 for _, p in pairs])}")
    row.note(f"ratio {spread(ratios)}; pairs left out {left_out}")
    row.note(f"busy cycles/packet {spread([a['cycles'] for a, _ in pairs])}; "
             f"frames dropped in the windows {sum(a['lost'] for a, _ in pairs)}")
    row.samples = {"evswitch": [a for a, _ in pairs], "testpmd_io": [p for _, p in pairs]}


def walk_64(row):
    with run_dir() as directory, contextlib.ExitStack() as stack:
        null = start_null(directory, stack)
        null.pause()
        ours = start_ours(directory, stack)
        ours.pause()
        report(row, *measure(ours, null))
        ours.resume()
        if not learned(ours.rpc):
            raise Trouble(f"v2v: the addresses did not stay where they belong: {ours.rpc('fdb.show')}")
