"""The switch's own rings between guests of tools/bench/front: offloads, layouts, queue pairs, guests that come and go.

      bench-front 0 ──┐         ┌── bench-front 1    the payload of what 0 sends is numbered words, so that its sum tells
                     vm0  sw0  vm1                   whether all of it has come, however the switch cuts it; what comes
      bench-front 2 ──┤         ├── bench-front 3    is sent again by its sender, so a loaded machine loses nothing
                     vm2       vm3
"""

import contextlib
import json
import math
import os
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest
from conftest import CORE, Daemon, wait_for
from hostile_rig import FRONT, Pair
from rpc import Rpc

ALL = "offloads,host-uso"
GSO = 1448
FORMS = {"split": (), "packed-mrg": ("--packed", "--mrg"), "mixed-mrg": ("--mrg", "--layout", "mixed")}
HEAD = {"tso4": 54, "tso6": 74, "ufo": 42, "uso": 42}
LAYOUTS = ("single", "chain", "indirect", "mixed")
SIZES = (82, 594, 1514, 9000)
RINGS = {"split": (), "packed": ("--packed",)}
SET_VRING_NUM = 8
CALM = ("--one-way", "--in-flight", 8, "--ring", 1024, "--nap", 50, "--patience", 20)
CORES = ",".join(map(str, sorted(os.sched_getaffinity(0)))) or CORE


