"""Ports of every type against the kernel: who reaches whom, what comes and goes, and what a port says about it."""

import os
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import Refused, wait_for
from lan import Lan

MARK = b"the last frame of this test"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def frame(dst, src, payload=b"", ethertype=0x88b5, tags=b""):
    def mac(text):
        return bytes.fromhex(text.replace(":", ""))
    return (mac(dst) + mac(src) + tags + ethertype.to_bytes(2, "big") + payload).ljust(60, b"\0")


@pytest.fixture
def lan(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Lan(make_daemon)
    try:
        made.start()
        yield made
        made.check_accounting()
        made.daemon.stop()
    finally:
        made.destroy()


# Who reaches whom

def test_everybody_reaches_everybody(lan):
    """Guests, an uplink's far end and the host, by IPv4 and IPv6, up to full frames of an MTU of 9000."""
    lan.rpc("switch.add", name="sw0", kind="external")
    make = {"a": lan.guest, "b": lan.guest, "up0": lan.uplink, "host0": lan.host_vnic}
    address = {name: (f"10.0.0.{i}", f"fd00::{i}") for i, name in enumerate(make, 1)}
    devices = {name: make[name](name, ip=address[name][0], ip6=address[name][1], mtu=9000) for name in make}
    for source, d in devices.items():
        for target, (ip, ip6) in address.items():
            if source == target:
                continue
            lan.wait_ping(d.ns, ip)
            assert lan.ping(d.ns, ip, 9000 - 28), f"{source} to {target}, IPv4, full frames"
            lan.wait_ping(d.ns, ip6)
            assert lan.ping(d.ns, ip6, 9000 - 48), f"{source} to {target}, IPv6, full frames"
    learned = {row["mac"]: row["port"] for row in lan.rpc("fdb.show") if row["kind"] == "learned"}
    assert learned.items() >= {d.mac(): name for name, d in devices.items()}.items()


def test_tcp_between_guests_and_the_host(lan):
    """Bulk data with the kernel's checksums; iperf3 checks that all of it came."""
    lan.rpc("switch.add", name="sw0", kind="internal")
    a = lan.guest("a", ip="10.0.0.1")
    lan.guest("b", ip="10.0.0.2")
    lan.host_vnic("host0", ip="10.0.0.3")
    for target, address in (("b", "10.0.0.2"), ("host0", "10.0.0.3")):
        lan.wait_ping(a.ns, address)
        server = lan.net.popen(lan.devices[target].ns, "iperf3", "-s", "-1", "-B", address, stdout=subprocess.PIPE,
                               text=True)
        try:
            wait_for(lambda ns=lan.devices[target].ns: ":5201" in lan.net.run(ns, "ss", "-ltn"))
            lan.net.run(a.ns, "iperf3", "-c", address, "-n", "4M")
            assert server.wait(20) == 0
        finally:
            server.kill()
            server.wait()
            server.stdout.close()


def test_mtu_limits_are_exact(lan):
    """The byte that is one too many is dropped: where it comes in, and where it would go out."""
    lan.rpc("switch.add", name="sw0", kind="internal")
    wide = lan.guest("wide", mtu=9000)
    slim = lan.guest("slim", mtu=1400, link_mtu=9000)
    w, s = wide.wire(), slim.wire()
    w.send(frame(BROADCAST, wide.mac(), MARK))
    s.until(MARK)
    s.send(frame(wide.mac(), slim.mac(), MARK))  # now both are known
    w.until(MARK)

    def sizes(sender, receiver, source, *payloads):
        target = slim.mac() if sender is w else wide.mac()
        for n in payloads:
            sender.send(frame(target, source, n.to_bytes(2, "big") + bytes(n - 2)))
        sender.send(frame(BROADCAST, source, MARK))
        return [int.from_bytes(f[14:16], "big") for f in receiver.until(MARK)[:-1] if f[12:14] == b"\x88\xb5"]

    assert sizes(w, s, wide.mac(), 1399, 1400, 1401, 9000) == [1399, 1400]
    assert lan.drops("wide") == {"mtu-exceeded": 2}
    assert sizes(s, w, slim.mac(), 1399, 1400, 1401, 9000) == [1399, 1400]
    assert set(lan.drops("slim")) <= {"oversize", "truncated"} and sum(lan.drops("slim").values()) == 2
    # A tag is no part of what the MTU limits.
    lan.rpc("vlan.set", port="wide", mode="trunk", allowed="7")
    lan.rpc("vlan.set", port="slim", mode="trunk", allowed="7")
    tag = bytes.fromhex("81000007")
    for n in (1400, 1401):
        w.send(frame(BROADCAST, wide.mac(), n.to_bytes(2, "big") + bytes(n - 2), tags=tag))
    w.send(frame(BROADCAST, wide.mac(), MARK, tags=tag))
    assert [len(f) for f in s.until(MARK)[:-1] if f[12:14] == b"\x81\x00"] == [1418]


def test_mtu_is_changed_in_place(lan):
    lan.rpc("switch.add", name="sw0", kind="internal")
    a = lan.guest("a", ip="10.0.0.1", mtu=1500, link_mtu=9000)
    host = lan.host_vnic("host0", ip="10.0.0.2")
    lan.wait_ping(a.ns, "10.0.0.2")
    lan.rpc("port.set", name="host0", mtu=9000)
    lan.rpc("port.set", name="a", mtu=9000)
    wait_for(lambda: "mtu 9000" in lan.net.run(lan.host, "ip", "link", "show", host.ifname))
    lan.wait_ping(a.ns, "10.0.0.2", 8972)
    lan.rpc("port.set", name="host0", mtu=2000)
    wait_for(lambda: "mtu 2000" in lan.net.run(lan.host, "ip", "link", "show", host.ifname))
    assert not lan.ping(a.ns, "10.0.0.2", 1973), (lan.drops("a"), lan.row("host0"))
    assert lan.drops("a") == {"mtu-exceeded": 1}
    assert lan.ping(a.ns, "10.0.0.2", 1972)


# Coming and going

def test_adding_and_removing_ports_loses_nothing_of_others(lan):
    """I5: between two guests not one of 1,500 pings is lost while ports of every type come and go."""
    lan.rpc("switch.add", name="sw0", kind="external")
    a = lan.guest("a", ip="10.0.0.1")
    lan.guest("b", ip="10.0.0.2")
    extra, up = lan.device("extra"), lan.device("up0")
    ifname = lan.net.name()
    lan.wait_ping(a.ns, "10.0.0.2")
    ping = lan.net.popen(a.ns, "ping", "-q", "-n", "-i", "0.002", "-c", "1500", "10.0.0.2", stdout=subprocess.PIPE,
                         text=True)
    rounds = 0
    try:
        while ping.poll() is None or rounds < 3:
            lan.rpc("port.add", name="p1", switch="sw0", type="guest", device=f"net_af_packet7,iface={extra.near}")
            lan.rpc("port.add", name="p2", switch="sw0", type="uplink", device=f"net_af_packet8,iface={up.near}")
            lan.rpc("port.add", name="p3", switch="sw0", type="host", ifname=ifname)
            lan.rpc("port.add", name="p4", switch="sw0", type="guest", socket=f"{lan.daemon.dir}/p4", mode="server")
            lan.rpc("port.add", name="p5", switch="sw0", type="guest", socket=f"{lan.daemon.dir}/p5")
            lan.rpc("port.set", name="p1", mtu=9000)
            lan.rpc("vlan.set", port="p1", mode="access", vlan=5)
            for name in ("p1", "p2", "p3", "p4", "p5"):
                lan.rpc("port.del", name=name)
            rounds += 1
        assert " 1500 received, 0% packet loss" in ping.stdout.read()
    finally:
        ping.kill()
        ping.wait()
        ping.stdout.close()
    assert [row["name"] for row in lan.rpc("port.show")] == ["a", "b"]
    wait_for(lambda: ifname not in lan.net.run(lan.host, "ip", "-o", "link"), what="the tap is gone")


def test_a_deleted_interface_comes_back(lan):
    lan.rpc("switch.add", name="sw0", kind="external")
    a = lan.guest("a", ip="10.0.0.1")
    up = lan.uplink("up0", ip="10.0.0.2")
    host = lan.host_vnic("host0", ip="10.0.0.3")
    lan.wait_ping(a.ns, "10.0.0.2")
    for name, d, ip in (("a", a, "10.0.0.1"), ("up0", up, "10.0.0.2")):
        address = d.mac()
        lan.net.run(lan.host, "ip", "link", "del", d.near)
        lan.wait_state(name, "waiting", f"interface {d.near} is gone")
        lan.wait_ping(lan.host, "10.0.0.2" if name == "a" else "10.0.0.1")  # the others go on
        lan.link(d, address=address)
        lan.addresses(d.ns, d.ifname, ip, None)
        lan.wait_up(name)
        lan.wait_ping(a.ns, "10.0.0.2")
    lan.net.run(lan.host, "ip", "link", "del", host.ifname)  # the daemon makes it again
    lan.wait_up("host0")
    wait_for(lambda: host.ifname in lan.net.run(lan.host, "ip", "-o", "link"))
    lan.addresses(lan.host, host.ifname, "10.0.0.3", None)
    lan.wait_ping(a.ns, "10.0.0.3")


def test_link_down_and_up(lan):
    lan.rpc("switch.add", name="sw0", kind="external")
    a = lan.guest("a", ip="10.0.0.1")
    up = lan.uplink("up0", ip="10.0.0.2")
    host = lan.host_vnic("host0", ip="10.0.0.3")
    lan.wait_ping(a.ns, "10.0.0.2")
    lan.wait_ping(a.ns, "10.0.0.3")

    def link(ns, ifname, how):
        lan.net.run(ns, "ip", "link", "set", ifname, how)

    for name, d in (("a", a), ("up0", up), ("host0", host)):
        link(lan.host, d.near, "down")
        lan.wait_state(name, "waiting", f"interface {d.near} is down")
        link(lan.host, d.near, "up")
        lan.wait_up(name)
        if d is not host:  # the far end: no carrier here
            link(d.ns, d.ifname, "down")
            lan.wait_state(name, "waiting", f"interface {d.near} has no carrier")
            link(d.ns, d.ifname, "up")
            lan.wait_up(name)
    lan.wait_ping(a.ns, "10.0.0.2")
    lan.wait_ping(a.ns, "10.0.0.3")
    # What goes to a port without link is dropped, and says so.
    w = a.wire()
    link(up.ns, up.ifname, "down")
    lan.wait_state("up0", "waiting", "no carrier")
    before = lan.drops("a").get("port-down", 0)
    lan.rpc("fdb.add", switch="sw0", mac="02:00:00:00:00:99", port="up0")
    w.send(frame("02:00:00:00:00:99", a.mac()))
    wait_for(lambda: lan.drops("a").get("port-down", 0) == before + 1)


# What may be attached, and isolation

@pytest.mark.parametrize("kind, refused", [("external", []), ("internal", ["uplink"]), ("private", ["uplink", "host"])])
def test_what_may_be_attached(daemon, kind, refused):
    daemon.ctl("switch", "add", "sw0", "kind", kind)
    ports = {"uplink": ["device", "net_null0"], "host": ["ifname", f"ev{os.getpid()}h"],
             "guest": ["socket", f"{daemon.dir}/vm.sock"]}
    for port_type, words in ports.items():
        add = ["port", "add", port_type, "switch", "sw0", "type", port_type, *words]
        if port_type in refused:
            assert f"port {port_type}: switch sw0 is {kind} and has" in daemon.refusal(*add)
        else:
            daemon.ctl(*add)
    assert {p["name"] for p in daemon.ctl("port", "show")} == set(ports) - set(refused)


def test_switches_are_isolated(lan):
    """The same addresses on two switches: nobody sees a frame of the other."""
    devices = {}
    for sw, kind in (("red", "external"), ("blue", "private")):
        lan.rpc("switch.add", name=sw, kind=kind)
        for i in (1, 2):
            devices[sw, i] = d = lan.device(f"{sw}{i}")
            lan.net.run(d.ns, "ip", "link", "set", d.ifname, "address", f"02:00:00:00:00:0{i}")
            lan.rpc("port.add", name=f"{sw}{i}", switch=sw, type="guest",
                    device=f"net_af_packet{len(devices)},iface={d.near}")
            lan.wait_up(f"{sw}{i}")
            lan.addresses(d.ns, d.ifname, f"10.0.0.{i}", None)
    wires = {key: d.wire() for key, d in devices.items()}
    for sw in ("red", "blue"):
        lan.wait_ping(devices[sw, 1].ns, "10.0.0.2")
        wires[sw, 1].send(frame(BROADCAST, "02:00:00:00:00:01", sw.encode() * 5))
        wires[sw, 1].send(frame("02:00:00:00:00:77", "02:00:00:00:00:01", sw.encode() * 5))
    for sw in ("red", "blue"):
        wires[sw, 1].send(frame(BROADCAST, "02:00:00:00:00:01", MARK))
    for sw, other in (("red", "blue"), ("blue", "red")):
        seen = wires[sw, 2].until(MARK)
        assert sum(sw.encode() * 5 in f for f in seen) == 2
        assert not any(other.encode() * 5 in f for f in seen)
    assert {(r["switch"], r["mac"]): r["port"] for r in lan.rpc("fdb.show")} == {
        (sw, f"02:00:00:00:00:0{i}"): f"{sw}{i}" for sw, i in devices}


def test_a_frame_does_not_go_from_uplink_to_uplink(lan):
    lan.rpc("switch.add", name="sw0", kind="external")
    up0, up1, a = lan.uplink("up0"), lan.uplink("up1"), lan.guest("a")
    w0, w1, wa = up0.wire(), up1.wire(), a.wire()
    w0.send(frame(BROADCAST, up0.mac(), b"from an uplink"))
    wa.until(b"from an uplink")
    wa.send(frame(BROADCAST, a.mac(), MARK))
    assert not any(b"from an uplink" in f for f in w1.until(MARK))


# Addresses and drops

def test_a_port_with_a_mac_passes_only_that_source(lan):
    """Spoofed frames are dropped with their reason; the own address is static; unknown unicast stays away."""
    lan.rpc("switch.add", name="sw0", kind="internal")
    vm = lan.device("vm")
    lan.rpc("port.add", name="vm", switch="sw0", type="guest", device=f"net_af_packet1,iface={vm.near}", mac=vm.mac())
    lan.wait_up("vm")
    b = lan.guest("b")
    from_vm, from_b = vm.wire(), b.wire()
    for source in ("02:00:00:00:00:66", b.mac()):
        from_vm.send(frame(BROADCAST, source, b"spoofed"))
    from_vm.send(frame(BROADCAST, vm.mac(), MARK))
    assert not any(b"spoofed" in f for f in from_b.until(MARK))
    assert lan.drops("vm") == {"mac-spoofing": 2}
    rows = {row["mac"]: (row["port"], row["kind"]) for row in lan.rpc("fdb.show")}
    assert rows[vm.mac()] == ("vm", "static") and "02:00:00:00:00:66" not in rows
    from_b.send(frame("02:00:00:00:00:55", b.mac(), b"to somebody unknown"))
    from_b.send(frame(vm.mac(), b.mac(), MARK))
    assert not any(b"to somebody unknown" in f for f in from_vm.until(MARK))
    assert lan.drops("b") == {"no-destination": 1}


def test_frames_that_a_switch_keeps_to_itself(lan):
    """01-80-C2-00-00-00…0F are not forwarded, …10 and others are."""
    lan.rpc("switch.add", name="sw0", kind="external")
    a, b = lan.guest("a"), lan.uplink("up0")
    from_a, at_b = a.wire(), b.wire()
    for last in range(0x12):
        from_a.send(frame(f"01:80:c2:00:00:{last:02x}", a.mac(), b"reserved?"))
    from_a.send(frame("01:00:5e:00:00:01", a.mac(), b"reserved?"))
    from_a.send(frame(BROADCAST, a.mac(), MARK))
    seen = [f[:6].hex(":") for f in at_b.until(MARK) if b"reserved?" in f]
    assert seen == ["01:80:c2:00:00:10", "01:80:c2:00:00:11", "01:00:5e:00:00:01"]
    assert lan.drops("a") == {"bridge-reserved": 16}


def test_malformed_frames_are_dropped_with_a_reason(lan):
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    lan.rpc("switch.add", name="sw0", kind="internal")
    a, b = lan.guest("a"), lan.guest("b")
    from_a, at_b = a.wire(), b.wire()
    head = Ether(dst=BROADCAST, src=a.mac())
    bad = {
        "ipv4-malformed": bytes(head / IP(src="10.0.0.1", dst="10.0.0.2", ihl=2, chksum=0) / UDP()),
        "ipv6-cut": bytes(head / IPv6(src="fd00::1", dst="fd00::2"))[:40],
        "l4-malformed": bytes(head / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dataofs=2)),
        "invalid-source-mac": frame(BROADCAST, "01:00:00:00:00:01"),
        "arp-cut": bytes.fromhex("ffffffffffff" + a.mac().replace(":", "") + "08060001"),
    }
    for text in bad.values():
        from_a.send(text)
    from_a.send(frame(BROADCAST, a.mac(), MARK))
    at_b.until(MARK)
    drops = lan.drops("a")
    assert drops == dict.fromkeys(bad, 1)
    row = next(r for r in lan.rpc("drop.show") if r["reason"] == "ipv6-cut")
    assert row["port"] == "a" and row["stage"] == "parse" and "IPv6" in row["text"]
    assert lan.row("a")["dropped"] == len(bad)


