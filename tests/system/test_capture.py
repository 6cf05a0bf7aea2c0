"""Captures: packets of a port and what is dropped of them, in pcapng, with tshark as the judge.

     a ── untagged ──┐
     b ── untagged ──┼── sw0 ── up0 ══ veth ══ far end
     t ── trunk ─────┘    └──── mgmt0 (host)

Captures take effect a few milliseconds after they begin: a test sends a probe until it was captured.
"""

import os
import signal
import subprocess
import time

import pytest
from conftest import BUILD, EVSCTL, TOP, Daemon, Refused, need, wait_for, wait_gone
from lan import Lan

PROBE = 7777
BROADCAST = "ff:ff:ff:ff:ff:ff"


def frame(source, target, port, size=60, tag=b"", data=b""):
    from scapy.layers.inet import IP, UDP
    packet = bytes(IP(src="10.9.9.9", dst="10.9.9.10") / UDP(sport=9, dport=port) / (data or bytes(max(size - 42, 0))))
    return bytes.fromhex((target + source).replace(":", "")) + tag + b"\x08\x00" + packet


def tshark(file, *words):
    r = subprocess.run(["tshark", "-n", "-r", str(file), *words], capture_output=True, text=True, timeout=60,
                       check=True)
    return r.stdout


def fields(file, *names, only="", options=()):
    words = [w for n in names for w in ("-e", n)]
    out = tshark(file, *options, *(["-Y", only] if only else []), "-T", "fields", *words)
    return [line.split("\t") for line in out.splitlines()]


def without_probes(file, *names):
    return fields(file, *names, only=f"!(udp.dstport == {PROBE})")


class Capture:
    """evsctl capture start, while it runs."""

    def __init__(self, site, name, *words, **more):
        self.site, self.name = site, name
        self.process = subprocess.Popen([EVSCTL, "-s", str(site.daemon.socket), "capture", "start", name, *map(str, words)],
                                        stderr=subprocess.PIPE, text=True, **more)
        site.captures.append(self)

    def row(self):
        rows = [r for r in self.site.rpc("capture.show") if r["name"] == self.name]
        return rows[0] if rows else None

    def begun(self, probe=None):
        """Until a probe was captured; and then until no further one is under way."""
        wait_for(self.row, what=f"capture {self.name} is shown")

        def captured():
            (probe or self.site.probe)()
            return self.row()["packets"] > 0
        wait_for(captured, what=f"capture {self.name} has a packet")
        self.site.quiet()
        return self

    def stop(self):
        self.site.rpc("capture.stop", name=self.name)
        return self.ended()

    def ended(self, deadline=10):
        _, err = self.process.communicate(timeout=deadline)
        return self.process.returncode, err.strip()


