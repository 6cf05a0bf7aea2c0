"""Live migration of real guests between two hosts: their network, their connections and their memory survive.

      namespace a                    namespace lan                    namespace b
     ┌─────────────────────┐      ┌────────────────┐      ┌─────────────────────┐
     │ evswitchd ─── up0 ──┼ veth ┤     bridge     ├ veth ┼── up0 ─── evswitchd │
     │     │               │      │       │        │      │               │     │
     │   vm1…vm3 ports     │      │   10.0.0.1     │      │     vm1…vm3 ports   │
     └─────┬───────────────┘      └────────────────┘      └───────────────┬─────┘
       QEMU vm1 10.0.0.11  ── migrate ─────────────────────────────▸ QEMU vm1

The bridge stands for the other switches of the network: its table says where an address is.
"""

import json
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from conftest import Daemon, Net, need, wait_for
from guest import Guest, need_guests
from lan import Wire, in_namespace

PEER, PEER6 = "10.0.0.1", "fd00::1"
RARP, ARP, IP6 = b"\x80\x35", b"\x08\x06", b"\x86\xdd"


class Host:
    """A daemon with an uplink to the bridge, in a namespace of its own."""

    def __init__(self, site, name, core):
        self.net, self.name = site.net, name
        self.dir = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
        self.ns = self.net.ns()
        self.ifname, self.bridge_port = self.net.veth(self.ns, site.lan)
        self.net.run(site.lan, "ip", "link", "set", self.bridge_port, "master", "br0")
        self.daemon = Daemon(self.dir, cores=core, memory=128)
        plain = self.daemon.argv
        self.daemon.argv = lambda: ["ip", "netns", "exec", self.ns, *plain()]

    def start(self):
        self.daemon.start()
        self.daemon.ctl("switch", "add", "sw0", "kind", "external")
        self.daemon.ctl("port", "add", "up0", "switch", "sw0", "type", "uplink", "device",
                        f"net_af_packet0,iface={self.ifname}")

    def socket(self, vm):
        return f"{self.dir}/{vm}.sock"

    def add(self, vm, **conf):
        words = [w for key, value in conf.items() for w in (key, value)]
        self.daemon.ctl("port", "add", vm, "switch", "sw0", "type", "guest", "socket", self.socket(vm), "mode",
                        "client", *words)

    def qemu(self, vm, incoming=False, net=""):
        """Its QEMU on this host: boots, or waits for the guest to come."""
        n = vm[-1]
        more = f"-incoming unix:{self.dir}/{vm}.migrate" if incoming else ""
        return Guest(self.dir, vm, self.socket(vm), f"02:00:00:00:00:1{n}", f"10.0.0.1{n}/24", ip6=f"fd00::1{n}/64",
                     net=net, qemu=more)

    def port(self, vm):
        return self.daemon.ctl("port", "show", vm)[0]

    def place(self, mac):
        """The port where the switch has this address."""
        return next((e["port"] for e in self.daemon.ctl("fdb", "show") if e["mac"] == mac), None)

    def features(self, vm):
        return self.port(vm)["detail"]["vhost-user"]["features"]

    def destroy(self):
        self.daemon.destroy()
        shutil.rmtree(self.dir, ignore_errors=True)


class Stream:
    """A listener of the peer: what a guest sends must be the numbers from 0 on, one per line, each once."""

    def __init__(self, ns, port):
        def listen():
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((PEER, port))
            s.listen(1)
            return s
        self.port, self.n, self.wrong = port, 0, None
        self.listener = in_namespace(ns, listen)
        self.connection = None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            self.connection = self.listener.accept()[0]
            for line in self.connection.makefile("rb"):
                if line != b"%d\n" % self.n:
                    self.wrong = (self.n, line)
                    return
                self.n += 1
            self.wrong = (self.n, "the connection has ended")
        except OSError:
            pass  # closed by the test

    def goes_on(self):
        """Until more has come, without a gap."""
        target = self.n + 20
        wait_for(lambda: self.n > target or self.wrong, 60, f"the stream on {self.port} goes on")
        assert not self.wrong

    def close(self):
        self.listener.close()
        if self.connection:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()