def test_accounting_after_all_kinds_of_frames(lan):
    """I6: what is received and made is what is delivered, consumed, dropped or held; bytes and packets agree."""
    lan.rpc("switch.add", name="sw0", kind="external")
    devices = [lan.guest("a"), lan.guest("b"), lan.uplink("up0"), lan.host_vnic("host0")]
    a, b = devices[0].wire(), devices[1].wire()
    for i in range(50):
        a.send(frame(BROADCAST, devices[0].mac(), b"flood" * i))
        a.send(frame(devices[1].mac(), devices[0].mac(), b"unicast" * i))
        a.send(frame(devices[0].mac(), devices[0].mac(), b"to myself"))
        a.send(frame("01:80:c2:00:00:00", devices[0].mac()))
    a.send(frame(BROADCAST, devices[0].mac(), MARK))
    b.until(MARK)
    lan.check_accounting()
    row = lan.row("a")
    counts = row["detail"]["accounting"]
    assert row["rx_packets"] >= 201 and row["dropped"] == sum(lan.drops("a").values()) >= 100
    assert counts["received"] == row["rx_packets"] and counts["dropped"] == row["dropped"]
    assert counts["made"] >= 2 * 51  # a flood to three is two copies more
    assert lan.row("b")["tx_packets"] >= 101


