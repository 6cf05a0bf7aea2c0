"""VLAN modes: who gets a frame and with which tags, and tshark at the uplink's far end as an independent judge.

     acc10, acc10b ── access 10 ─────────────────────┐
     acc20 ────────── access 20 ─────────────────────┤
     trunk ────────── 10-30, prune 20, native 30 ────┼── sw0 ── up0 ══ veth ══ far end
     plain ────────── untagged ──────────────────────┘

The site is shared by the tests of this file; a test that changes a mode puts it back.
"""

import os
import shutil
import tempfile
import threading

import pytest
from conftest import Daemon, need, wait_for
from lan import Lan

BROADCAST = "ff:ff:ff:ff:ff:ff"
C, S = 0x8100, 0x88A8
MODES = {
    "acc10": {"mode": "access", "vlan": 10},
    "acc10b": {"mode": "access", "vlan": 10},
    "acc20": {"mode": "access", "vlan": 20},
    "trunk": {"mode": "trunk", "allowed": "10-30", "prune": "20", "native": 30},
    "plain": {"mode": "untagged"},
}
# With which tag a frame from the uplink reaches a port.
REACHED_BY = {"acc10": 10, "acc10b": 10, "acc20": 20, "trunk": 30, "plain": None}


def tag(vid, priority=0, tpid=C):
    return tpid.to_bytes(2, "big") + (priority << 13 | vid).to_bytes(2, "big")


def tags_of(frame):
    """The tags of a frame as [(VLAN, priority), ...], an 802.1ad one with a third item."""
    tags, at = [], 12
    while (tpid := int.from_bytes(frame[at:at + 2], "big")) in (C, S):
        tci = int.from_bytes(frame[at + 2:at + 4], "big")
        tags.append((tci & 0xfff, tci >> 13) + ((S,) if tpid == S else ()))
        at += 4
    return tags


def datagram(port, source, target, tags):
    from scapy.layers.inet import IP, UDP
    packet = bytes(IP(src="10.9.9.9", dst="10.9.9.10") / UDP(sport=9, dport=port) / b"0123456789abcdefghij")
    addresses = bytes.fromhex((target + source).replace(":", ""))
    return addresses + b"".join(tag(*t) for t in tags) + b"\x08\x00" + packet


class Site:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
        self.lan = Lan(lambda **options: Daemon(self.dir, **options))
        self.n = 1000

    def start(self):
        self.lan.start()
        self.lan.rpc("switch.add", name="sw0", kind="external")
        self.devices = {name: self.lan.guest(name) for name in MODES} | {"up0": self.lan.uplink("up0")}
        self.modes(MODES)
        self.wires = {name: d.wire() for name, d in self.devices.items()}

    def modes(self, modes):
        for name, mode in modes.items():
            self.lan.rpc("vlan.set", port=name, **mode)

    def send(self, name, *tags, target=BROADCAST):
        """Sends a datagram with these tags; returns its number, once the switch has it."""
        self.n += 1
        before = self.lan.row(name)["rx_packets"]
        self.wires[name].send(datagram(self.n, self.devices[name].mac(), target, tags))
        wait_for(lambda: self.lan.row(name)["rx_packets"] > before)
        return self.n

    def receivers(self, sender, n, **moved):
        """Who got datagram n, with which tags. One worker moves all frames, so what is sent later comes later."""
        got = {}
        for name, wire in self.wires.items():
            if name == sender:
                continue
            last = b"nothing came behind %s %d" % (name.encode(), n)
            source = "plain" if name == "up0" else "up0"
            addresses = b"\xff" * 6 + bytes.fromhex(self.devices[source].mac().replace(":", ""))
            vid = (REACHED_BY | moved).get(name)
            tags = tag(vid) if vid else b""
            self.wires[source].send(addresses + tags + b"\x88\xb5" + last.ljust(60))
            mine = [f for f in wire.until(last) if n.to_bytes(2, "big") + b"\0" in f and b"0123456789abcdefghij" in f]
            assert len(mine) <= 1, f"{name} got it {len(mine)} times"
            if mine:
                got[name] = tags_of(mine[0])
        return got

    def destroy(self):
        self.lan.daemon.destroy()
        self.lan.destroy()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def site():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Site()
    try:
        made.start()
        yield made
        made.lan.check_accounting()
        made.lan.daemon.stop()
    finally:
        made.destroy()


