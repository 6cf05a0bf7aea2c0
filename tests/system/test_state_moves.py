"""A port leaves one daemon as a file and comes to another: configuration, counters, learned addresses, nothing lost between.

      network a ── [port vm1] evswitchd "old" [port peer] ── …       each daemon in a namespace of its own (lan.py);
      network b ── [port vm1] evswitchd "new" [port peer] ── …       vm1.state goes from the one to the other
"""

import json
import os
import random
import subprocess
import time

import pytest
from conftest import EVSCTL, Refused, wait_for
from lan import Lan
from rpc import Watch

N_ADDRESSES = 10000
BROADCAST, PEER = b"\xff" * 6, bytes.fromhex("0200000000fe")


def mac(n):
    return bytes([2, 0, 0, 1, n >> 8, n & 255])


def frame(to, source, text=b""):
    return to + source + b"\x88\xb5" + text.ljust(46, b".")


@pytest.fixture
def lans(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = []
    try:
        for _ in range(2):
            made.append(Lan(make_daemon))
            made[-1].start()
            made[-1].rpc("switch.add", name="sw0", kind="external")
        yield made
        for lan in made:
            lan.daemon.stop()
    finally:
        for lan in made:
            lan.destroy()


@pytest.fixture
def pair(make_daemon):
    """Two daemons without a network."""
    daemons = [make_daemon(memory=128).start(), make_daemon(memory=128).start()]
    for d in daemons:
        d.ctl("switch", "add", "sw0", "kind", "external")
    yield daemons
    for d in daemons:
        d.stop()


def export(daemon, name="vm1", file=None):
    file = file or daemon.dir / f"{name}.state"
    daemon.ctl("port", "export", name, "file", file)
    return file


def addresses(lan_or_daemon, port="vm1"):
    daemon = getattr(lan_or_daemon, "daemon", lan_or_daemon)
    return {(r["vlan"], r["mac"]) for r in daemon.ctl("fdb", "show", "port", port) if r["kind"] == "learned"}


def add(daemon, name="vm1", **conf):
    words = [word for key, value in conf.items() for word in (key.replace("_", "-"), value)]
    daemon.ctl("port", "add", name, "switch", "sw0", "type", "guest", "socket", f"{daemon.dir}/{name}.sock", *words)


def document(daemon):
    return daemon.ctl("config", "show")


def saved(daemon, n, *rows, name="vm1"):
    """The file of a port with n learned addresses, made by hand."""
    state = dict.fromkeys(("rx_bytes", "tx_bytes", "tx_packets", "made", "consumed", "held_in", "held_out"), 0)
    list_ = [":".join(f"{b:02x}" for b in mac(i)) + " 0 1" for i in range(n)]
    lines = [{"evswitch-port": 1, "conf": {"switch": "sw0", "type": "guest", "socket": f"{daemon.dir}/{name}.sock"}}, *rows,
             {"owner": "port", "state": state | {"rx_packets": n, "delivered": n, "dropped": {}}}]
    lines += [{"owner": "fdb", "state": ",".join(list_[i:i + 256])} for i in range(0, n, 256)]
    lines.append({"end": len(lines)})
    file = daemon.dir / f"{name}-{n}.state"
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return file


def test_a_guest_moves_and_is_not_heard_before_its_state(lans):
    """The whole way of a live migration, with VLANs; the destination's peer sees the guest when its state is there."""
    old, new = lans
    source = old.guest("vm1", vm="one").wire()
    old.guest("peer")
    old.rpc("vlan.set", port="vm1", mode="access", vlan=10)
    old.rpc("vlan.set", port="peer", mode="access", vlan=10)
    for i in range(20):
        source.send(frame(BROADCAST, mac(i)))
    source.send(b"\xff" * 6 + b"\x01" + bytes(50))  # and one that is dropped
    wait_for(lambda: old.row("vm1")["rx_packets"] >= 21 and len(addresses(old)) == 20)
    file = export(old.daemon)
    assert file.stat().st_mode & 0o777 == 0o600

    # The destination makes the port from it; the guest arrives and talks at once.
    there, peer = new.device("vm1"), new.guest("peer")
    new.rpc("vlan.set", port="peer", mode="access", vlan=10)
    device = f"net_af_packet9,iface={there.near}"
    assert new.daemon.ctl("port", "check", "vm1", "file", file, "device", device) == []
    assert "no such port" in new.daemon.refusal("port", "show", "vm1")
    new.daemon.ctl("port", "import", "vm1", "file", file, "device", device, "await-state", 600)
    new.wait_state("vm1", "waiting", "waits for its state (port import), at most 600 s")
    assert new.row("vm1")["detail"]["mtu"] == 1500 and addresses(new) == set()
    wire, ear = there.wire(), peer.wire()
    wire.send(frame(BROADCAST, mac(3), b"early"))
    ear.send(frame(mac(3), PEER, b"to the guest"))
    ear.send(frame(BROADCAST, PEER, b"to all"))
    wait_for(lambda: new.row("peer")["rx_packets"] >= 2)
    assert new.row("vm1")["tx_packets"] == 0 and new.row("vm1")["rx_packets"] == 0 and addresses(new) == set()
    assert "waits for its state" in new.daemon.refusal("trace", "packet", "port", "vm1", "hex", "00" * 60)

    # The last of the source, and on it goes: with its counters, all addresses, and what it had said meanwhile.
    source.send(frame(BROADCAST, mac(20)))
    wait_for(lambda: len(addresses(old)) == 21)
    before = old.row("vm1")
    with Watch(new.daemon.socket) as events:
        new.daemon.ctl("port", "import", "vm1", "file", export(old.daemon))
        events.until("port-up", "vm1")
    assert addresses(new) >= addresses(old) and len(addresses(old)) == 21
    ear.until(b"early")
    after = wait_for(lambda: (row := new.row("vm1"))["rx_packets"] > before["rx_packets"] and row)
    assert after["rx_packets"] == before["rx_packets"] + 1 and after["dropped"] == before["dropped"] > 0
    assert new.drops("vm1") == old.drops("vm1")
    assert new.state("vm1") == ("up", "")
    assert [r for r in new.rpc("vlan.show") if r["port"] == "vm1"][0]["vlan"] == 10
    ear.send(frame(mac(20), PEER, b"to the guest"))
    wire.until(b"to the guest")
    new.check_accounting()

    # Once more, as a client does whose answer was lost: nothing counts twice.
    new.daemon.ctl("port", "import", "vm1", "file", old.daemon.dir / "vm1.state")
    assert new.row("vm1")["rx_packets"] == after["rx_packets"]


def test_state_that_does_not_come_is_not_waited_for_for_ever(lans):
    new = lans[1]
    there, peer = new.device("vm1"), new.guest("peer")
    with Watch(new.daemon.socket) as events:
        new.rpc("port.add", name="vm1", switch="sw0", type="guest", device=f"net_af_packet9,iface={there.near}",
                **{"await-state": 1})
        seen = [e["kind"] for e in events.until("port-up", "vm1")]
    assert "port-unrestored" in seen
    there.wire().send(frame(BROADCAST, mac(1)))
    wait_for(lambda: addresses(new) == {(0, "02:00:00:01:00:01")})
    assert peer and "await-state" not in new.row("vm1")["detail"]


def test_waiting_survives_a_crash(pair):
    new = pair[1]
    add(new, await_state=600)
    new.kill()
    assert "before its state has come" in new.ctl("port", "show", "vm1")[0]["why"]
    new.ctl("port", "import", "vm1", "file", saved(new, 3))
    assert len(addresses(new)) == 3 and new.ctl("port", "show", "vm1")[0]["rx_packets"] == 3


def test_what_does_not_fit_is_said_before_and_changes_nothing(pair):
    """check says all of it, import refuses with one sentence."""
    old, new = pair
    add(old, mtu=9000, queues=2, mode="server")
    old.ctl("vlan", "set", "vm1", "mode", "trunk", "allowed", "10-20")
    file = export(old)
    add(new, mtu=1500)
    before = document(new)

    def findings(*words):
        rows = [r["finding"] for r in new.ctl("port", "check", "vm1", "file", file, *words)]
        sentence = new.refusal("port", "import", "vm1", "file", file, *words)
        assert rows and rows[0] in sentence
        assert document(new) == before
        return rows

    rows = findings()
    assert sorted(rows) == ["port vm1: mtu is 1500 here and 9000 in the file",
                            "port vm1: queues is 1 here and 2 in the file",
                            "vlan vm1: is in the file and not here"]
    assert "port vm1: is here already; its socket is changed with 'port set'" in findings("socket", "/tmp/other.sock")
    new.ctl("port", "del", "vm1")
    before = document(new)
    file.write_text(file.read_text().replace('"sw0"', '"sw9"').replace('"owner":"port"', '"owner":"acme"'))
    rows = findings()
    assert any("no such switch sw9" in r for r in rows) and any("'acme', which is not here" in r for r in rows)

    # What is no exported port at all is an error of both.
    good = export(old).read_bytes()
    for bad, words in ((b"", "is empty"), (b"garbage", "no exported port"), (os.urandom(5000), "no exported port"),
                       (good[:-1], "is cut off"), (good[:len(good) // 2], "line"), (good * 2, "the file"),
                       (good.replace(b'"evswitch-port":1', b'"evswitch-port":2'), "version 2"),
                       (b"x" * (17 << 20), "larger than 16 MiB")):
        file.write_bytes(bad)
        for verb in ("check", "import"):
            sentence = new.refusal("port", verb, "vm1", "file", file)
            assert words in sentence and "port vm1: the file " in sentence, sentence
    assert document(new) == before
    assert "no such port" in old.refusal("port", "export", "nobody", "file", file)
    assert file.read_bytes() == b"x" * (17 << 20), "a refused export left the file alone"
    assert [f.name for f in old.dir.glob("*.state*")] == ["vm1.state"]


def test_through_a_pipe(pair):
    old, new = pair
    old.ctl("port", "import", "vm1", "file", saved(old, 3000))
    with subprocess.Popen([EVSCTL, "-j", "-s", old.socket, "port", "export", "vm1", "file", "-"],
                          stdout=subprocess.PIPE) as source:
        r = subprocess.run([EVSCTL, "-s", new.socket, "port", "import", "vm1", "file", "-"], stdin=source.stdout,
                           capture_output=True, text=True, timeout=20)
    assert (source.returncode, r.returncode, r.stderr) == (0, 0, "")
    assert addresses(new) == addresses(old) and len(addresses(new)) == 3000


def test_a_reader_that_stalls_holds_up_nobody(pair):
    old = pair[0]
    old.ctl("port", "import", "vm1", "file", saved(old, 9000))
    with subprocess.Popen([EVSCTL, "-s", old.socket, "port", "export", "vm1", "file", "-"],
                          stdout=subprocess.PIPE) as stalled:
        assert stalled.stdout.read(10)  # it has begun, and does not fit into the pipe
        export(old, file=old.dir / "other.state")  # the jobs thread is free
        add(old, "vm2")
        stalled.kill()
    export(old)


def test_a_terminal_that_nobody_reads_holds_up_nobody(pair):
    """Unlike a pipe it says that it is ready when there is room for a single byte."""
    old = pair[0]
    old.ctl("port", "import", "vm1", "file", saved(old, 9000))
    master, slave = os.openpty()
    with subprocess.Popen([EVSCTL, "-s", old.socket, "port", "export", "vm1", "file", "-"], stdout=slave) as stalled:
        assert os.read(master, 10)
        for i in range(20):
            add(old, f"guest{i}")
            os.read(master, 700)  # there is a little room again
        stalled.kill()
    os.close(slave)
    os.close(master)
    export(old)


def test_ten_thousand_addresses_move(pair):
    old, new = pair
    old.ctl("port", "import", "vm1", "file", saved(old, N_ADDRESSES))
    assert len(addresses(old)) == N_ADDRESSES
    new.ctl("port", "import", "vm1", "file", export(old))
    assert addresses(new) == addresses(old)


def test_killed_in_the_middle_of_an_export(pair):
    """Whoever is killed: the file is the one before or the new one, whole."""
    old, new = pair
    old.ctl("port", "import", "vm1", "file", saved(old, 5000))
    file = export(old)
    versions = {file.read_bytes()}

    def start():
        # pylint: disable-next=consider-using-with
        return subprocess.Popen([EVSCTL, "-s", old.socket, "port", "export", "vm1", "file", file],
                                stderr=subprocess.DEVNULL)

    def whole():
        assert new.ctl("port", "check", "vm1", "file", file) == []
        versions.add(file.read_bytes())

    for _ in range(40):
        client = start()
        time.sleep(random.random() * 0.02)
        client.kill()
        client.wait()
        whole()
    for i in range(3):
        client = start()
        time.sleep(i * 0.004)
        old.kill()
        client.wait()
        whole()
        old.ctl("port", "import", "vm1", "file", saved(old, 5000 + i))


def test_killed_in_the_middle_of_an_import(pair):
    """After it the port is there as the file says, or it is not there."""
    new = pair[1]
    file = saved(new, 8000, {"kind": "vlan", "conf": {"mode": "trunk", "allowed": "1-9", "native": 0}})
    for i in range(4):
        with subprocess.Popen([EVSCTL, "-s", new.socket, "port", "import", "vm1", "file", file],
                              stderr=subprocess.DEVNULL) as client:
            time.sleep(i * 0.006)
            new.kill()
        done = client.returncode == 0
        rows = document(new)
        assert len(rows["port"]) == len(rows["vlan"]) and (rows["port"] or not done)
        try:
            new.ctl("port", "import", "vm1", "file", file)
        except Refused as e:
            raise AssertionError(f"after a kill: {e}") from None
        assert len(addresses(new)) == 8000 and new.ctl("port", "show", "vm1")[0]["rx_packets"] == 8000
        new.ctl("port", "del", "vm1")
