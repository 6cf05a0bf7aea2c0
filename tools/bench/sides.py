"""The switches that are compared, each with its two guests. All are up all the time; those that are not measured at
the moment are stopped (SIGSTOP). Every switch counts the same: packets received, and TSC cycles of the rounds in which
it received some.

Windows are short, because a core of a machine that others use, too, changes its speed every second or so: two
neighbours then mostly have the same speed, and most windows meet no interruption."""

import signal
import time

import noise
import testpmd
from evswitch import Evswitchd, add_guest
from machine import SWITCH_CORE
from ovs import BRIDGE, Ovs

WARM_S, WINDOW_S = 0.05, 0.1
SMALL = testpmd.Circle()


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
        complaints += [] if packets else ["no packets"]
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


def start_null(directory, stack, load=SMALL, ports=""):
    """ports: more of the vhost ports' arguments."""
    sockets = [directory / "null0.sock", directory / "null1.sock"]
    switch = testpmd.null_switch(directory, sockets, SWITCH_CORE, load.frame_bytes, ports)
    stack.callback(switch.stop)
    guests = load.start(directory, "guests-null", sockets, stack, lambda: True)
    return Side("testpmd io", switch, guests, stack)


def start_ovs(directory, stack, load=SMALL):
    switch = Ovs(directory)
    stack.callback(switch.stop)
    switch.add_bridge(BRIDGE, 2048)
    sockets = [switch.add_guest(f"vm{i}") for i in (1, 2)]
    guests = load.start(directory, "guests-ovs", sockets, stack, lambda: len(switch.macs()) >= 2)
    return Side("Open vSwitch", switch, guests, stack)


def learned(rpc):
    """Each guest has one address, at its port."""
    return sorted(r["port"] for r in rpc("fdb.show")) == ["vm1", "vm2"]


def start_ours(directory, stack, load=SMALL, options=(), port=None, prepare=lambda rpc: None, name="evswitch"):
    """port: what more is said of both ports; prepare(rpc) changes them before the guests are there."""
    switch = Evswitchd(directory, options)
    stack.callback(switch.stop)
    rpc = switch.rpc()
    rpc("switch.add", name="sw0", kind="internal")
    sockets = [directory / "vm1.sock", directory / "vm2.sock"]
    for i, s in enumerate(sockets, 1):
        add_guest(rpc, f"vm{i}", "sw0", s, **(port or {}))
    prepare(rpc)
    guests = load.start(directory, "guests-ours", sockets, stack, lambda: learned(rpc))
    return Ours(name, switch, guests, stack)
