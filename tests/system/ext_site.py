"""A switch sw0 with guests vm1, vm2, vm3 for tests of extensions, and who got a frame, by the ports' own counters:

     vm1 ──┐
     vm2 ──┼── sw0 ── (extensions)
     vm3 ──┘

Extensions are compiled here with the public header alone; the directory is one that the daemon trusts.
"""

import fcntl
import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import BUILD, TOP, Daemon, Refused, need, wait_for
from lan import Lan

GUESTS = ("vm1", "vm2", "vm3")  # vm9 comes later
IP = {name: f"10.0.0.{name[2:]}" for name in (*GUESTS, "vm9")}
MAC = {name: f"02:00:00:00:00:0{name[2:]}" for name in IP}
BROADCAST = "ff:ff:ff:ff:ff:ff"


def compile_extension(source, to, compiler="cc", flags=("-I", TOP / "ext/include")):
    """A shared object from one source. `compiler` may have words of its own."""
    words = [*shlex.split(compiler), "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", *flags, "-o", to, source]
    r = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, f"{words}: {r.stderr}"
    return to


def root_directory():
    """Where files may be loaded from without --allow-unsigned: no directory on the way belongs to all, as /tmp does."""
    if os.geteuid() != 0:
        pytest.skip("extensions are loaded from root's directories")
    directory = Path(tempfile.mkdtemp(prefix="evs-ext-", dir="/run"))
    os.chmod(directory, 0o755)
    return directory


class ExtSite:
    def __init__(self, make_daemon, **options):
        need("cc")
        self.dir = root_directory()
        self.lan = Lan(make_daemon, **({"allow_unsigned": True} | options))
        self.numbers = itertools.count(1)

    def start(self):
        self.lan.start()
        self.lan.rpc("switch.add", name="sw0", kind="internal")
        self.wires = {}
        for name in GUESTS:
            self.add(name)
        self.daemon = self.lan.daemon
        return self

    def add(self, name):
        self.wires[name] = self.lan.guest(name).wire()

    def ctl(self, *words):
        return self.lan.daemon.ctl(*words)

    def load(self, name, path, *more):
        self.ctl("ext", "load", name, "switch", "sw0", "path", path, *more)
        assert self.state(name) == "up"

    def show(self, name):
        return self.ctl("ext", "show", name)[0]

    def state(self, name):
        return self.show(name)["state"]

    def drops(self, name):
        return {row["reason"]: row["packets"] for row in self.ctl("ext", "drops", name) or []}

    def learn(self):
        """Each guest says where it is."""
        for name in self.wires:
            self.reached(name, self.frame(name, BROADCAST))

    def frame(self, source, dst, layers=None, vlan=None):
        """Of this guest, to a guest or an address; with a payload of its own. `layers`: scapy's, behind IP."""
        from scapy.layers.inet import IP as Ip, UDP
        from scapy.layers.l2 import Dot1Q, Ether
        packet = Ether(src=MAC.get(source, source), dst=MAC.get(dst, dst))
        if vlan:
            packet /= Dot1Q(vlan=vlan)
        packet /= Ip(src=IP.get(source, "10.0.0.9"), dst=IP.get(dst, "10.0.0.250"))
        return bytes(packet / (layers or UDP(sport=9, dport=9)) / f"number {next(self.numbers):08}".encode())

    def reached(self, source, frame):
        """Sends it from a guest, and returns {guest: what it got} once the switch is done with it."""
        before = {row["name"]: row for row in self.lan.rpc("port.show")}
        self.wires[source].send(frame)

        def is_done():
            row = self.lan.row(source)
            a = row["detail"]["accounting"]
            return row["rx_packets"] > before[source]["rx_packets"] and \
                a["received"] + a["made"] == a["delivered"] + a["consumed"] + a["dropped"] + a["held"]
        wait_for(is_done, what=f"a frame of {source} is done with")
        return {row["name"]: self.wires[row["name"]].until(frame[-8:])[-1] for row in self.lan.rpc("port.show")
                if row["name"] in self.wires and row["tx_packets"] > before[row["name"]]["tx_packets"]}

    def who(self, source, dst, layers=None, vlan=None):
        """Sorted names of the guests that such a frame reaches."""
        return sorted(self.reached(source, self.frame(source, dst, layers, vlan)))

    def wait_who(self, source, dst, guests):
        """Until such a frame reaches exactly these: an extension hears of ports a little later than others."""
        wait_for(lambda: self.who(source, dst) == guests, what=f"frames from {source} to {dst} reach {guests}")

    def stop(self):
        self.lan.check_accounting()
        self.lan.daemon.stop()

    def destroy(self):
        self.lan.destroy()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def ext_site(make_daemon):
    site = ExtSite(make_daemon)
    try:
        yield site.start()
        site.stop()
    finally:
        site.destroy()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The same for all tests of a file; each takes out what it loaded. The guests have been heard."""
    directory = tmp_path_factory.mktemp("daemon")
    s = ExtSite(lambda **options: Daemon(directory, **options))
    try:
        s.start()
        s.learn()
        yield s
        s.stop()
    finally:
        s.lan.daemon.destroy()
        s.destroy()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where `make install` has put things."""
    need("make", "pkg-config")
    to = tmp_path_factory.mktemp("installed")
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "PREFIX", "SAN")}
    with open(BUILD / "install.lock", "w", encoding="ascii") as lock:  # files of tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        r = subprocess.run(["make", "-s", "-C", TOP, f"BUILD={BUILD}", f"DESTDIR={to}", "install"],
                           capture_output=True, text=True, timeout=600, env=env, check=False)
    assert r.returncode == 0, r.stderr
    return to