class Site:
    """A daemon with four guest ports of 16 queue pairs; tests share it and leave it as they found it."""

    def __init__(self, directory):
        self.daemon = Daemon(directory, cores=CORES)
        self.datapath = "own"

    def start(self):
        self.daemon.start()
        self.rpc = Rpc(self.daemon.socket)
        self.rpc.call("switch.add", name="sw0", kind="internal")
        for i in range(4):
            self.add(f"vm{i}", queues=16, mtu=9000)

    def add(self, name, **conf):
        self.rpc.call("port.add", name=name, switch="sw0", type="guest", socket=f"{self.daemon.dir}/{name}.sock",
                      mode="server", **conf)

    def row(self, name):
        return self.rpc.call("port.show", name=name)[0]

    def use(self, datapath):
        if datapath != self.datapath:
            for i in range(4):
                self.rpc.call("port.set", name=f"vm{i}", datapath=datapath)
        self.datapath = datapath

    def run(self, *words):
        """What two guests say at the end: ready, then the final line."""
        r = subprocess.run([FRONT, *map(str, words), f"{self.daemon.dir}/vm%d.sock"], capture_output=True, text=True,
                           timeout=60)
        assert r.returncode == 0, r.stderr
        lines = [json.loads(line) for line in r.stdout.splitlines()]
        return lines[0], lines[-1]

    def attack(self, name, rings, *words):
        r = subprocess.run([FRONT, "--attack", name, *RINGS[rings], *map(str, words), f"{self.daemon.dir}/vm2.sock",
                            f"{self.daemon.dir}/vm3.sock"], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    @contextlib.contextmanager
    def pair(self, *words):
        """Two guests on vm0 and vm1 that exchange checked frames; at the end all of them have come."""
        pair = Pair(self.daemon.dir, self.daemon.dir / "pair", "--offload", "none", "--size", 1514, "--in-flight", 8,
                    "--nap", 50, "--patience", 5, "--interval", 50, *words)
        try:
            wait_for(pair.last, 20, "the guests exchange frames")
            yield pair
            assert_payload(pair.stop())
        finally:
            pair.stop()

    def end(self):
        self.rpc.close()
        self.daemon.stop()


@pytest.fixture(scope="module")
def shared():
    directory = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
    made = Site(directory)
    try:
        made.start()
        yield made
        made.end()
    finally:
        made.daemon.destroy()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site(shared):
    shared.use("own")
    yield shared
    wait_for(lambda: sum(shared.row(f"vm{i}")["detail"]["accounting"]["held"] for i in range(4)) == 0, 5,
             "no port holds frames")


def assert_payload(final, counted=True):
    """All that was sent has come, and nothing else; each header counts its buffers."""
    wrong = ("lost", "bad", "ring_errors", "bad_header", "bad_checksum", "bad_payload") + ("uncounted",) * counted
    assert {k: final[k] for k in wrong} == dict.fromkeys(wrong, 0), final
    payload = final["payload"]
    assert payload["sent"] == payload["received"] > 0 and payload["sent_sum"] == payload["received_sum"], final


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("receiver", [ALL, "none"], ids=["taken", "finished"])
@pytest.mark.parametrize(("offload", "sender"), [("none", "none"), ("none", ALL), ("csum", ALL), ("tso4", ALL),
                                                 ("tso6", ALL), ("ufo", ALL), ("uso", ALL)])
def test_offload(site, offload, sender, receiver, form):
    """Requests travel to a guest that has negotiated them, and are fulfilled before one that has not."""
    frames, size = (40, 60000) if offload in HEAD else (100, 1400)
    _, final = site.run("--features", sender, "--odd-features", receiver, "--offload", offload, "--size", size,
                        "--gso-size", GSO, "--frames", frames, *CALM, *FORMS[form])
    assert_payload(final)
    sent, taken = final["tx"], receiver != "none"
    pieces = math.ceil((size - HEAD[offload]) / GSO) if offload in HEAD and not taken else 1
    if offload == "ufo" and not taken:  # the UDP header is a part of the first fragment's
        pieces = math.ceil((size - 34) / GSO)
    assert final["rx"] == sent * pieces
    assert final["gso"] == (sent if taken and offload in HEAD else 0)
    assert final["needs_csum"] == (sent if taken and offload != "none" else 0)
    if form == "split":
        assert final["merged"] == 0
    else:
        assert final["merged"] == (sent if taken and offload in HEAD else 0)


def reference_rows():
    """Each layout with each size, both kinds of rings, both kinds of receive buffers."""
    for i, layout in enumerate(LAYOUTS):
        for j, rings in enumerate(RINGS):
            for k, buffers in enumerate(("whole", "mrg")):
                yield layout, rings, buffers, SIZES[(i + 2 * j + k) % len(SIZES)]


@pytest.mark.parametrize("datapath", ["own", "library"])
@pytest.mark.parametrize(("layout", "rings", "buffers", "size"), reference_rows())
def test_reference(site, datapath, layout, rings, buffers, size):
    """Whatever the DPDK library's rings deliver, ours deliver, and the other way round."""
    site.use(datapath)
    # The library (DPDK 22.11) loses and spoils short frames in such chains, and counts no buffers that are not mergeable.
    is_spoilt = (datapath, layout, rings, buffers) == ("library", "chain", "packed", "mrg")
    features = ("--features", "indirect") if layout in ("indirect", "mixed") else ()
    _, final = site.run("--offload", "none", "--size", size, "--layout", layout, "--rx-layout",
                        "single" if is_spoilt else layout, "--frames", 200,
                        *CALM, *RINGS[rings], *features, *(("--mrg",) if buffers == "mrg" else ()))
    assert_payload(final, counted=datapath == "own" or buffers == "mrg")
    assert (final["rx"], final["gso"], final["needs_csum"]) == (final["tx"], 0, 0)
    assert site.row("vm0")["detail"]["vhost-user"]["datapath"] == datapath


@pytest.mark.parametrize("rings", RINGS)
@pytest.mark.parametrize("n", [16, 3])
def test_queue_pairs(site, rings, n):
    """All pairs that the guest has carry traffic, also if the port has more."""
    _, final = site.run("--queues", n, "--flows", 256, "--stamp", "--frames", 2000, "--in-flight", 32, "--ring", 256,
                        "--nap", 50, *RINGS[rings])
    assert (final["lost"], final["dup"], final["bad"], final["ring_errors"]) == (0, 0, 0, 0), final
    assert final["rx"] == final["tx"] and len(final["rx_queues"]) == n and min(final["rx_queues"]) > 0, final


def test_pairs_that_are_in_use_are_told(site):
    with site.pair("--queues", 5):
        assert [site.row(name)["detail"]["vhost-user"]["queues_enabled"] for name in ("vm0", "vm1")] == [5, 5]


def test_more_pairs_than_the_port_has(site):
    """The guest is told how many there are; one that sets up more all the same is sent away, and the port says so."""
    site.add("few", queues=2)
    path = f"{site.daemon.dir}/few.sock"
    try:
        words = (FRONT, "--queues", "4", "--deadline", "5", path, f"{site.daemon.dir}/vm1.sock")
        r = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert r.returncode == 1 and "fewer queue pairs" in r.stderr
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(path)
            peer.sendall(struct.pack("=5I", SET_VRING_NUM, 1, 8, 4, 256))  # size of the third pair's receive ring
            assert peer.recv(1) == b""
        wait_for(lambda: "set up more queue pairs than the port's 2" in site.row("few")["why"], 5, "the port says why")
    finally:
        site.rpc.call("port.del", name="few")


def test_guests_come_and_go(site):
    """Others reset, restart with other features and rings, or die, and the two that stay lose nothing."""
    forms = [("--packed",), ("--mrg", "--features", ALL), ("--queues", 4), ("--layout", "mixed", "--packed", "--event-idx")]
    with site.pair():
        for n in range(8):
            words = (FRONT, "--first", 2, "--stamp", "--in-flight", 8, "--nap", 50, "--interval", 20, *forms[n % 4],
                     f"{site.daemon.dir}/vm%d.sock")
            guests = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True)
            try:
                assert any(json.loads(line).get("rx", 0) > 50 for line in guests.stdout)
                (guests.kill if n % 2 else guests.terminate)()
                guests.communicate(timeout=20)
            finally:
                guests.kill()
                guests.communicate()


