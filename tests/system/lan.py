"""A network around one daemon, all of it in namespaces, and raw frames to send and to look for.

      namespace h                                    namespace of its own, one per device
     ┌────────────────────────────────────┐         ┌─────────────────────────┐
     │ evswitchd ── port a (af_packet) ───┼─ veth ──┤ a.ifname                │
     │     │                              │         └─────────────────────────┘
     │     └── port host0 (tap)           │
     └────────────────────────────────────┘
"""

import ctypes
import socket
import struct
import threading
import time

from conftest import Net, need, wait_for
from rpc import Rpc

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, SOL_PACKET = 8, 23, 263
AUX_VLAN_VALID, AUX_TPID_VALID = 0x10, 0x40
libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(ns, call):
    """What call() returns, run by a thread that is in this network namespace."""
    out = {}

    def run():
        try:
            with open(f"/run/netns/{ns}", encoding="ascii") as f:
                if libc.setns(f.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {ns}")
            out["value"] = call()
        except BaseException as e:  # pylint: disable=broad-except
            out["error"] = e
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in out:
        raise out["error"]
    return out["value"]


class Wire:
    """A raw socket on an interface: sends frames, and sees those that come in, tags included."""

    def __init__(self, ns, ifname):
        def make():
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            s.bind((ifname, ETH_P_ALL))
            return s
        self.sock = in_namespace(ns, make)

    def send(self, frame):
        self.sock.send(bytes(frame))

    def receive(self, deadline):
        self.sock.settimeout(max(deadline, 0.001))
        frame, control, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(20))
        for level, kind, data in control:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data)
                if status & AUX_VLAN_VALID:  # the kernel took the tag out
                    tpid = tpid if status & AUX_TPID_VALID else 0x8100
                    frame = frame[:12] + struct.pack(">HH", tpid, tci) + frame[12:]
        return frame

    def until(self, last, deadline=10):
        """All frames up to and with the first one that contains these bytes."""
        frames, end = [], time.monotonic() + deadline
        while not frames or last not in frames[-1]:
            try:
                frames.append(self.receive(end - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"{last!r} did not come, but {len(frames)} other frames did") from None
        return frames

    def close(self):
        self.sock.close()


class Device:
    """The far end of a veth whose near end is a port."""

    def __init__(self, ns, ifname, near):
        self.ns, self.ifname, self.near = ns, ifname, near
        self.wires = []

    def wire(self):
        w = Wire(self.ns, self.ifname)
        self.wires.append(w)
        return w

    def mac(self):
        def ask():
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind((self.ifname, 0))
                return s.getsockname()[4]
        return in_namespace(self.ns, ask).hex(":")


class Lan:
    def __init__(self, make_daemon, **options):
        need("ip", "ping", "ethtool")
        self.net = Net()
        self.host = self.net.ns()
        self.devices = {}
        self.daemon = make_daemon(**({"memory": 256} | options))
        plain = self.daemon.argv
        self.daemon.argv = lambda: ["ip", "netns", "exec", self.host, *plain()]

    def start(self):
        self.daemon.start()
        return self

    def rpc(self, method, **params):
        with Rpc(self.daemon.socket) as rpc:
            return rpc.call(method, **params)

    def device(self, name, mtu=1500):
        """A namespace with a veth to the host."""
        d = Device(self.net.ns(), self.net.name(), self.net.name())
        self.devices[name] = d
        self.link(d, mtu)
        return d

    def link(self, d, mtu=1500, address=None):
        """Makes the veth pair, also again after it was deleted."""
        ns, near, far, run = d.ns, d.near, d.ifname, self.net.run
        run(None, "ip", "-n", self.host, "link", "add", near, "mtu", mtu, "type", "veth",
            "peer", "name", far, "netns", ns, "mtu", mtu, *(["address", address] if address else []))
        run(ns, "ethtool", "-K", far, "tx", "off", "txvlan", "off")
        run(ns, "ip", "link", "set", far, "up")
        run(self.host, "ip", "link", "set", near, "up")

    def guest(self, name, switch="sw0", ip=None, ip6=None, mtu=1500, kind="guest", **conf):
        d = self.device(name, conf.pop("link_mtu", mtu))
        index = len(self.devices)
        self.rpc("port.add", name=name, switch=switch, type=kind, device=f"net_af_packet{index},iface={d.near}",
                 mtu=mtu, **conf)
        self.wait_up(name)
        self.addresses(d.ns, d.ifname, ip, ip6)
        return d

    def uplink(self, name, **more):
        return self.guest(name, kind="uplink", **more)

    def host_vnic(self, name, switch="sw0", ip=None, ip6=None, mtu=1500, **conf):
        ifname = self.net.name()
        self.rpc("port.add", name=name, switch=switch, type="host", ifname=ifname, mtu=mtu, **conf)
        self.wait_up(name)
        self.addresses(self.host, ifname, ip, ip6)
        self.devices[name] = Device(self.host, ifname, ifname)
        return self.devices[name]

    def addresses(self, ns, ifname, ip, ip6):
        if ip:
            self.net.run(ns, "ip", "addr", "add", f"{ip}/24", "dev", ifname)
        if ip6:
            self.net.run(ns, "sysctl", "-qw", f"net.ipv6.conf.{ifname}.disable_ipv6=0")
            self.net.run(ns, "ip", "addr", "add", f"{ip6}/64", "dev", ifname, "nodad")

    def row(self, name):
        return self.rpc("port.show", name=name)[0]

    def state(self, name):
        row = self.row(name)
        return row["state"], row["why"]

    def wait_up(self, name):
        wait_for(lambda: self.row(name)["state"] == "up", 15, f"port {name} is up")

    def wait_state(self, name, state, why):
        """Until the port is in this state with this text in its reason."""
        def is_so():
            now = self.state(name)
            return now[0] == state and why in now[1]
        end = time.monotonic() + 15
        while not is_so():
            assert time.monotonic() < end, f"port {name} is {self.state(name)}, not {(state, why)}"
            time.sleep(0.02)

    def drops(self, name):
        return {row["reason"]: row["packets"] for row in self.rpc("drop.show", port=name)}

    def ping(self, ns, address, size=56, wait_s=1, count=1):
        """Whether echo requests of this size, unfragmented, are answered."""
        out = self.net.run(ns, "ping", "-q", "-n", "-M", "do", "-c", count, "-W", wait_s, "-s", size, address, check=False)
        return f" {count} received" in out

    def wait_ping(self, ns, address, size=56):
        wait_for(lambda: self.ping(ns, address, size), 15, f"{address} answers {size} bytes in {ns}")

    def check_accounting(self):
        """I6 for every port, once nothing moves any more."""
        def quiet():
            first, second = self.rpc("port.show"), self.rpc("port.show")
            return first == second
        wait_for(quiet)
        for row in self.rpc("port.show"):
            a = self.row(row["name"])["detail"]["accounting"]
            assert a["received"] + a["made"] == a["delivered"] + a["consumed"] + a["dropped"] + a["held"], \
                (row["name"], a)

    def destroy(self):
        for d in self.devices.values():
            for w in d.wires:
                w.close()
        self.net.destroy()