class Site:
    def __init__(self, directory):
        self.lan = Lan(lambda **options: Daemon(directory, allow_unsigned=True, **options))
        self.captures = []

    def start(self):
        lan = self.lan.start()
        lan.rpc("switch.add", name="sw0", kind="external")
        self.a, self.b = lan.guest("a"), lan.guest("b")
        self.t, self.up = lan.guest("t"), lan.uplink("up0")
        self.host = lan.host_vnic("mgmt0")
        lan.rpc("vlan.set", port="t", mode="trunk", allowed="10-20", native=1)
        self.daemon, self.rpc = lan.daemon, lan.rpc
        self.from_a, self.at_b = self.a.wire(), self.b.wire()
        self.from_b, self.n = self.b.wire(), 1000
        self.a_mac, self.b_mac = self.a.mac(), self.b.mac()
        return self

    def probe(self):
        self.from_a.send(frame(self.a_mac, self.b_mac, PROBE))

    def quiet(self):
        """What was sent has arrived."""
        self.n += 1
        mark = self.n.to_bytes(4, "big") * 8
        self.from_a.send(frame(self.a_mac, self.b_mac, PROBE, data=mark))
        self.at_b.until(mark)

    def send(self, *ports, size=60, target=None):
        for port in ports:
            self.from_a.send(frame(self.a_mac, target or self.b_mac, port, size))

    def clean(self):
        for c in self.captures:
            if c.process.poll() is None:
                c.process.kill()
            c.process.communicate()
        self.captures.clear()
        wait_for(lambda: self.rpc("capture.show") == [], what="no capture runs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    need("tshark")
    directory = tmp_path_factory.mktemp("c")
    os.chmod(directory, 0o755)
    s = Site(directory)
    try:
        yield s.start()
        s.daemon.stop()
    finally:
        s.daemon.destroy()
        s.lan.destroy()


@pytest.fixture
def site(shared):
    yield shared
    shared.clean()


def test_tshark_reads_a_capture(site, tmp_path):
    file = tmp_path / "c.pcapng"
    c = Capture(site, "c1", "port", "b", "file", file).begun()
    site.send(1, 2, 3)
    site.from_b.send(frame(site.b_mac, site.a_mac, 4))
    wait_for(lambda: len(without_probes(file, "frame.number")) == 4, what="four packets are in the file")
    assert c.stop() == (0, "")
    rows = without_probes(file, "udp.dstport", "frame.interface_name", "frame.packet_flags_direction",
                          "frame.interface_description")
    assert [[r[0], r[1], int(r[2], 0)] for r in rows] == [["1", "b", 2], ["2", "b", 2], ["3", "b", 2], ["4", "b", 1]]
    assert "sent to b" in rows[0][3] and "sent by b" in rows[3][3]
    times = [float(r[0]) for r in fields(file, "frame.time_epoch")]
    assert times == sorted(times) and abs(times[-1] - time.time()) < 60
    assert "Malformed" not in tshark(file, "-q", "-z", "expert,error")


def test_whole_frames_and_snaplen(site, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    one = Capture(site, "whole", "port", "a", "file", whole).begun()
    two = Capture(site, "cut", "port", "a", "snaplen", 100, "file", cut).begun()
    site.send(5, size=1400)
    site.quiet()
    one.stop()
    two.stop()
    assert ["5", "1400", "1400"] in fields(whole, "udp.dstport", "frame.len", "frame.cap_len")
    assert ["5", "1400", "100"] in fields(cut, "udp.dstport", "frame.len", "frame.cap_len")


def test_filters_are_those_of_libpcap(site, tmp_path):
    file = tmp_path / "f"
    c = Capture(site, "f", "port", "a", "filter", f"udp dst port 11 or udp dst port {PROBE}", "file", file).begun()
    site.send(10, 11, 12)
    site.quiet()
    c.stop()
    assert without_probes(file, "udp.dstport") == [["11"]]


def test_a_filter_that_is_none_is_refused(site, tmp_path):
    c = Capture(site, "f", "port", "a", "filter", "ip and and", "file", tmp_path / "f")
    status, text = c.ended()
    assert status == 1 and "the filter is not understood" in text and "pcap-filter(7)" in text


def test_drops_only_with_reason_and_stage(site, tmp_path):
    file = tmp_path / "d"

    def dropped(port=PROBE):
        site.from_a.send(frame(site.a_mac, "01:80:c2:00:00:05", port))
    c = Capture(site, "d", "port", "a", "drops", "only", "file", file).begun(dropped)
    dropped(20)
    site.send(21)
    site.quiet()
    assert c.row()["drops"] == "only"
    c.stop()
    rows = without_probes(file, "udp.dstport", "frame.comment")
    assert [r[0] for r in rows] == ["20"]
    assert "classify" in rows[0][1] and "bridge-reserved" in rows[0][1]


def test_drops_by_an_extension_with_its_name_and_words(site, tmp_path):
    need("cc")
    so, file = site.daemon.dir / "no_telnet.so", tmp_path / "d"
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{TOP}/ext/include", str(TOP / "ext/samples/no_telnet.c"), "-o", str(so)],
                   check=True, timeout=60)
    site.rpc("ext.load", name="fw", switch="sw0", path=str(so))

    def telnet():
        from scapy.layers.inet import IP, TCP
        f = bytes(IP(src="10.9.9.9", dst="10.9.9.10") / TCP(sport=9, dport=23))
        site.from_a.send(bytes.fromhex((site.b_mac + site.a_mac).replace(":", "")) + b"\x08\x00" + f)
    try:
        c = Capture(site, "d", "port", "a", "drops", "too", "filter", "tcp", "file", file).begun(telnet)

        def told():
            telnet()
            return any(text for text, in fields(file, "frame.comment"))
        wait_for(told, what="a drop was captured")
        c.stop()
        comments = {text for text, in fields(file, "frame.comment")}
        assert comments == {"", "dropped at stage extension: extension fw: telnet is not allowed"}
    finally:
        site.rpc("ext.unload", name="fw")


def test_the_tag_is_that_of_the_wire(site, tmp_path):
    file, ten = tmp_path / "t", b"\x81\x00\x00\x0a"
    site.rpc("vlan.set", port="b", mode="access", vlan=10)
    try:
        wire = site.t.wire()

        def tagged(port=PROBE):
            wire.send(frame(site.t.mac(), BROADCAST, port, tag=ten))
        c = Capture(site, "b", "port", "b", "filter", "ip", "file", file)
        wait_for(c.row)

        def captured():
            tagged()
            return c.row()["packets"] > 0
        wait_for(captured)
        tagged(30)
        wait_for(lambda: without_probes(file, "udp.dstport") == [["30"]])
        c.stop()
        assert without_probes(file, "udp.dstport", "vlan.id") == [["30", ""]], "access ports get no tag"
    finally:
        site.rpc("vlan.set", port="b", mode="untagged")


def test_pipe_to_tshark(site):
    c = subprocess.Popen(f"{EVSCTL} -s {site.daemon.socket} capture start p port a file - | tshark -n -l -r - -T fields "
                         "-e udp.dstport", shell=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    wait_for(lambda: site.rpc("capture.show"), what="the capture is shown")

    def captured():
        site.probe()
        return site.rpc("capture.show")[0]["packets"] > 0
    wait_for(captured)
    site.send(40)
    site.quiet()
    site.rpc("capture.stop", name="p")
    out, _ = c.communicate(timeout=20)
    assert [line for line in out.split() if line != str(PROBE)] == ["40"]


def test_reader_that_goes_ends_the_capture(site):
    r, w = os.pipe()
    c = Capture(site, "r", "port", "a", "file", "-", stdout=w)
    os.close(w)
    wait_for(c.row)
    os.close(r)
    assert c.ended()[0] == 0
    assert site.rpc("capture.show") == []


def test_slow_reader_loses_packets_and_stalls_nobody(site):
    r, w = os.pipe()
    c = Capture(site, "s", "port", "a", "file", "-", stdout=w)
    os.close(w)
    c.begun()
    big = frame(site.a_mac, site.b_mac, 50, 1400)

    def lost():
        for _ in range(500):
            site.from_a.send(big)
        site.quiet()
        return c.row()["lost"] > 0
    wait_for(lost, 60, "packets were lost")
    before = time.monotonic()
    site.rpc("capture.stop", name="s")
    assert time.monotonic() - before < 5
    c.ended()
    os.close(r)


def test_evsctl_killed(site, tmp_path):
    file = tmp_path / "k"
    c = Capture(site, "k", "port", "a", "file", file).begun()
    site.send(60)
    site.quiet()
    c.process.send_signal(signal.SIGKILL)
    wait_for(lambda: site.rpc("capture.show") == [], what="the capture has ended")
    assert without_probes(file, "udp.dstport") == [["60"]]


def test_interrupted_capture_is_whole(site, tmp_path):
    file = tmp_path / "i"
    c = Capture(site, "i", "port", "a", "file", file).begun()
    site.send(61)
    site.quiet()
    c.process.send_signal(signal.SIGINT)
    wait_for(lambda: site.rpc("capture.show") == [])
    assert without_probes(file, "udp.dstport") == [["61"]]


def test_files_in_turn(site, tmp_path):
    file = tmp_path / "ring"
    c = Capture(site, "ring", "port", "a", "files", 3, "size", "64K", "file", file).begun()
    for port in range(100, 400):
        site.send(port, size=1400)
        if port % 20 == 0:
            site.quiet()
    site.quiet()
    c.stop()
    seen = []
    for name in (file, f"{file}.2", f"{file}.3"):
        assert os.path.getsize(name) <= 65536 + 1000
        seen += [int(p) for p, in without_probes(name, "udp.dstport")]
    assert len(seen) > 90 and sorted(seen) == list(range(min(seen), 400)), "the newest are there, none is missing"


def test_one_file_that_is_full_ends_the_capture(site, tmp_path):
    file = tmp_path / "full"
    c = Capture(site, "full", "port", "a", "size", "64K", "file", file).begun()

    def ended():
        site.send(*[70] * 20, size=1400)
        return c.process.poll() is not None
    wait_for(ended)
    assert c.ended() == (0, "")
    assert os.path.getsize(file) <= 65536 + 200
    assert len(without_probes(file, "udp.dstport")) > 40


def test_sampling(site, tmp_path):
    file = tmp_path / "sample"
    c = Capture(site, "sample", "port", "a", "sample", 10, "file", file)
    wait_for(c.row)
    n = 0

    def captured():
        nonlocal n
        site.send(*[80] * 100)
        n += 100
        site.quiet()
        return c.row()["packets"] > 50
    wait_for(captured, 30)
    c.stop()
    assert len(fields(file, "udp.dstport")) < n / 4


def test_uplink_and_host(site, tmp_path):
    up, host = tmp_path / "up", tmp_path / "host"
    one = Capture(site, "up", "port", "up0", "filter", "udp", "file", up)
    two = Capture(site, "host", "port", "mgmt0", "filter", "udp", "file", host)
    wait_for(lambda: one.row() and two.row())

    def captured():
        site.send(90, target=BROADCAST)
        return one.row()["packets"] > 0 and two.row()["packets"] > 0
    wait_for(captured)
    one.stop()
    two.stop()
    assert ["90", "up0"] in fields(up, "udp.dstport", "frame.interface_name")
    assert ["90", "mgmt0"] in fields(host, "udp.dstport", "frame.interface_name")


def test_names_and_ports(site, tmp_path):
    Capture(site, "one", "port", "a", "file", tmp_path / "1").begun()
    assert "is running already" in Capture(site, "one", "port", "b", "file", tmp_path / "2").ended()[1]
    assert "no such port" in Capture(site, "two", "port", "zz", "file", tmp_path / "3").ended()[1]
    with pytest.raises(Refused, match="no such capture"):
        site.rpc("capture.stop", name="two")


def test_the_port_goes(site, tmp_path):
    d = site.lan.guest("gone")
    c = Capture(site, "g", "port", "gone", "file", tmp_path / "g")
    wait_for(c.row)
    site.rpc("port.del", name="gone")
    status, text = c.ended()
    assert status == 1 and "its port was deleted" in text
    assert d.near


def test_methods_are_like_any_other(site):
    def evsctl(*words):
        return subprocess.run([EVSCTL, "-s", str(site.daemon.socket), *words], capture_output=True, text=True,
                              check=True, timeout=20).stdout
    assert "capture" in evsctl("help")
    assert "snaplen" in evsctl("help", "capture", "start")
    done = subprocess.run([EVSCTL, "--complete", "-s", str(site.daemon.socket), "capture", "st"], capture_output=True,
                          text=True, timeout=20, check=False).stdout.split()
    assert done == ["start", "stop"]


def test_frames_of_guests_are_whole(make_daemon, tmp_path):
    """Of guests' rings the switch has but the first bytes: checksums over all of the rest are right, on both sides."""
    d, file = make_daemon().start(), tmp_path / "c"
    d.ctl("switch", "add", "sw0", "kind", "private")
    for i in (0, 1):
        d.ctl("port", "add", f"vm{i}", "switch", "sw0", "type", "guest", "socket", f"{d.dir}/vm{i}.sock", "mode", "server")
    front = subprocess.Popen([str(BUILD / "bench-front"), "--mode", "paced", "--rate", "2000", "--offload", "none", "--size",
                              "1400", f"{d.dir}/vm0.sock", f"{d.dir}/vm1.sock"], stdout=subprocess.DEVNULL)
    c = subprocess.Popen([EVSCTL, "-s", str(d.socket), "capture", "start", "c", "port", "vm0", "filter", "tcp", "file",
                          str(file)], stderr=subprocess.PIPE, text=True)
    try:
        def captured():
            rows = d.ctl("capture", "show")
            return rows and rows[0]["packets"] > 200
        wait_for(captured, 20, "packets of guests are captured")
        d.ctl("capture", "stop", "c")
        c.communicate(timeout=10)
        rows = fields(file, "frame.interface_id", "frame.len", "frame.cap_len", "tcp.checksum.status",
                      options=("-o", "tcp.check_checksum:TRUE"))
        assert {r[0] for r in rows} == {"0", "1"}
        assert {tuple(r[1:]) for r in rows} == {("1400", "1400", "1")}
    finally:
        for p in (front, c):
            p.kill()
            p.communicate()
    d.stop()


def test_nothing_of_it_is_kept(make_daemon, tmp_path):
    """A capture is no configuration; its switch goes with it, and the daemon's end ends it."""
    d = make_daemon().start()
    d.ctl("switch", "add", "sw0", "kind", "private")
    d.ctl("port", "add", "vm1", "switch", "sw0", "type", "guest", "socket", f"{d.dir}/vm1", "mode", "server")
    before = d.ctl("config", "show")
    c = subprocess.Popen([EVSCTL, "-s", str(d.socket), "capture", "start", "c", "port", "vm1", "file", str(tmp_path / "c")],
                         stderr=subprocess.PIPE, text=True)
    wait_for(lambda: d.ctl("capture", "show"))
    assert d.ctl("config", "show") == before
    assert [x["name"] for x in d.ctl("ext", "show")] == ["capture:sw0"]
    d.ctl("port", "del", "vm1")
    d.ctl("switch", "del", "sw0")
    assert "its port was deleted" in c.communicate(timeout=10)[1]
    wait_for(lambda: d.ctl("ext", "show") == [])
    d.ctl("switch", "add", "sw0", "kind", "private")
    d.ctl("port", "add", "vm1", "switch", "sw0", "type", "guest", "socket", f"{d.dir}/vm1", "mode", "server")
    c = subprocess.Popen([EVSCTL, "-s", str(d.socket), "capture", "start", "c", "port", "vm1", "file", str(tmp_path / "c")],
                         stderr=subprocess.PIPE, text=True)
    wait_for(lambda: d.ctl("capture", "show"))
    pid = d.pid()
    d.stop()
    wait_gone(pid)
    c.communicate(timeout=10)
    assert tshark(tmp_path / "c") == "", "a file without packets is one, too"
