"""The switches that are compared, each with its two guests. All are up all the time; those that are not measured at
the moment are stopped (SIGSTOP). Every switch counts the same: packets received, and TSC cycles of the rounds in which
it received some.

Windows are short, because a core of a machine that others use, too, changes its speed every second or so: two
neighbours then mostly have the same speed, and most windows meet no interruption."""

import signal
import time

import noise
import testpmd
from evswitch import Evswitchd
from machine import SWITCH_CORE, wait_for
from ovs import BRIDGE, Ovs

WARM_S, WINDOW_S = 0.05, 0.1
BURSTS = 24  # 24 × 32 frames in flight each way


class Side:
    """Guests leave only while the switch answers them."""

    def __init__(self, name, switch, guests, stack):
        self.name, self.switch, self.guests = name, switch, guests
        stack.callback(self.resume)

    def pause(self):
        self.guests.signal(signal.SIGSTOP)
        self.switch.signal(signal.SIGSTOP)

    def resume(self):
        self.switch.signal(signal.SIGCONT)
        self.guests.signal(signal.SIGCONT)

    def pid(self):
        return self.switch.child.pid

    def count(self):
        return self.switch.count()

    def window(self):
        """What was counted per second and per packet, and what was wrong with the window."""
        clock_before = noise.probe()
        noise.keep_core(self.pid())
        self.resume()
        time.sleep(WARM_S)
        watch, before = noise.Watch(self.pid()), self.count()
        begin = time.monotonic()
        time.sleep(WINDOW_S)
        after, took, complaints = self.count(), time.monotonic() - begin, watch.complaints()
        self.pause()
        clock = noise.probe()
        complaints += [] if noise.same_speed(clock_before, clock) else ["changed speed"]
        self.switch.check()
        self.guests.check()
        packets = after["packets"] - before["packets"]
        more = {k: after[k] - before[k] for k in after.keys() - {"packets", "busy"}}
        return more | {"pps": packets / took, "cycles": (after["busy"] - before["busy"]) / max(packets, 1),
                       "clock": clock, "complaints": complaints}


class Ours(Side):
    def __init__(self, name, switch, guests, stack):
        super().__init__(name, switch, guests, stack)
        self.rpc = switch.rpc()
        self.switch_pid = self.rpc("system.show")[0]["pid"]

    def pid(self):
        return self.switch_pid

    def count(self):
        worker = self.rpc("worker.show")[0]
        return {"packets": worker["packets"], "busy": worker["busy_cycles"],
                "lost": sum(p["dropped"] for p in self.rpc("port.show"))}


def start_traffic(guests, knows, frame_bytes):
    """One burst each way teaches the switch both addresses; the frames that then circle are known unicast."""
    if frame_bytes:
        guests.ask(f"set txpkts {frame_bytes}")
    guests.ask("start tx_first 1")
    wait_for(knows, 10, "the switch has learned both guests' addresses")
    guests.ask("stop")
    guests.ask(f"start tx_first {BURSTS}")


def start_null(directory, stack, frame_bytes=None):
    sockets = [directory / "null0.sock", directory / "null1.sock"]
    switch = testpmd.null_switch(directory, sockets, SWITCH_CORE)
    stack.callback(switch.stop)
    guests = testpmd.guests(directory, "guests-null", sockets)
    stack.callback(guests.stop)
    start_traffic(guests, lambda: True, frame_bytes)
    return Side("testpmd io", switch, guests, stack)


def start_ovs(directory, stack, frame_bytes=None):
    switch = Ovs(directory)
    stack.callback(switch.stop)
    switch.add_bridge(BRIDGE, 2048)
    guests = testpmd.guests(directory, "guests-ovs", [switch.add_guest(f"vm{i}") for i in (1, 2)])
    stack.callback(guests.stop)
    start_traffic(guests, lambda: set(testpmd.MACS) <= switch.macs(), frame_bytes)
    return Side("Open vSwitch", switch, guests, stack)


def learned(rpc):
    return {r["mac"]: r["port"] for r in rpc("fdb.show")} == {testpmd.MACS[0]: "vm1", testpmd.MACS[1]: "vm2"}


def start_ours(directory, stack, frame_bytes=None, options=(), prepare=lambda rpc: None):
    """prepare(rpc) changes the ports before the guests are there."""
    switch = Evswitchd(directory, options)
    stack.callback(switch.stop)
    rpc = switch.rpc()
    rpc("switch.add", name="sw0", kind="internal")
    sockets = [directory / "vm1.sock", directory / "vm2.sock"]
    for i, s in enumerate(sockets, 1):
        rpc("port.add", name=f"vm{i}", switch="sw0", type="guest", socket=str(s), mode="server")
    prepare(rpc)
    guests = testpmd.guests(directory, "guests-ours", sockets)
    stack.callback(guests.stop)
    wait_for(lambda: all(p["state"] == "up" for p in rpc("port.show")), 10, "both guests are up")
    start_traffic(guests, lambda: learned(rpc), frame_bytes)
    return Ours("evswitch", switch, guests, stack)
