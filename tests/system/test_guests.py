"""Two real guests and the host on one switch: every thing that happens to guests in a normal week.

      namespace                       sw0
     ┌───────────────┐    mgmt0 ┌──────────────┐ vm1   the daemon connects (mode client), QEMU listens; packed rings
     │ 10.0.0.1      ├──────────┤              ├─────── QEMU vm1  10.0.0.11  fd00::11
     │ fd00::1       │          │              ├─────── QEMU vm2  10.0.0.12  fd00::12
     └───────────────┘          └──────────────┘ vm2   QEMU connects (mode server); split rings

The guests are shared by all tests of this file, so each test leaves them running and reachable.
"""

import os
import shutil
import tempfile

import pytest
from conftest import Daemon, Net, need, wait_for
from guest import Guest, need_guests


class Site:
    def __init__(self):
        need("ip", "ping")
        need_guests()
        if os.geteuid() != 0:
            pytest.skip("guests need root")
        self.dir = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
        self.net = Net()
        self.guests = {}
        self.daemon = Daemon(self.dir)

    def start(self):
        self.ns, self.ifname = self.net.ns(), self.net.name()
        self.net.run(self.ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0",
                     "net.ipv6.conf.default.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0")
        plain = self.daemon.argv
        self.daemon.argv = lambda: ["ip", "netns", "exec", self.ns, *plain()]
        self.daemon.start()
        ctl = self.daemon.ctl
        ctl("switch", "add", "sw0", "kind", "internal")
        ctl("port", "add", "vm1", "switch", "sw0", "type", "guest", "socket", self.socket("vm1"), "mode", "client")
        ctl("port", "add", "vm2", "switch", "sw0", "type", "guest", "socket", self.socket("vm2"), "mode", "server")
        ctl("port", "add", "mgmt0", "switch", "sw0", "type", "host", "ifname", self.ifname)
        self.net.run(self.ns, "ip", "addr", "add", "10.0.0.1/24", "dev", self.ifname)
        self.net.run(self.ns, "ip", "addr", "add", "fd00::1/64", "dev", self.ifname, "nodad")
        self.net.run(self.ns, "ip", "link", "set", self.ifname, "up")
        self.boot("vm1")
        self.boot("vm2")
        for name in self.guests:
            self.guests[name].wait_ready()

    def socket(self, name):
        return f"{self.dir}/{name}.sock"

    def boot(self, name):
        n = name[-1]
        self.guests[name] = Guest(self.dir, name, self.socket(name), f"02:00:00:00:00:1{n}", f"10.0.0.1{n}/24",
                                  ip6=f"fd00::1{n}/64", server=name == "vm1", net=",packed=on" if name == "vm1" else "")
        return self.guests[name]

    def host_pings(self, address):
        self.net.run(self.ns, "ping", "-q", "-c", "1", "-w", "20", address)

    def port(self, name):
        return self.daemon.ctl("port", "show", name)[0]

    def all_reach_all(self):
        for frm, to in (("vm1", "12"), ("vm2", "11")):
            for address in (f"10.0.0.{to}", f"fd00::{to}", "10.0.0.1", "fd00::1"):
                self.guests[frm].ping(address)
        for address in ("10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"):
            self.host_pings(address)

    def destroy(self):
        for g in self.guests.values():
            g.stop()
        self.daemon.destroy()
        self.net.destroy()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def site():
    s = Site()
    try:
        s.start()
        yield s
        s.daemon.stop()
    finally:
        s.destroy()


def test_guests_and_host_reach_each_other(site):
    site.all_reach_all()
    ports = {p["name"]: p for p in site.daemon.ctl("port", "show")}
    assert {p["state"] for p in ports.values()} == {"up"}
    assert all(ports[name][n] > 0 for name in ports for n in ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes"))


def test_addresses_are_learned_on_their_ports(site):
    site.all_reach_all()
    learned = {e["mac"]: e["port"] for e in site.daemon.ctl("fdb", "show")}
    assert learned["02:00:00:00:00:11"] == "vm1"
    assert learned["02:00:00:00:00:12"] == "vm2"


def test_big_transfer_arrives_unchanged(site):
    vm1, vm2 = site.guests["vm1"], site.guests["vm2"]
    vm1.run("head -c 8000000 /dev/urandom >/tmp/data")
    want = vm1.run("md5sum </tmp/data").split()[0]
    vm2.send("nc -l -p 5000 | md5sum\n")
    vm1.run("until nc 10.0.0.12 5000 </tmp/data; do sleep 0.1; done", timeout=90)
    assert vm2.wait_output(r"^([0-9a-f]{32})  -$")[1] == want


def test_switch_is_upgraded(site):
    """Nobody is asked to connect again, and no ping is lost."""
    site.all_reach_all()
    for _ in range(2):
        site.guests["vm1"].send("ping -c 40 -W 5 10.0.0.12 -i 0.1 | tail -n 2\n")
        done = site.daemon.ctl("system", "upgrade", deadline=60)[0]
        assert (done["ports_up"], done["ports_before"]) == (3, 3)
        site.guests["vm1"].wait_output(r"^40 packets transmitted, 40 packets received", 60)
        for name in ("vm1", "vm2"):
            assert site.port(name)["detail"]["vhost-user"]["connections"] == 1
        site.all_reach_all()


def test_guest_reboots(site):
    site.guests["vm1"].reboot()
    site.all_reach_all()
    site.guests["vm2"].reboot()
    site.all_reach_all()


@pytest.mark.parametrize("name", ["vm1", "vm2"])
def test_qemu_ends_and_comes_back(site, name):
    site.guests[name].stop()
    wait_for(lambda: site.port(name)["state"] != "up", what=f"port {name} is not up")
    assert site.port(name)["why"]
    site.boot(name).wait_ready()
    wait_for(lambda: site.port(name)["state"] == "up", what=f"port {name} is up")
    site.all_reach_all()


def test_port_is_removed_and_added_under_a_running_guest(site):
    vm2 = site.guests["vm2"]
    site.daemon.ctl("port", "del", "vm1")
    assert not vm2.can_ping("10.0.0.11")
    vm2.ping("10.0.0.1")
    site.daemon.ctl("port", "add", "vm1", "switch", "sw0", "type", "guest", "socket", site.socket("vm1"),
                    "mode", "client")
    site.all_reach_all()


def test_switch_process_is_killed_under_traffic(site):
    vm1 = site.guests["vm1"]
    assert "packed" in site.port("vm1")["detail"]["vhost-user"]["features"]
    vm1.run("ping 10.0.0.12 >/tmp/ping 2>&1 & echo $! >/tmp/pid")
    vm1.run("until grep -q 'bytes from' /tmp/ping; do sleep 0.1; done")
    site.daemon.kill()
    vm1.run("n=$(grep -c 'bytes from' /tmp/ping); "
            "until [ $(grep -c 'bytes from' /tmp/ping) -gt $((n + 1)) ]; do sleep 0.1; done", timeout=60)
    vm1.run("kill $(cat /tmp/pid)")
    site.all_reach_all()


def test_daemon_is_stopped_and_started_again(site):
    site.daemon.stop()
    site.daemon.start()
    site.all_reach_all()
