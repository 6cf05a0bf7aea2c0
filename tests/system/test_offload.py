"""Checksum and segmentation offloads with the kernel's own TCP and UDP, and tshark as judge of what leaves.

     namespace h                                          namespace of a
    ┌──────────────────────────────────────────────┐     ┌──────────────┐
    │ TCP ── host0 (tap, all offloads) ── sw0      │     │              │
    │                    a (af_packet, checksum) ──┼─────┼── veth ─ TCP │
    └──────────────────────────────────────────────┘     └──────────────┘
"""

import hashlib
import os
import socket
import subprocess
import threading

import pytest
from conftest import need, wait_for
from lan import Device, Lan, in_namespace

BYTES = 8 << 20
SOL_UDP, UDP_SEGMENT = 17, 103
ADDRESSES = {socket.AF_INET: ("10.0.0.1", "10.0.0.2"), socket.AF_INET6: ("fd00::1", "fd00::2")}


class Site:
    def __init__(self, make_daemon):
        self.lan = Lan(make_daemon)

    def start(self, mtu=1500):
        self.lan.start()
        self.lan.rpc("switch.add", name="sw0", kind="internal")
        self.host = self.lan.host_vnic("host0", ip="10.0.0.1", ip6="fd00::1", mtu=mtu)
        self.a = self.lan.guest("a", ip="10.0.0.2", ip6="fd00::2", mtu=mtu)
        # What leaves here is finished, so that a judge can tell.
        self.lan.net.run(self.lan.host, "ethtool", "-K", self.a.near, "tx", "off")
        self.lan.wait_ping(self.lan.host, "10.0.0.2")
        self.lan.wait_ping(self.lan.host, "fd00::2")

    def made(self, name):
        return self.lan.row(name)["detail"]["accounting"]["made"]


