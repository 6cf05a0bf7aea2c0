"""Bad extensions: the switch says whose fault it was, takes that one out, and goes on without it.

      bench-front                       sw0 (bad extension x)        namespace
     ┌────────────────────┐          ┌─────────────────────┐       ┌───────────┐
     │ guest 0 ⇄ guest 1  ├──────────┤ vm0  vm1   trigger  ├─ veth ┤ wire      │
     └────────────────────┘          └─────────────────────┘       └───────────┘

The guests exchange stamped unicast all the time. x does its bad deed for frames of a type that the wire alone sends.
"""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import BUILD, EVSCTL, Refused, wait_for, wait_gone
from lan import Wire
from test_front import front, ports  # noqa: F401
from test_reconnect import assert_unharmed, busy, loaded

BAD = BUILD / "tests/ext/bad"
TRIGGER = bytes.fromhex("02000000ff01 02000000ff02 88b5") + bytes(50)
OTHER = bytes.fromhex("02000000ff01 02000000ff02 88b6") + bytes(50)
BACK_S = 5  # less than a second on a machine of its own; not looked at on one that has more to do than it can
PACKED = [(), ("--packed",)]

SEGV = "the switch process died in it (Segmentation fault)"
ABORT = "the switch process died in it (Aborted)"
LOOP = "a call of it did not come back within 300 ms"
UNSEEN = "the switch process ended in it, and no handler heard of that"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who owns extensions")


class Bad:
    """A switch with guests under load, and a wire whose frames a bad extension waits for."""

    def __init__(self, daemon, start, net, words=()):
        self.daemon, self.space = daemon, net.ns()
        self.start, self.path = start, ports(daemon, 2, "server")
        inside, outside = net.veth(self.space)
        daemon.ctl("port", "add", "trigger", "switch", "sw0", "type", "guest", "device",
                   f"net_af_packet0,iface={outside}")
        self.wire = Wire(self.space, inside)
        self.front = loaded(start, 2, *words, self.path)
        self.pid = daemon.pid()

    def other_guests(self):
        """In the place of those that there are."""
        self.front.destroy()
        self.front = loaded(self.start, 2, self.path)

    def load(self, so="filter", name="x", config=None, **keys):
        words = [w for key, value in keys.items() for w in (key, value)]
        self.daemon.ctl("ext", "load", name, "switch", "sw0", "path", BAD / f"{so}.so",
                        *(["config", json.dumps(config)] if config else []), *words)

    def shown(self, name="x"):
        return self.daemon.ctl("ext", "show", name)[0]

    def is_up(self):
        try:
            return {p["state"] for p in self.daemon.ctl("port", "show")} == {"up"} and self.daemon.pid() != self.pid
        except Refused:
            return False

    def wait_back(self):
        """Until another switch process serves all ports; guests have traffic again."""
        try:
            wait_for(self.is_up, 60, "the switch is back")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.daemon.log()}") from None
        self.pid = self.daemon.pid()
        busy(self.front, 100)

    def provoke(self, frame=TRIGGER):
        self.wire.send(frame)

    def assert_out(self, why, name="x"):
        row = self.shown(name)
        assert (row["state"], row["why"]) == ("faulted", why), row
        assert f"ext {name}: left out: {why}" in self.daemon.log()


@pytest.fixture
def bad(make_daemon, front, net):  # noqa: F811
    made = []

    def make(words=(), **options):
        d = make_daemon(allow_unsigned=True, **options).start()
        made.append(Bad(d, front, net, words))
        return made[-1]

    yield make
    for b in made:
        assert_unharmed(b.front.stop(), 10)
        b.daemon.stop()