TEN = {"acc10": [], "acc10b": []}


@pytest.mark.parametrize("sender, tags, expected", [
    ("acc10", [], {"acc10b": [], "trunk": [(10, 0)], "up0": [(10, 0)]}),
    ("acc20", [], {"up0": [(20, 0)]}),  # pruned on the trunk
    ("plain", [], {"up0": []}),
    ("trunk", [], {"up0": [(30, 0)]}),  # native
    ("trunk", [(10, 0)], TEN | {"up0": [(10, 0)]}),
    ("trunk", [(30, 0)], {"up0": [(30, 0)]}),  # native, but tagged
    ("trunk", [(11, 5)], {"up0": [(11, 5)]}),  # the priority stays
    ("up0", [], {"plain": []}),
    ("up0", [(10, 0)], TEN | {"trunk": [(10, 0)]}),
    ("up0", [(10, 7)], TEN | {"trunk": [(10, 7)]}),
    ("up0", [(20, 0)], {"acc20": []}),
    ("up0", [(30, 0)], {"trunk": []}),
    # priority-tagged frames are untagged ones with a priority
    ("plain", [(0, 3)], {"up0": []}),
    ("acc10", [(0, 6)], {"acc10b": [], "trunk": [(10, 6)], "up0": [(10, 6)]}),
    ("trunk", [(0, 5)], {"up0": [(30, 5)]}),
    ("up0", [(0, 4)], {"plain": []}),
    # a second tag is opaque, but never comes to stand in front
    ("trunk", [(11, 1), (99, 2)], {"up0": [(11, 1), (99, 2)]}),
    ("trunk", [(10, 0), (99, 0)], {"up0": [(10, 0), (99, 0)]}),
    ("up0", [(10, 0), (99, 0)], {"trunk": [(10, 0), (99, 0)]}),
    ("up0", [(11, 0), (99, 0, S)], {"trunk": [(11, 0), (99, 0, S)]}),
])
def test_who_gets_it_and_with_which_tags(site, sender, tags, expected):
    assert site.receivers(sender, site.send(sender, *tags)) == expected


@pytest.mark.parametrize("sender, tags, reason", [
    ("plain", [(10, 0)], "vlan-tagged"),
    ("acc10", [(10, 0)], "vlan-tagged"),
    ("acc10", [(20, 0)], "vlan-tagged"),
    ("acc10", [(10, 0, S)], "vlan-tagged"),
    ("acc10", [(0, 0), (20, 0)], "vlan-tagged"),  # hopping behind a priority tag
    ("trunk", [(20, 0)], "vlan-not-allowed"),  # pruned
    ("trunk", [(40, 0)], "vlan-not-allowed"),
    ("trunk", [(11, 0, S)], "vlan-tpid"),
    ("up0", [(10, 0, S)], "vlan-tpid"),
    ("up0", [(20, 0), (99, 0)], "no-destination"),  # acc20 alone would get it, with a tag in front
    ("up0", [(4000, 0)], "no-destination"),
])
def test_nobody_gets_it_and_the_drop_says_why(site, sender, tags, reason):
    before = site.lan.drops(sender)
    assert site.receivers(sender, site.send(sender, *tags)) == {}
    after = site.lan.drops(sender)
    more = {r: n - before.get(r, 0) for r, n in after.items() if n != before.get(r, 0)}
    assert more == {reason: 1}