# What a port waits for

@pytest.fixture
def nobody(make_daemon):
    """A daemon of an ordinary user, whom directories can keep out."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    directory = Path(tempfile.mkdtemp(prefix="evs-", dir="/tmp"))
    os.chown(directory, 65534, 65534)
    d = make_daemon(directory, memory=128)
    d.start(user=65534, group=65534, extra_groups=[])
    d.ctl("switch", "add", "sw0", "kind", "internal")
    yield d
    d.stop()
    subprocess.run(["rm", "-rf", directory], check=True)


def add_guest(daemon, name, path, mode="client"):
    daemon.ctl("port", "add", name, "switch", "sw0", "type", "guest", "socket", path, "mode", mode)


def says(daemon, name, state, *words):
    def row():
        r = daemon.ctl("port", "show", name)[0]
        return r["state"] == state and all(w in r["why"] for w in words)
    try:
        wait_for(row)
    except AssertionError:
        raise AssertionError(f"not {state}, {words}, but {daemon.ctl('port', 'show', name)[0]}") from None


def test_a_client_says_why_it_cannot_connect(nobody, run_dir):
    run_dir.chmod(0o755)
    add_guest(nobody, "missing", run_dir / "missing.sock")
    says(nobody, "missing", "waiting", f"waits for the socket {run_dir}/missing.sock: no such file")
    (run_dir / "file").touch()
    add_guest(nobody, "file", run_dir / "file")
    says(nobody, "file", "failed", f"{run_dir}/file: not a socket")
    (run_dir / "closed").mkdir(mode=0o700)
    add_guest(nobody, "closed", run_dir / "closed/vm.sock")
    says(nobody, "closed", "failed", f"{run_dir}/closed/vm.sock: permission denied")
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(run_dir / "mine"))
    s.listen()
    (run_dir / "mine").chmod(0o600)
    add_guest(nobody, "mine", run_dir / "mine")
    says(nobody, "mine", "failed", f"{run_dir}/mine: permission denied; the socket is owned by root:root (0600)")
    # Put right, it connects by itself.
    (run_dir / "mine").chmod(0o666)
    s.settimeout(10)
    conn, _ = s.accept()
    conn.close()
    s.close()
    says(nobody, "mine", "waiting")


def test_a_server_says_why_it_cannot_listen(nobody, run_dir):
    """A new port is refused; a stored one is there and tries again."""
    def refused(path, sentence):
        assert sentence in nobody.refusal("port", "add", "vm", "switch", "sw0", "type", "guest", "socket", path,
                                          "mode", "server")
        assert nobody.ctl("port", "show") == []

    run_dir.chmod(0o755)
    refused(run_dir / "no/vm.sock", f"directory {run_dir}/no: no such file")
    refused(run_dir / "vm.sock", f"directory {run_dir}: permission denied; it is owned by root:root (0755)")
    run_dir.chmod(0o777)
    (run_dir / "file").write_text("precious")
    refused(run_dir / "file", "a file that is not a socket stands there")
    assert (run_dir / "file").read_text() == "precious"
    path = run_dir / "taken"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        path.chmod(0o777)
        other.listen()
        refused(path, "another program listens there")
    path.unlink()
    add_guest(nobody, "vm", path, "server")
    says(nobody, "vm", "waiting")
    nobody.stop()
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        path.chmod(0o777)
        other.listen()
        nobody.start(user=65534, group=65534, extra_groups=[])
        says(nobody, "vm", "failed", "another program listens there", "will be tried again")
    # The other program is gone and left its file; the next try takes it over.
    says(nobody, "vm", "waiting")


def test_a_stale_socket_file_is_replaced(daemon):
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    path = daemon.dir / "vm.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    add_guest(daemon, "vm", path, "server")
    says(daemon, "vm", "waiting")

    def listens():
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(path)) == 0
    wait_for(listens)
    daemon.kill()
    says(daemon, "vm", "waiting")
    wait_for(listens)
    daemon.ctl("port", "del", "vm")
    wait_for(lambda: not path.exists() or not stat.S_ISSOCK(path.stat().st_mode), what="the socket is removed")


@pytest.mark.parametrize("device, sentence", [
    ("net_af_packet0,iface=nothing0", "nothing0"),
    ("net_no_such_driver0", "net_no_such_driver0"),
    ("0000:ff:1f.7", "0000:ff:1f.7"),
])
def test_a_device_that_is_not_there(daemon, device, sentence):
    """The change is refused, or the port is there and says what is wrong: never neither."""
    daemon.ctl("switch", "add", "sw0", "kind", "external")
    try:
        daemon.ctl("port", "add", "up0", "switch", "sw0", "type", "uplink", "device", device)
    except Refused as e:
        assert str(e).startswith("evsctl: port up0: ") and sentence in str(e)
        assert daemon.ctl("port", "show") == []
    else:
        says(daemon, "up0", "failed", sentence)