@pytest.fixture
def site(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    need("tshark", "tcpdump")
    made = Site(make_daemon)
    try:
        made.start()
        yield made
        made.lan.check_accounting()
        made.lan.daemon.stop()
    finally:
        made.lan.destroy()


class Judge:
    """tcpdump at an interface; afterwards tshark says what is wrong with what came."""

    def __init__(self, site, device, expression):
        self.file = site.lan.daemon.dir / "judge.pcap"
        self.tcpdump = site.lan.net.popen(device.ns, "tcpdump", "-i", device.ifname, "-Q", "in", "-U", "-B", "65536", "-w",
                                          self.file, expression, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                          text=True)
        wait_for(lambda: "listening" in self.tcpdump.stderr.readline(), what="tcpdump listens")

    def verdict(self):
        """How many frames there were, and how many of them are bad."""
        self.tcpdump.terminate()
        self.tcpdump.wait(10)

        def count(words):
            out = subprocess.run(["tshark", "-r", str(self.file), "-o", "ip.check_checksum:TRUE",
                                  "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-Y", words,
                                  "-T", "fields", "-e", "frame.number"], capture_output=True, text=True, timeout=60)
            assert out.returncode == 0, out.stderr
            return len(out.stdout.split())
        good = "(tcp.checksum.status == 1 || udp.checksum.status == 1) && frame.len <= 1518"
        return count("tcp || udp"), count(f"(tcp || udp) && !({good})") + count("ip.checksum.status == 0")


def transfer(family, sender_ns, receiver_ns, target):
    """TCP from one namespace to the other; the hashes of what was sent and what came."""
    data = os.urandom(BYTES)
    server = in_namespace(receiver_ns, lambda: socket.create_server((target, 0), family=family))
    server.settimeout(30)
    client = in_namespace(sender_ns, lambda: socket.socket(family, socket.SOCK_STREAM))
    client.settimeout(30)
    client.connect((target, server.getsockname()[1]))
    got, _ = server.accept()
    got.settimeout(30)
    digest = hashlib.sha256()

    def send():
        client.sendall(data)
        client.close()
    thread = threading.Thread(target=send)
    thread.start()
    while piece := got.recv(1 << 20):
        digest.update(piece)
    thread.join()
    got.close()
    server.close()
    return hashlib.sha256(data).hexdigest(), digest.hexdigest()


def test_ports_tell_what_they_take(site):
    assert site.lan.row("a")["detail"]["offloads"] == ["csum"]
    assert set(site.lan.row("host0")["detail"]["offloads"]) >= {"csum", "tso4", "tso6", "ecn", "ufo"}


def refused(site, name):
    """Requests of this port that the switch found wrong."""
    return {reason: n for reason, n in site.lan.drops(name).items() if reason.startswith("offload")}


@pytest.mark.parametrize("family", ADDRESSES)
def test_segments_of_the_host_leave_as_frames(site, family):
    """The host's TCP leaves segmentation to the switch, and every frame that leaves is right."""
    a = ADDRESSES[family][1]
    judge = Judge(site, site.a, "tcp")
    before = site.made("host0")
    sent, got = transfer(family, site.lan.host, site.a.ns, a)
    assert sent == got
    assert site.made("host0") - before > BYTES / 1500 / 2, "the host did not leave segmentation to the switch"
    frames, bad = judge.verdict()
    assert frames > 100 and bad == 0  # tcpdump may miss some
    assert not refused(site, "host0")


@pytest.mark.parametrize("family", ADDRESSES)
def test_open_checksums_reach_the_host(site, family):
    """A container's TCP leaves its checksums open; the host takes them so, and what came is what was sent."""
    site.lan.net.run(site.a.ns, "ethtool", "-K", site.a.ifname, "tx", "on", "tso", "off", "gso", "off")
    sent, got = transfer(family, site.a.ns, site.lan.host, ADDRESSES[family][0])
    assert sent == got
    assert not refused(site, "a")


def test_tagged_segments_are_right(site):
    """The tag that a trunk's receiver gets shifts all that the host asked for."""
    site.lan.net.run(site.lan.host, "ip", "neigh", "replace", "10.0.0.2", "lladdr", site.a.mac(), "dev", site.host.ifname)
    site.lan.rpc("vlan.set", port="host0", mode="access", vlan=7)
    site.lan.rpc("vlan.set", port="a", mode="trunk", allowed="7")
    judge = Judge(site, site.a, "vlan 7 and udp")
    sender = in_namespace(site.lan.host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender.setsockopt(SOL_UDP, UDP_SEGMENT, 1200)
    sender.sendto(os.urandom(24000), ("10.0.0.2", 9))
    wait_for(lambda: judge.file.stat().st_size > 24000)
    assert judge.verdict() == (20, 0)


@pytest.mark.parametrize("family", ADDRESSES)
def test_datagrams_of_one_size_are_segmented(site, family):
    """UDP with UDP_SEGMENT: one frame from the kernel, datagrams at the other end, each with a right checksum."""
    target = ADDRESSES[family][1]
    receiver = in_namespace(site.a.ns, lambda: socket.socket(family, socket.SOCK_DGRAM))
    receiver.bind((target, 0))
    receiver.settimeout(20)
    sender = in_namespace(site.lan.host, lambda: socket.socket(family, socket.SOCK_DGRAM))
    judge = Judge(site, site.a, "udp")
    sender.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
    data = os.urandom(20500)
    before = site.made("host0")
    sender.sendto(data, receiver.getsockname())
    got = [receiver.recv(65536) for _ in range(21)]
    assert [len(piece) for piece in got] == [1000] * 20 + [500] and b"".join(got) == data
    if site.made("host0") == before:
        pytest.skip("this kernel segments datagrams itself (before Linux 6.2)")
    assert site.made("host0") - before == 20
    wait_for(lambda: judge.file.stat().st_size > len(data))
    assert judge.verdict() == (21, 0)


def test_a_dpdk_device_completes_checksums(site):
    """net_tap says that it does: the kernel's side of it sees none that is open."""
    site.lan.rpc("port.add", name="t", switch="sw0", type="guest", device="net_tap0,iface=dtap0")
    site.lan.wait_up("t")
    assert site.lan.row("t")["detail"]["offloads"] == ["csum"]
    site.lan.addresses(site.lan.host, "dtap0", "10.1.0.1", None)
    site.lan.addresses(site.a.ns, site.a.ifname, "10.1.0.2", None)
    site.lan.net.run(site.a.ns, "ethtool", "-K", site.a.ifname, "tx", "on", "tso", "off", "gso", "off")
    site.lan.wait_ping(site.a.ns, "10.1.0.1")
    judge = Judge(site, Device(site.lan.host, "dtap0", "dtap0"), "tcp or udp")
    sent, got = transfer(socket.AF_INET, site.a.ns, site.lan.host, "10.1.0.1")
    assert sent == got
    frames, bad = judge.verdict()
    assert frames > 100 and bad == 0