def pkg_environment(installed):
    """For pkg-config: as if that were the root directory."""
    return dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(installed),
                PKG_CONFIG_PATH=str(installed / "usr/local/lib/pkgconfig"))


# What the samples do to packets


def check_no_telnet(site, path):
    from scapy.layers.inet import TCP, UDP
    site.load("x", path)
    assert site.who("vm1", "vm2", TCP(dport=23)) == []
    assert site.who("vm1", "vm2", TCP(dport=24)) == site.who("vm1", "vm2", UDP(dport=23)) == ["vm2"]
    assert site.who("vm1", "vm2", TCP(dport=23)) == []
    assert site.drops("x") == {"telnet is not allowed": 2}


def check_one_ttl(site, path):
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    site.load("x", path)
    for ttl in (64, 7, 8, 255, 64, 1, 200):
        sent = Ether(site.frame("vm1", "vm2", UDP(sport=1000, dport=2000)))
        sent[IP].ttl, sent[IP].chksum = ttl, None
        sent = bytes(sent)
        wanted = Ether(sent)
        wanted[IP].ttl, wanted[IP].chksum = 64, None
        assert site.reached("vm1", sent) == {"vm2": bytes(wanted)}, ttl
    assert site.show("x")["packets"] >= 7
    arp = Ether(dst=sent[:6], src=sent[6:12], type=0x88b5) / b"neither IPv4 nor anything else 12345678"
    assert site.reached("vm1", bytes(arp).ljust(60, b"8")) == {"vm2": bytes(arp).ljust(60, b"8")}


def check_quota(site, path):
    with pytest.raises(Refused, match="ext x: does not start: its configuration must be a number of bytes"):
        site.ctl("ext", "load", "x", "switch", "sw0", "path", path, "config", '"much"')
    n = len(site.frame("vm1", "vm2"))
    site.load("x", path, "config", str(3 * n))
    for _ in range(3):
        assert site.who("vm1", "vm2") == ["vm2"]
    for _ in range(3):
        assert site.who("vm1", "vm2") == []
    assert site.who("vm2", "vm1") == ["vm1"], "the other guest has its own"
    assert site.drops("x") == {"the guest has sent all that it may": 3}

    def asks_no_more():
        asked = site.show("x")["packets"]
        return site.who("vm1", "vm2") == [] and site.show("x")["packets"] == asked
    wait_for(asks_no_more, what="flows are dropped without a packet call")
    site.ctl("ext", "set", "x", "config", str(4 * n))
    assert site.who("vm1", "vm2") == ["vm2"]
    assert site.who("vm1", "vm2") == [], "what was used before counts on"


CHECKS = {"no_telnet": check_no_telnet, "one_ttl": check_one_ttl, "quota": check_quota}