class Site:
    def __init__(self):
        need("ip", "ping", "bridge")
        need_guests()
        if os.geteuid() != 0:
            pytest.skip("guests need root")
        self.net = Net()
        self.hosts, self.guests, self.streams, self.wires = [], [], [], []

    def start(self):
        self.lan = self.net.ns()
        run = self.net.run
        run(self.lan, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=1")
        run(self.lan, "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run(self.lan, "sysctl", "-qw", "net.ipv6.conf.br0.disable_ipv6=0", "net.ipv6.conf.br0.accept_dad=0")
        run(self.lan, "ip", "link", "set", "br0", "up")
        run(self.lan, "ip", "addr", "add", f"{PEER}/24", "dev", "br0")
        run(self.lan, "ip", "addr", "add", f"{PEER6}/64", "dev", "br0", "nodad")
        cores = sorted(os.sched_getaffinity(0))
        self.hosts = [Host(self, "a", cores[-1]), Host(self, "b", cores[0])]
        for host in self.hosts:
            host.start()

    def boot(self, host, vm, **more):
        self.guests.append(host.qemu(vm, **more))
        return self.guests[-1]

    def stream(self, vm, port):
        """A connection on which the guest counts, about 100 numbers a second."""
        self.streams.append(Stream(self.lan, port))
        vm.run(f"(i=0; while :; do echo $i; i=$((i+1)); usleep 10000; done) 2>/dev/null | nc {PEER} {port} "
               ">/dev/null 2>&1 & true")
        self.streams[-1].goes_on()
        return self.streams[-1]

    def wire(self, host):
        """Sees what this host sends to the network."""
        self.wires.append(Wire(self.lan, host.bridge_port))
        return self.wires[-1]

    def bridge_place(self, mac):
        """The bridge's port where it has this address."""
        rows = json.loads(self.net.run(self.lan, "bridge", "-j", "fdb", "show", "br", "br0"))
        return next((r["ifname"] for r in rows if r["mac"] == mac and "permanent" not in r.get("state", "")), None)

    def destroy(self):
        for s in self.streams:
            s.close()
        for w in self.wires:
            w.close()
        for g in self.guests:
            g.stop()
        for host in self.hosts:
            host.destroy()
        self.net.destroy()


@pytest.fixture
def site():
    s = Site()
    try:
        s.start()
        yield s
        for host in s.hosts:
            host.daemon.stop()
    finally:
        s.destroy()


def status(guest):
    """How the migration goes, as QEMU says."""
    text = guest.monitor("info migrate")
    return next((line.split()[2] for line in text.splitlines() if line.startswith("Migration status:")), "none")


def wait_status(guest, wanted):
    wait_for(lambda: status(guest) == wanted, 120, f"the migration of {guest.name} is {wanted}")


def prepare(site, guest, host, **more):
    """The guest's QEMU on the host to which it goes, where a port waits for it."""
    path = Path(f"{host.dir}/{guest.name}.migrate")
    path.unlink(missing_ok=True)
    there = site.boot(host, guest.name, incoming=True, **more)
    wait_for(path.exists, 30, "the destination listens")
    return there


def begin(guest, host):
    guest.monitor(f"migrate -d unix:{host.dir}/{guest.name}.migrate")


def finish(guest):
    wait_status(guest, "completed")
    guest.stop()


def migrate(site, guest, host, **more):
    there = prepare(site, guest, host, **more)
    begin(guest, host)
    finish(guest)
    return there


def crawl(site, guest, host):
    """Begins a migration that does not end; its dirty log is on. Returns the QEMU at the destination."""
    there = prepare(site, guest, host)
    guest.monitor("migrate_set_parameter max-bandwidth 1M")
    begin(guest, host)
    here = next(h for h in site.hosts if h is not host)
    wait_for(lambda: "dirty-log" in here.features(guest.name), 30, "the dirty log is on")
    return there


class Life:
    """What a guest has before it moves, and must have afterwards: a file, a ping that goes on, a connection."""

    def __init__(self, site, guest, port):
        self.file = "/tmp/data"
        guest.run(f"head -c 8000000 /dev/urandom >{self.file}")
        self.hash = guest.run(f"md5sum <{self.file}")
        guest.run(f"ping {PEER} >/tmp/ping 2>&1 & true")
        guest.ping(PEER6)
        self.stream = site.stream(guest, port)

    def goes_on(self, guest):
        self.stream.goes_on()
        guest.run("n=$(grep -c 'bytes from' /tmp/ping); "
                  "until [ $(grep -c 'bytes from' /tmp/ping) -gt $((n + 1)) ]; do sleep 0.1; done", timeout=60)
        guest.ping(PEER6)
        assert guest.run(f"md5sum <{self.file}") == self.hash


def move_is_seen(site, host, guest):
    """The address is where the guest is, for this switch, for the bridge and for the switch that it left."""
    wait_for(lambda: host.place(guest.mac) == guest.name, what="the FDB of the destination has the guest")
    wait_for(lambda: site.bridge_place(guest.mac) == host.bridge_port, what="the bridge has followed")
    other = next(h for h in site.hosts if h is not host)
    wait_for(lambda: other.place(guest.mac) in ("up0", None), what="the FDB of the source has followed")


def started(site, *vms, **more):
    """Guests of the first host, with ports for them on both."""
    for vm in vms:
        for host in site.hosts:
            host.add(vm)
        site.boot(site.hosts[0], vm, **more)
    for guest in site.guests:
        guest.wait_ready()
    return list(site.guests)


@pytest.mark.parametrize("net", ["", ",packed=on", ",mrg_rxbuf=off,event_idx=off"])
def test_a_guest_moves_and_moves_back(site, net):
    a, b = site.hosts
    guest = started(site, "vm1", net=net)[0]
    life = Life(site, guest, 5001)
    for host in (b, a):
        guest = migrate(site, guest, host, net=net)
        move_is_seen(site, host, guest)
        life.goes_on(guest)
        assert host.port("vm1")["state"] == "up"
        assert "dirty-log" not in host.features("vm1")


def test_guests_move_at_the_same_time(site):
    guests = started(site, "vm1", "vm2", "vm3")
    b = site.hosts[1]
    lives = [Life(site, guest, 5001 + i) for i, guest in enumerate(guests)]
    there = [prepare(site, guest, b) for guest in guests]
    for guest in guests:
        begin(guest, b)
    for guest in guests:
        finish(guest)
    for guest, life in zip(there, lives):
        move_is_seen(site, b, guest)
        life.goes_on(guest)
    there[0].ping("10.0.0.12")
    there[1].ping("10.0.0.13")


def test_a_migration_is_cancelled(site):
    a, b = site.hosts
    guest = started(site, "vm1")[0]
    life = Life(site, guest, 5001)
    for _ in range(3):
        there = crawl(site, guest, b)
        life.goes_on(guest)
        guest.monitor("migrate_cancel")
        wait_status(guest, "cancelled")
        there.stop()
        wait_for(lambda: "dirty-log" not in a.features("vm1"), what="the dirty log is off")
        life.goes_on(guest)
    guest.monitor("migrate_set_parameter max-bandwidth 1G")
    guest = migrate(site, guest, b)
    move_is_seen(site, b, guest)
    life.goes_on(guest)


def test_a_destination_fails(site):
    a, b = site.hosts
    guest = started(site, "vm1")[0]
    life = Life(site, guest, 5001)
    crawl(site, guest, b).stop()
    wait_status(guest, "failed")
    wait_for(lambda: "dirty-log" not in a.features("vm1"), what="the dirty log is off")
    life.goes_on(guest)
    crawl(site, guest, b)
    b.daemon.stop()
    guest.monitor("migrate_cancel")
    wait_status(guest, "cancelled")
    life.goes_on(guest)
    b.daemon.start()


def said(guest, wire):
    """What the guest has sent since the wire was there, all announcements among it."""
    guest.run(f"ping -c 3 {PEER}; ping -c 1 -p 5a {PEER}")
    mac = bytes.fromhex(guest.mac.replace(":", ""))
    return [f for f in wire.until(b"\x5a" * 40) if f[6:12] == mac]


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_guest_that_cannot_announce_itself_is_announced_by_rarp(site, rounds):
    b = site.hosts[1]
    guest = started(site, "vm1", net=",guest_announce=off")[0]
    there = prepare(site, guest, b, net=",guest_announce=off")
    there.monitor(f"migrate_set_parameter announce-rounds {rounds}")
    wire = site.wire(b)
    begin(guest, b)
    finish(guest)
    move_is_seen(site, b, there)  # though the guest has said nothing
    mac = bytes.fromhex(there.mac.replace(":", ""))
    want = b"\xff" * 6 + mac + RARP + bytes.fromhex("0001 0800 06 04 0003") + mac + bytes(4) + mac + bytes(4)
    frames = [f for f in said(there, wire) if f[12:14] == RARP]
    assert set(frames) == {want.ljust(60, b"\0")}
    assert len(frames) <= rounds  # QEMU asks for the first one before the guest runs; it may fall together with the next


def test_a_guest_announces_itself(site):
    b = site.hosts[1]
    guest = started(site, "vm1")[0]
    # An address is announced once it is known to be nobody else's (RFC 4862, 5.4).
    wait_for(lambda: "tentative" not in guest.run("ip -6 addr show"), 60, "the guest's addresses are its own")
    there = prepare(site, guest, b)
    there.monitor("migrate_set_parameter announce-rounds 1")
    wire = site.wire(b)
    begin(guest, b)
    finish(guest)
    move_is_seen(site, b, there)
    frames = said(there, wire)
    # Of itself, by itself: gratuitous ARP, and unsolicited neighbour advertisements (RFC 4861, 7.2.6).
    arps = [f for f in frames if f[12:14] == ARP and f[28:32] == f[38:42]]
    advertised = [socket.inet_ntop(socket.AF_INET6, f[62:78]) for f in frames
                  if f[12:14] == IP6 and f[20] == socket.IPPROTO_ICMPV6 and f[54] == 136]
    assert [f[:6] + f[28:32] for f in arps] == [b"\xff" * 6 + socket.inet_aton("10.0.0.11")]
    assert sorted(a[:6] for a in advertised) == ["fd00::", "fe80::"]
    assert not [f for f in frames if f[12:14] == RARP]
