"""After a stop, a crash or a kill everything is there again, by itself and under traffic."""

import os
import re
import subprocess
import time
from collections import Counter

import pytest
from conftest import wait_for
from lan import Lan
from rpc import Rpc

N_PORTS = 300


@pytest.fixture
def lan(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Lan(make_daemon)
    try:
        made.start()
        yield made
        made.daemon.stop()
    finally:
        made.destroy()


class Pings:
    """A ping that never stops, and what was answered so far."""

    def __init__(self, lan, ns, address):
        self.process = lan.net.popen(ns, "ping", "-n", "-O", "-i", "0.05", address, stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b""

    def answered(self):
        self.text += self.process.stdout.read() or b""
        return len(re.findall(rb"icmp_seq=\d+ ttl", self.text))

    def wait_more(self, n=5):
        before = self.answered()
        wait_for(lambda: self.answered() >= before + n, 20, f"{n} more pings are answered")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.parametrize("how", ["stop and start", "kill the switch process", "kill the supervisor"])
def test_traffic_resumes_by_itself(lan, how):
    """Between two guests and with the host; nobody touches the far ends."""
    lan.rpc("switch.add", name="sw0", kind="internal")
    a = lan.guest("a", ip="10.0.0.1")
    lan.guest("b", ip="10.0.0.2")
    host = lan.host_vnic("host0", ip="10.0.0.3")
    lan.wait_ping(a.ns, "10.0.0.2")
    ifindex = lan.net.run(lan.host, "cat", f"/sys/class/net/{host.ifname}/ifindex")
    document = lan.rpc("config.show")
    pings = [Pings(lan, a.ns, "10.0.0.2"), Pings(lan, a.ns, "10.0.0.3")]
    try:
        for p in pings:
            p.wait_more()
        if how == "stop and start":
            lan.daemon.stop()
            lan.daemon.start()
        elif how == "kill the switch process":
            lan.daemon.kill()
        else:
            pid = lan.daemon.pid()
            lan.daemon.process.kill()
            lan.daemon.process.wait()
            wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
            lan.daemon.start()
        for p in pings:
            p.wait_more()
    finally:
        for p in pings:
            p.stop()
    assert lan.rpc("config.show") == document
    for name in ("a", "b", "host0"):
        assert lan.state(name) == ("up", "")
    # The host's interface, with its address, is the same one as before.
    assert lan.net.run(lan.host, "cat", f"/sys/class/net/{host.ifname}/ifindex") == ifindex


def test_hundreds_of_ports(daemon):
    """All of them, of every kind that needs no device, with VLANs and static entries; ready is said when they are."""
    with Rpc(daemon.socket) as rpc:
        rpc.call("switch.add", name="sw0", kind="external")
        rpc.call("switch.add", name="sw1", kind="private")
        for i in range(N_PORTS):
            mode = "server" if i % 10 == 0 else "client"
            more = {"mac": f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}"} if i % 3 == 0 else {}
            rpc.call("port.add", name=f"p{i}", switch=f"sw{i % 2}", type="guest", mtu=1500 + i, mode=mode,
                     socket=f"{daemon.dir}/p{i}.sock", vm=f"vm{i}", **more)
            if i % 4 == 0:
                rpc.call("vlan.set", port=f"p{i}", mode="trunk", allowed=f"{i + 1}-{i + 100}", native=i + 1)
            if i % 5 == 0:
                rpc.call("fdb.add", switch=f"sw{i % 2}", mac=f"02:00:00:01:{i >> 8:02x}:{i & 255:02x}", vlan=i,
                         port=f"p{i}")

        def settled(rpc):
            rows = rpc.call("port.show")
            return Counter(r["state"] for r in rows) == {"waiting": N_PORTS} and rows
        def whole(rpc):
            vlans = sorted(rpc.call("vlan.show"), key=lambda r: r["port"])  # rows come in the order of making
            return rpc.call("config.show"), rpc.call("switch.show"), vlans

        wait_for(lambda: settled(rpc))
        everything = whole(rpc)
        static = sorted((r["switch"], str(r["vlan"]), r["mac"], r["port"]) for r in rpc.call("fdb.show"))
    daemon.stop()
    daemon.start()  # returns when ready is told
    with Rpc(daemon.socket) as rpc:
        # Ready means that the state is there; drivers may still be opening.
        assert whole(rpc) == everything
        assert len(rpc.call("port.show")) == N_PORTS
        wait_for(lambda: settled(rpc), 20, "every port waits for its socket")
        assert sorted((r["switch"], str(r["vlan"]), r["mac"], r["port"]) for r in rpc.call("fdb.show")) == static
        rpc.call("port.del", name="p0")  # and it can be changed
    daemon.kill()
    with Rpc(daemon.socket) as rpc:
        assert len(rpc.call("port.show")) == N_PORTS - 1


def test_not_ready_before_the_state_is_restored(daemon):
    """Whoever connects as soon as the socket is there finds everything, however early that is."""
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    for i in range(20):
        daemon.ctl("port", "add", f"p{i}", "switch", "sw0", "type", "guest", "socket", f"{daemon.dir}/p{i}")
    for _ in range(3):
        old = daemon.pid()
        os.kill(old, 9)
        end, rows = time.monotonic() + 20, None
        while rows is None:
            assert time.monotonic() < end
            try:
                with Rpc(daemon.socket) as rpc:
                    if rpc.call("system.show")[0]["pid"] != old:
                        rows = rpc.call("port.show")
            except (OSError, EOFError):
                pass  # not yet
        assert len(rows) == 20


def test_a_device_that_is_gone_comes_back(lan):
    """The port is restored all the same, says what it waits for, and works again without a word from anybody."""
    lan.rpc("switch.add", name="sw0", kind="external")
    a, b = lan.guest("a", ip="10.0.0.1"), lan.guest("b", ip="10.0.0.2")
    up = lan.uplink("up0")
    lan.wait_ping(a.ns, "10.0.0.2")
    document, address = lan.rpc("config.show"), b.mac()
    lan.daemon.stop()
    for d in (b, up):
        lan.net.run(lan.host, "ip", "link", "del", d.near)
    lan.daemon.start()
    assert lan.rpc("config.show") == document
    lan.wait_up("a")
    for name, d in (("b", b), ("up0", up)):
        wait_for(lambda name=name: lan.state(name)[0] in ("waiting", "failed"))
        assert d.near in lan.state(name)[1], lan.state(name)
    lan.link(b, address=address)
    lan.addresses(b.ns, b.ifname, "10.0.0.2", None)
    lan.wait_up("b")
    lan.wait_ping(a.ns, "10.0.0.2")
    assert lan.state("up0")[0] in ("waiting", "failed")
    lan.link(up)
    lan.wait_up("up0")


def test_a_stored_host_interface_that_cannot_be_made(lan):
    """Another interface took its name while the daemon was away: the port says so, and recovers when it is free."""
    lan.rpc("switch.add", name="sw0", kind="internal")
    host = lan.host_vnic("host0", ip="10.0.0.3")
    lan.daemon.stop()
    lan.net.run(lan.host, "ip", "link", "del", host.ifname)
    lan.net.run(lan.host, "ip", "link", "add", host.ifname, "type", "veth", "peer", "name", lan.net.name())
    lan.daemon.start()
    lan.wait_state("host0", "failed", f"an interface {host.ifname} exists already and is no tap")
    lan.net.run(lan.host, "ip", "link", "del", host.ifname)
    lan.wait_up("host0")
