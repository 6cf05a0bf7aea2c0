"""Frames of up to 64 KB that a guest leaves to be cut, toward ports that are no guests: what the kernel gets is right.

                              namespace h
      bench-front 0 ── vm0 ──┬──────────┬── host0 (tap)          a raw socket reads what comes, and is told whether
      bench-front 1 ── vm1 ──┤   sw0    ├── a (af_packet, veth)  checksums are still open; the payload of all is one
                             └──────────┘                          stream of numbered words
"""

import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import pytest
from conftest import Daemon, need
from hostile_rig import FRONT
from lan import ETH_P_ALL, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, SOL_PACKET, Lan, in_namespace

SO_RCVBUFFORCE = 33
AUX_CSUM_OPEN, TCP = 8, 6
TARGET = "02:00:01:00:00:00"  # of bench-front 1
FRAMES, GSO = 40, 1424
OFFLOADS = {"none": (54, 1400), "csum": (54, 1400), "tso4": (54, 60000), "tso6": (74, 60000), "ufo": (42, 60000),
            "uso": (42, 60000)}  # bytes of headers and of payload


def folded(data, start=0):
    """The Internet checksum's sum, not inverted."""
    data += b"\0" * (len(data) % 2)
    total = start + sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


class Reader:
    """Takes frames apart and checks each; puts fragments together."""

    def __init__(self, device):
        def make():
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            s.bind((device.ifname, ETH_P_ALL))
            return s
        self.sock = in_namespace(device.ns, make)
        self.payload, self.parts = b"", b""
        self.frames = self.longest = self.asked = 0

    def read(self, n, deadline=15):
        """Until n bytes of payload have come, or nothing comes any more."""
        end = time.monotonic() + deadline
        while len(self.payload) < n:
            self.sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                frame, control, _, _ = self.sock.recvmsg(70000, socket.CMSG_SPACE(20))
            except TimeoutError:
                return
            if frame[:6].hex(":") == TARGET:
                self.frame(frame, bool(struct.unpack_from("=I", control[0][2])[0] & AUX_CSUM_OPEN))

    def frame(self, frame, is_open):
        ip, version = frame[14:], frame[14] >> 4
        self.frames += 1
        self.longest = max(self.longest, len(frame))
        self.asked += is_open
        if version == 4:
            assert folded(ip[:20]) == 0xffff and struct.unpack(">H", ip[2:4])[0] == len(ip)
            addresses, protocol, l4, cut = ip[12:20], ip[9], ip[20:], struct.unpack(">H", ip[6:8])[0] & 0x3fff
        else:
            assert struct.unpack(">H", ip[4:6])[0] == len(ip) - 40
            addresses, protocol, l4, cut = ip[8:40], ip[6], ip[40:], 0
        if cut:
            assert (cut & 0x1fff) * 8 == len(self.parts), "a fragment is not where it was cut"
            self.parts += l4
            if cut & 0x2000:
                return
            l4, self.parts = self.parts, b""
        self.datagram(addresses, protocol, l4, is_open)

    def datagram(self, addresses, protocol, l4, is_open):
        pseudo = folded(addresses + struct.pack(">HH", protocol, len(l4)))
        if is_open:
            at = 16 if protocol == TCP else 6
            assert struct.unpack(">H", l4[at:at + 2])[0] == pseudo
        else:
            assert folded(l4, pseudo) == 0xffff
        if protocol == TCP:
            assert struct.unpack(">I", l4[4:8])[0] == len(self.payload), "a segment is not next"
        else:
            assert struct.unpack(">H", l4[4:6])[0] == len(l4)
        self.payload += l4[20 if protocol == TCP else 8:]


class Site:
    def __init__(self, directory):
        self.lan = Lan(lambda **options: Daemon(directory, **options))

    def start(self):
        lan = self.lan
        lan.start()
        lan.rpc("switch.add", name="sw0", kind="external")
        self.sockets = [f"{lan.daemon.dir}/vm{i}.sock" for i in range(2)]
        for i in range(2):
            lan.rpc("port.add", name=f"vm{i}", switch="sw0", type="guest", socket=self.sockets[i], mode="server")
        self.ports = {"host0": lan.host_vnic("host0"), "a": lan.uplink("a")}
        lan.net.run(lan.host, "ethtool", "-K", self.ports["a"].near, "tx", "off")

    def send(self, offload, size):
        words = (FRONT, "--features", "offloads,host-uso", "--offload", offload, "--size", size, "--gso-size", GSO, "--one-way",
                 "--mode", "paced", "--rate", 200, "--frames", FRAMES, "--ring", 1024, "--nap", 50, "--patience", 0)
        r = subprocess.run([*map(str, words), *self.sockets], capture_output=True, text=True, timeout=60, check=False)
        assert r.returncode == 0, r.stderr


@pytest.fixture(scope="module")
def site():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    need("ip", "ethtool")
    directory = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
    made = Site(directory)
    try:
        made.start()
        yield made
        made.lan.check_accounting()
        made.lan.daemon.stop()
    finally:
        made.lan.daemon.destroy()
        made.lan.destroy()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("port", ["host0", "a"])
@pytest.mark.parametrize("offload", OFFLOADS)
def test_long_frames(site, offload, port):
    head, each = OFFLOADS[offload]
    reader = Reader(site.ports[port])
    site.lan.rpc("fdb.add", switch="sw0", mac=TARGET, port=port)
    try:
        site.send(offload, head + each)
        reader.read(FRAMES * each)
        assert len(reader.payload) >= FRAMES * each, (len(reader.payload), site.lan.rpc("drop.show"))
    finally:
        site.lan.rpc("fdb.del", switch="sw0", mac=TARGET)
        reader.sock.close()
    assert reader.payload == b"".join(struct.pack("<Q", i) for i in range(len(reader.payload) // 8))
    assert len(reader.payload) % each == 0
    if port == "host0" and offload in ("csum", "tso4", "tso6"):  # a tap takes these as they are
        assert reader.frames * each == len(reader.payload) and reader.asked == reader.frames
    if port == "a":
        assert reader.longest <= 1514 and reader.asked == 0