@pytest.mark.parametrize("rings", RINGS)
@pytest.mark.parametrize("name", ["mem-again", "msg-features-again", "stop-and-go", "enable", "kick-swap", "rewrite-ring"])
def test_what_a_ring_lives_through(site, name, rings):
    """Memory, features, rings and descriptors change under traffic; every byte of the others' is right."""
    with site.pair(*RINGS[rings]):
        assert site.attack(name, rings, "--seconds", 0.2)["rounds"] > 0


def test_datapath_changes_under_traffic(site):
    """The port is made anew, and the guests, which try until they are connected, go on; what was on its way is lost."""
    words = ("--stamp", "--in-flight", 8, "--nap", 50, "--interval", 50, "--deadline", 60)
    pair = Pair(site.daemon.dir, site.daemon.dir / "pair", *words)
    try:
        for datapath in ("library", "own", "library", "own"):
            wait_for(pair.last, 20, "the guests exchange frames")
            site.rpc.call("port.set", name="vm1", datapath=datapath)
            before = pair.last()["rx"]
            wait_for(lambda: pair.last()["rx"] > before + 100, 20, f"frames flow by {datapath}")
            assert site.row("vm1")["detail"]["vhost-user"]["datapath"] == datapath
    finally:
        final = pair.stop()
    assert (final["bad"], final["dup"], final["ring_errors"]) == (0, 0, 0), final


@pytest.mark.parametrize("rings", RINGS)
def test_what_was_decided_on_is_delivered(site, rings):
    """A guest that rewrites addresses in its frames all the time neither forges one nor reaches whom it must not.

    Its port has a MAC, and the address that the other destination flips to is behind vm0.
    """
    site.rpc.call("port.set", name="vm2", mac="02:ee:00:00:00:01")
    site.rpc.call("fdb.add", switch="sw0", mac="02:ee:00:00:00:03", port="vm0")
    try:
        said = site.attack("rewrite-addresses", rings, "--seconds", 0.7)
        dropped = {row["reason"]: row["packets"] for row in site.rpc.call("drop.show", port="vm2")}
    finally:
        site.rpc.call("fdb.del", switch="sw0", mac="02:ee:00:00:00:03")
        site.rpc.call("port.set", name="vm2", mac=None)
    assert said["seen"] > 10 and dropped["mac-spoofing"] > 10, (said, dropped)
    assert said["forged"] == 0, said