def watch_faults(daemon):
    """evsctl event watch, as a person has it run; ends with the daemon it talks to."""
    return subprocess.Popen([EVSCTL, "-s", str(daemon.socket), "-j", "event", "watch", "kind", "extension-faulted"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def first_event(watcher):
    assert select.select([watcher.stdout], [], [], 20)[0], "no event"
    event = json.loads(watcher.stdout.readline())
    watcher.terminate()
    watcher.communicate()
    return event


def outage_s(log, ended="the switch process ended"):
    """Between the log's line of the end and the last that says that a port is up."""
    lines = log.splitlines()
    stamps = [time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) + float(line[19:23]) for line in lines
              if ended in line or ": up" in line]
    first = next(i for i, line in enumerate(line for line in lines if ended in line or ": up" in line)
                 if ended in line)
    return stamps[-1] - stamps[first]


@pytest.mark.parametrize("call, deed, why", [
    ("flow", "null", SEGV), ("flow_out", "null", SEGV), ("packets", "null", SEGV),
    ("flow", "loop", LOOP), ("packets", "loop", LOOP), ("packets", "read", LOOP),
    ("flow", "abort", ABORT), ("packets", "double-free", ABORT), ("flow", "recurse", SEGV),
    ("flow", "trap", "the switch process died in it (Illegal instruction)"),
    ("flow", "exit", "it ended the switch process by exit()"), ("flow", "exit-at-once", UNSEEN),
    ("flow", "blind", UNSEEN), ("flow", "thread", SEGV),
])
def test_ends_on_the_packet_path(bad, call, deed, why):
    b = bad()
    b.load(config={"in": call, "do": deed})
    busy(b.front, 1000)  # whom it does not wait for is not harmed
    assert b.daemon.pid() == b.pid
    b.provoke()
    b.wait_back()
    b.assert_out(why)
    assert "starting it again in" not in b.daemon.log()  # no back-off
    assert outage_s(b.daemon.log()) < BACK_S or os.getloadavg()[0] > os.cpu_count(), b.daemon.log()
    b.provoke()  # passes now
    busy(b.front, 100)
    assert b.daemon.pid() == b.pid


@pytest.mark.parametrize("words", PACKED, ids=str)
def test_guests_go_on_and_enable_starts_anew(bad, words):
    b = bad(words)
    b.load(config={"in": "flow", "do": "null"})
    for _ in range(2):
        watcher = watch_faults(b.daemon)
        assert b.shown()["state"] == "up"
        b.provoke()
        b.wait_back()
        b.assert_out(SEGV)
        watcher.communicate()
        # who comes back to watch is told what it cannot have seen
        event = first_event(watch_faults(b.daemon))
        assert (event["kind"], event["object"], event["text"]) == ("extension-faulted", "x", SEGV)
        b.daemon.ctl("ext", "enable", "x")


def test_stays_out_until_somebody_enables_it(bad):
    b = bad()
    b.load(config={"in": "flow", "do": "null"})
    b.provoke()
    b.wait_back()
    b.pid = b.daemon.kill()
    b.assert_out(SEGV)
    b.daemon.stop()
    b.daemon.start()
    b.wait_back()
    b.assert_out(SEGV)
    b.provoke()
    b.daemon.ctl("ext", "unload", "x")
    b.load(config={"in": "flow", "do": "null"})  # what is loaded anew is given another chance
    assert b.shown()["state"] == "up"


def test_killed_by_a_person_blames_nobody(bad):
    """Whatever it is inside of: the extension is slow, so that it is."""
    b = bad()
    b.load("slow")
    busy(b.front, 200)
    for _ in range(3):
        b.pid = b.daemon.kill()
        busy(b.front, 200)
        assert b.shown()["state"] == "up"
    for number in (signal.SIGSEGV, signal.SIGABRT):
        os.kill(b.pid, number)
        wait_gone(b.pid)
        b.wait_back()
        assert b.shown()["state"] == "up", number


def test_two_in_a_row_and_a_start_that_crashes(bad, run_dir):
    """Both end the process while it starts: the first stays out though nobody could note that before the second did."""
    b = bad()
    mark = run_dir / "now"
    b.load(name="good")
    for name in "x", "y":
        b.load(name=name, config={"in": "create", "do": "null", "if": str(mark)})
    mark.touch()
    os.kill(b.pid, signal.SIGKILL)
    b.wait_back()
    for name in "x", "y":
        b.assert_out(SEGV, name)
    assert b.shown("good")["state"] == "up"
    # the same at the very first start, which is no start in vain
    mark.unlink()
    for name in "x", "y":
        b.daemon.ctl("ext", "enable", name)
    assert {x["state"] for x in b.daemon.ctl("ext", "show")} == {"up"}
    b.daemon.stop()
    mark.touch()
    b.daemon.start()
    b.wait_back()
    assert {x["name"]: x["state"] for x in b.daemon.ctl("ext", "show")} == {"good": "up", "x": "faulted", "y": "faulted"}


def test_never_comes_back_from_create(bad, run_dir):
    b = bad()
    mark = run_dir / "now"
    b.load(config={"in": "create", "do": "loop", "if": str(mark)})
    mark.touch()
    os.kill(b.pid, signal.SIGKILL)
    wait_for(b.is_up, 60, "the switch is back")
    b.assert_out("a call of it did not come back within 10000 ms")


@pytest.mark.parametrize("so, config", [("filter", {"in": "create", "do": "null"}), ("constructor", None),
                                        ("pointer", None)], ids=str)
def test_crashes_while_it_is_loaded(bad, so, config):
    """It was not there before, and is not after."""
    b = bad()
    with pytest.raises(Refused, match="closed the connection"):
        b.load(so, config=config)
    b.wait_back()
    assert f"ext x: {SEGV}" in b.daemon.log()
    assert b.daemon.ctl("ext", "show") == []


def test_crash_of_an_upgrade_leaves_the_version_before(bad):
    b = bad()
    b.load(so="filter")
    with pytest.raises(Refused, match="closed the connection"):
        b.daemon.ctl("ext", "upgrade", "x", "path", BAD / "constructor.so")
    b.wait_back()
    assert (b.shown()["state"], b.shown()["path"]) == ("up", str(BAD / "filter.so"))


@pytest.mark.parametrize("so, config", [("filter", {"in": "destroy", "do": "null"}), ("destructor", None)], ids=str)
def test_crashes_as_it_is_unloaded(bad, so, config):
    """It is out of the configuration by then."""
    b = bad()
    b.load(so, config=config)
    try:
        b.daemon.ctl("ext", "unload", "x")
    except Refused:
        pass
    b.wait_back()
    assert f"ext x: {SEGV}" in b.daemon.log()
    assert b.daemon.ctl("ext", "show") == []


def test_crashes_as_a_port_comes(bad, net):
    b = bad()
    b.daemon.ctl("port", "del", "trigger")
    b.load(config={"in": "port", "do": "null"})
    with pytest.raises(Refused, match="closed the connection"):
        b.daemon.ctl("port", "add", "trigger", "switch", "sw0", "type", "host", "ifname", net.name())
    b.wait_back()
    b.assert_out(SEGV)


def test_throws(bad):
    b = bad()
    b.load("throws")
    b.provoke()
    b.wait_back()
    b.assert_out(ABORT)


@pytest.mark.parametrize("config", [None, {"in": "packets", "do": "in front"}], ids=["behind", "in front"])
def test_writes_past_its_packet(bad, config):
    """The process goes on: the bytes were a copy between guards."""
    b = bad()
    b.load("overrun", config=config)
    watcher = watch_faults(b.daemon)
    busy(b.front, 1000)
    assert b.shown()["state"] == "up"
    b.provoke()
    wait_for(lambda: b.shown()["state"] == "faulted", 10, "it is taken out")
    text = "it wrote past the bytes of a packet that it was given"
    assert b.shown()["why"] == text and first_event(watcher)["text"] == text
    busy(b.front, 1000)
    assert b.daemon.pid() == b.pid
    b.pid = b.daemon.kill()
    b.assert_out(text)


@pytest.mark.parametrize("fail", ["open", "closed"])
def test_fails_open_or_closed(bad, fail):
    b = bad()
    b.load("overrun", fail=fail)
    b.provoke()
    wait_for(lambda: b.shown()["state"] == "faulted", 10, "it is taken out")
    if fail == "open":
        busy(b.front, 1000)
    else:
        wait_for(lambda: gone(b.daemon) > 0, 10, "frames are dropped")
    b.front.destroy()
    b.pid = b.daemon.kill()
    wait_for(lambda: port_state(b.daemon, "trigger") == "up", 30, "the port is up")
    before = gone(b.daemon)
    for _ in range(10):
        b.wire.send(OTHER)
    if fail == "closed":
        wait_for(lambda: gone(b.daemon) == before + 10, 10, "ten frames are dropped")
        b.daemon.ctl("ext", "disable", "x")
        b.wire.send(OTHER)
        wait_for(lambda: received(b.daemon, "trigger") >= 11, 10)
        assert gone(b.daemon) == before + 10
    else:
        wait_for(lambda: received(b.daemon, "trigger") >= 10, 10)
        assert gone(b.daemon) == 0
    b.other_guests()


def port_state(daemon, name):
    return next(p["state"] for p in daemon.ctl("port", "show") if p["name"] == name)


def received(daemon, name):
    return next(p["rx_packets"] for p in daemon.ctl("port", "show") if p["name"] == name)


def gone(daemon):
    return sum(d["packets"] for d in daemon.ctl("drop", "show") if d["reason"] == "extension-gone")


def test_budget(bad):
    b = bad()
    b.load("slow")
    busy(b.front, 100)
    b.daemon.ctl("ext", "set", "x", "budget", 1000000000)
    busy(b.front, 100)
    assert b.shown()["state"] == "up"
    b.daemon.ctl("ext", "set", "x", "budget", 2000)
    wait_for(lambda: b.shown()["state"] == "faulted", 10, "it is taken out")
    assert b.shown()["why"] == "it took more time for a packet than its budget"
    busy(b.front, 1000)
    assert b.daemon.pid() == b.pid


def test_faults_are_counted(bad):
    b = bad()
    b.load("overrun")
    for n in 1, 2:
        b.provoke()
        wait_for(lambda: b.shown()["state"] == "faulted", 10, "it is taken out")
        wait_for(lambda n=n: b.shown()["faults"] == n, 10, "that is noted")
        lines = metrics(b.daemon)
        assert f'evs_extension_faults_total{{extension="x",switch="sw0"}} {n}' in lines
        assert 'evs_extension_up{extension="x",switch="sw0"} 0' in lines
        b.daemon.ctl("ext", "enable", "x")
    assert 'evs_extension_up{extension="x",switch="sw0"} 1' in metrics(b.daemon)
    busy(b.front, 100)
    value = next(line.split()[-1] for line in metrics(b.daemon) if line.startswith("evs_extension_cycles_total"))
    assert int(value) > 0


def metrics(daemon):
    r = subprocess.run(["curl", "-s", "--unix-socket", str(daemon.dir / "metrics.sock"), "http://localhost/metrics"],
                       capture_output=True, text=True, timeout=20, check=True)
    return r.stdout.splitlines()


def test_core_dumps_have_no_memory_of_guests(daemon):
    assert int(Path(f"/proc/{daemon.pid()}/coredump_filter").read_text(), 16) == 0x11


def test_sends_and_keeps_for_ever(bad):
    """A packet cannot be kept; frames can be made without end, and are taken as long as there is room."""
    b = bad()
    b.load("sender")
    busy(b.front, 5000)
    assert b.shown()["packets"] > 0 and b.daemon.pid() == b.pid
    b.daemon.ctl("ext", "unload", "x")
    b.other_guests()  # the ones before have seen copies
    busy(b.front, 5000)
    assert b.daemon.pid() == b.pid


def test_signals_are_taken_back(bad):
    b = bad()
    b.load(config={"in": "create", "do": "signals"})
    wait_for(lambda: "taken signals for itself" in b.daemon.log(), 10)
    b.load(name="y", config={"in": "flow", "do": "null"})
    b.provoke()
    b.wait_back()
    b.assert_out(SEGV, "y")
    assert b.shown()["state"] == "up"


@pytest.mark.parametrize("so, sentence", [
    ("abi", "was built for version 77 of the extension interface; this evswitch has version 1"),
    ("size_small", "describes itself with an impossible size"),
    ("size_huge", "describes itself with an impossible size"),
    ("size_more", "describes itself with an impossible size"),
    ("kind", "is neither a capture, a filter nor a forward extension"),
    ("nameless", "has no proper name or version"),
    ("reasons", "has more than 32 reasons for drops, or one that cannot be printed"),
    ("nothing", "is no extension: it has no symbol evs_extension"),
])
def test_lies_are_refused(make_daemon, so, sentence):
    d = make_daemon(allow_unsigned=True).start()
    d.ctl("switch", "add", "sw0", "kind", "internal")
    pid = d.pid()
    assert sentence in d.refusal("ext", "load", "x", "switch", "sw0", "path", BAD / f"{so}.so")
    assert d.ctl("ext", "show") == [] and d.pid() == pid
    d.stop()