def test_addresses_are_learned_per_vlan(site):
    """The same address in two VLANs on two ports; and a known address of another VLAN is of no use."""
    site.send("acc10")
    site.send("acc20")
    rows = {(r["vlan"], r["mac"]): r["port"] for r in site.lan.rpc("fdb.show")}
    acc10, acc20 = site.devices["acc10"].mac(), site.devices["acc20"].mac()
    assert rows[10, acc10] == "acc10" and rows[20, acc20] == "acc20" and (20, acc10) not in rows
    # acc10b knows only its own VLAN: acc20's address is unknown there, and floods in VLAN 10.
    assert site.receivers("acc10b", site.send("acc10b", target=acc20)) == {
        "acc10": [], "trunk": [(10, 0)], "up0": [(10, 0)]}
    assert site.receivers("acc10b", site.send("acc10b", target=acc10)) == {"acc10": []}


def test_a_changed_mode_works_at_once(site):
    try:
        site.modes({"acc20": {"mode": "access", "vlan": 10}})
        assert site.receivers("acc10", site.send("acc10"), acc20=10)["acc20"] == []
        site.modes({"acc20": {"mode": "trunk", "allowed": "10"}})
        assert site.receivers("acc10", site.send("acc10"), acc20=10)["acc20"] == [(10, 0)]
        assert [r["mode"] for r in site.lan.rpc("vlan.show", port="acc20")] == ["trunk"]
        with pytest.raises(Exception, match="carries every VLAN"):
            site.lan.rpc("vlan.set", port="up0", mode="access", vlan=10)
    finally:
        site.modes({"acc20": MODES["acc20"]})
    assert "acc20" not in site.receivers("acc10", site.send("acc10"))


class Judge:
    """tshark on an interface: the datagrams that it sees, by number, each as its columns."""

    def __init__(self, lan, device):
        need("tshark")
        words = ["tshark", "-l", "-n", "-i", device.ifname, "-T", "fields", "-E", "separator=;"]
        for field in ("udp.dstport", "vlan.id", "vlan.priority", "ieee8021ad.id"):
            words += ["-e", field]
        self.seen = {}
        self.process = lan.net.popen(device.ns, *words, stdout=-1, stderr=-3, text=True)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            number, *tags = line.rstrip("\n").split(";")
            if number:
                self.seen[int(number)] = tuple(tags)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.thread.join()
        self.process.stdout.close()


def test_tshark_sees_the_tags_on_the_uplink(site):
    judge = Judge(site.lan, site.devices["up0"])
    try:
        wait_for(lambda: site.send("plain") and judge.seen, 20, "tshark sees a first datagram")
        sent = {
            site.send("acc10"): ("10", "0", ""),
            site.send("acc10", (0, 6)): ("10", "6", ""),
            site.send("acc20"): ("20", "0", ""),
            site.send("plain"): ("", "", ""),
            site.send("plain", (0, 3)): ("", "", ""),
            site.send("trunk"): ("30", "0", ""),
            site.send("trunk", (11, 5)): ("11", "5", ""),
            site.send("trunk", (11, 1), (99, 2)): ("11,99", "1,2", ""),
            site.send("trunk", (20, 0)): None,
            site.send("acc10", (10, 0)): None,
        }
        last = site.send("plain")
        wait_for(lambda: last in judge.seen, 20, "tshark sees the last datagram")
        assert {n: judge.seen.get(n) for n in sent} == sent
    finally:
        judge.stop()


def test_the_kernels_own_traffic(site):
    """Pings, ARP and all, between ports of one VLAN; not to a port of another one in the same subnet."""
    for name, ip in (("acc10", "10.0.0.1"), ("acc10b", "10.0.0.2"), ("acc20", "10.0.0.3")):
        site.lan.addresses(site.devices[name].ns, site.devices[name].ifname, ip, None)
    site.lan.wait_ping(site.devices["acc10"].ns, "10.0.0.2", 1472)
    assert not site.lan.ping(site.devices["acc10"].ns, "10.0.0.3")
