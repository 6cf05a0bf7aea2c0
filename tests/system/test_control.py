"""The control socket and evsctl against the real daemon: bad input, bad clients, events, documents."""

import json
import os
import re
import socket
import subprocess
import time

import pytest
from conftest import EVSCTL, TOP, Refused, evsctl, need, wait_for
from rpc import Rpc, Watch

# One good value of each type, and those that must be refused.
GOOD = {
    "string": "text", "name": "thing", "path": "/nowhere/thing", "bool": "on", "int": 1000, "rate": "1G", "size": "4K",
    "mac": "02:00:00:00:00:01", "ip": "10.0.0.1", "prefix": "10.0.0.0/8", "vlans": "10-20,30", "names": "a,b",
    "uuid": "123e4567-e89b-12d3-a456-426614174000", "hex": "00ff", "json": {},
    "input": "/dev/null", "output": "/dev/null",
}
NUMBERS = ["", "abc", "1.5", 1.5, "99999999999999999999", "0x10", [], {}, True]
BAD = {
    "string": ["", "a\nb", "x" * 256, 5, [], {}, True],
    "name": ["", "-a", "a b", "x" * 64, "ä", "a/b", 5, [], {}],
    "path": ["", "relative", "/" + "x" * 4096, "/a\x01b", 5, []],
    "bool": ["", "maybe", 2, [], {}],
    "int": NUMBERS, "rate": NUMBERS + ["1X"], "size": NUMBERS + ["-1"],
    "mac": ["02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:01:02", 5, []],
    "ip": ["", "10.0.0", "10.0.0.256", "::g", 5], "prefix": ["10.0.0.1/8", "10.0.0.0/33", "::/129", 5],
    "uuid": ["", "123", 5], "vlans": ["0", "4095", "20-10", "abc", "1,,2", 5, []],
    "names": ["a,,b", "a,a", [5], [""], 5, {}], "hex": ["", "abc", "zz", 5], "json": [],
    "input": ["text", 5, {"fd": 0}, {"fd": 99}, {"fd": -1}, {}], "output": ["text", 5, {"fd": 0}, {"fd": 99}],
    "enum": ["", "nonsense", 5, [], {}],
}


def good(p):
    if p["type"] == "enum":
        return p["values"][0]
    return p["min"] if p.get("min") else GOOD[p["type"]]


def bad(p):
    values = [v for v in BAD[p["type"]] if not (v == "" and p["clears"])]
    if "max" in p:
        values += [p["min"] - 1, p["max"] + 1, str(p["max"] + 1)]
    return values + ([] if p["clears"] or p["type"] == "json" else [None])


def required(method, *but):
    return {p["name"]: good(p) for p in method["params"] if p["required"] and p["name"] not in but}


@pytest.fixture
def filled(daemon):
    """A daemon with an object of every kind."""
    with Rpc(daemon.socket) as rpc:
        rpc.call("switch.add", name="sw0", kind="external")
        rpc.call("port.add", name="vm1", switch="sw0", type="guest", socket=f"{daemon.dir}/vm1.sock")
        rpc.call("port.add", name="vm2", switch="sw0", type="guest", socket=f"{daemon.dir}/vm2.sock", mtu=9000)
        rpc.call("vlan.set", port="vm1", mode="access", vlan=10)
        rpc.call("fdb.add", switch="sw0", mac="02:00:00:00:00:aa", vlan=10, port="vm1")
        daemon.rpc = rpc
        yield daemon


# Bad parameters: whatever stands in the method table is tried

def test_every_parameter_of_every_method_refuses_what_is_wrong(filled):
    rpc, wrong, n = filled.rpc, [], 0
    before = rpc.call("config.show")

    def refused(method, params, name):
        nonlocal n
        n += 1
        text = rpc.refusal(method["name"], **params)
        what = f"{method['name']} {json.dumps(params)[:100]}: "
        if text is None:
            wrong.append(what + "is accepted")
        elif not re.search(rf"\b{re.escape(name)}\b", text):
            wrong.append(f"{what}does not name {name}: {text}")

    for method in rpc.call("system.methods")["methods"]:
        refused(method, required(method) | {"no-such-key": 1}, "no-such-key")
        for p in method["params"]:
            for value in bad(p):
                refused(method, required(method) | {p["name"]: value}, p["name"])
            if p["required"]:
                refused(method, required(method, p["name"]), p["name"])
        if rpc.call("config.show") != before:
            wrong.append(f"{method['name']}: the configuration is no longer the same")
    assert not wrong, "\n".join(wrong)
    assert n > 300


def test_evsctl_tells_each_wrong_parameter(filled):
    """The same through the command line, one wrong value per parameter: status 1 or 2 and a sentence."""
    wrong, before = [], filled.rpc.call("config.show")
    a_bad = {"name": "a b", "string": "x" * 300, "input": "/nowhere/file", "output": "/nowhere/file", "json": "{"}

    def words(method, params):
        line = method["name"].split(".") + [str(params[p["name"]]) for p in method["params"]
                                            if p["positional"] and p["name"] in params]
        for p in method["params"]:
            if not p["positional"] and p["name"] in params:
                line += [p["name"], str(params[p["name"]])]
        return line

    def refused(line, name):
        r = subprocess.run([EVSCTL, "-s", filled.socket, *line], capture_output=True, text=True, timeout=20)
        if r.returncode not in (1, 2) or not re.search(rf"\b{re.escape(name)}\b", r.stderr) or r.stdout:
            wrong.append(f"{' '.join(line)[:100]}: status {r.returncode}: {r.stdout}{r.stderr}")

    for method in filled.rpc.call("system.methods")["methods"]:
        everything = {p["name"]: good(p) for p in method["params"] if p["positional"]}
        if not any(p.get("rest") for p in method["params"]):  # who takes all keys refuses them by itself
            refused(words(method, required(method) | everything) + ["no-such-key", "1"], "no-such-key")
        for p in method["params"]:
            value = a_bad.get(p["type"]) or next(v for v in BAD[p["type"]] if v and isinstance(v, str))
            refused(words(method, required(method) | {p["name"]: value}), p["name"])
            if p["required"] and not p["positional"]:
                refused(words(method, required(method, p["name"])), p["name"])
    assert filled.rpc.call("config.show") == before
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("words, sentence", [
    ("port show nobody", "port nobody: no such port"),
    ("port del nobody", "port nobody: no such port"),
    ("port set nobody mtu 9000", "port nobody: no such port"),
    ("switch del nothing", "switch nothing: no such switch"),
    ("switch show nothing", "switch nothing: no such switch"),
    ("switch add sw0 kind external", "switch sw0: "),
    ("port add vm1 switch sw0 type guest socket /tmp/other", "port vm1: "),
    ("port add vm3 switch nothing type guest socket /tmp/other", "switch nothing"),
    ("port add vm3 switch sw0 type guest", "a guest port needs either a socket or a device"),
    ("port add up0 switch sw0 type uplink", "an uplink needs a device"),
    ("port add h0 switch sw0 type host", "a host port needs an ifname"),
    ("vlan set nobody mode untagged", "port nobody: no such port"),
    ("vlan set vm1 mode access", "mode access needs a vlan"),
    ("vlan set vm1 mode trunk", "mode trunk needs the allowed VLANs"),
    ("vlan set vm1 mode access vlan 5 native 3", "native goes with mode trunk"),
    ("fdb add switch sw0 mac 03:00:00:00:00:01 port vm1", "a group address"),
    ("fdb del switch sw0 mac 02:00:00:00:00:bb", "no such static entry"),
    ("fdb show switch nothing", "switch nothing: no such switch"),
    ("drop show nobody", "port nobody: no such port"),
    ("trace packet port nobody hex 00", "port nobody: no such port"),
    ("switch del sw0", "switch sw0: "),
])
def test_refusals_name_the_object_and_change_nothing(filled, words, sentence):
    before = filled.rpc.call("config.show")
    assert sentence in filled.refusal(*words.split())
    assert filled.rpc.call("config.show") == before


def test_evsctl_without_a_daemon(run_dir):
    with pytest.raises(Refused) as refused:
        evsctl(run_dir / "control.sock", "port", "show")
    assert refused.value.status == 2 and "control.sock" in str(refused.value)


# Bad clients

def raw(daemon):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(str(daemon.socket))
    return s


def test_garbage_is_answered_and_the_connection_goes_on(filled):
    s = raw(filled)
    lines = s.makefile("rb")
    for garbage in (b"garbage", b"{", b"\xff\xfe\x00\x01", b"[]", b"5", b"null", b'"x"', b"{}", b"[" * 50000,
                    b'{"jsonrpc":"2.0","id":1,"method":5}', b'{"jsonrpc":"2.0","id":1,"method":"no.such"}',
                    b'{"jsonrpc":"2.0","id":1,"method":"port.show","params":[]}',
                    b'{"jsonrpc":"1.0","id":1,"method":"port.show"}', b'{"jsonrpc":"2.0","method":"port.show"}',
                    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"port.show"}'):
        s.sendall(garbage + b"\n")
        answer = json.loads(lines.readline())
        assert answer["error"]["message"] and "result" not in answer, garbage
    s.sendall(b'\n \r\n{"jsonrpc":"2.0","id":"last","method":"switch.show"}\n')
    answer = json.loads(lines.readline())
    assert answer["id"] == "last" and answer["result"][0]["name"] == "sw0"
    s.close()


def test_half_messages_disturb_nobody(filled):
    before = filled.rpc.call("config.show")
    request = b'{"jsonrpc":"2.0","id":1,"method":"switch.add","params":{"name":"half","kind":"internal"}}'
    for cut in range(0, len(request) + 1, 7):  # the newline never comes
        s = raw(filled)
        s.sendall(request[:cut])
        s.close()
    assert filled.rpc.call("config.show") == before
    s = raw(filled)
    for i in range(len(request)):  # byte by byte is a request like any other
        s.sendall(request[i:i + 1])
    s.sendall(b"\n")
    assert "result" in json.loads(s.makefile().readline())
    s.close()


def test_line_longer_than_the_limit(filled):
    s = raw(filled)
    try:
        s.sendall(b" " * ((1 << 20) + 4096))
        s.sendall(b"x" * (1 << 20))
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = json.loads(s.makefile("rb").readline())
    assert "1 MiB" in answer["error"]["message"]
    s.close()
    long_but_fine = b'{"jsonrpc":"2.0","id":1,"method":"switch.show"' + b" " * ((1 << 20) - 100) + b"}\n"
    s = raw(filled)
    s.sendall(long_but_fine)
    assert json.loads(s.makefile("rb").readline())["result"][0]["name"] == "sw0"
    s.close()


def test_a_thousand_idle_clients(filled):
    idle = [raw(filled) for _ in range(1000)]
    assert filled.ctl("switch", "show", deadline=10)[0]["name"] == "sw0"
    filled.ctl("switch", "add", "sw1", "kind", "private", deadline=10)
    for s in idle[::100]:  # they are served too
        s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"switch.show"}\n')
        assert len(json.loads(s.makefile().readline())["result"]) == 2
    for s in idle:
        s.close()


def test_slow_readers_stall_nobody(filled, net):
    """One never reads fdb show, one never reads its events; the events that it missed are counted for it."""
    rpc = filled.rpc
    for i in range(500):
        rpc.call("fdb.add", switch="sw0", mac=f"02:00:00:01:{i >> 8:02x}:{i & 255:02x}", port="vm1")
    slow = Rpc(filled.socket)
    for _ in range(100):  # some MB of answers
        slow.send("fdb.show", port="vm1")
    lazy = Rpc(filled.socket)
    for _ in range(16):
        lazy.send("event.watch")
    assert lazy.call("system.show")
    name = net.name()
    rpc.call("port.add", name="host0", switch="sw0", type="host", ifname=name)

    def flap():
        net.run(None, "ip", "link", "set", name, "down")
        wait_for(lambda: rpc.call("port.show", name="host0")[0]["state"] == "waiting")
        net.run(None, "ip", "link", "set", name, "up")
        wait_for(lambda: rpc.call("port.show", name="host0")[0]["state"] == "up")

    wait_for(lambda: rpc.call("port.show", name="host0")[0]["state"] == "up")
    # 16 streams: each event is 16 notifications of about 150 bytes; socket and buffer hold about 0.5 MB.
    with Watch(filled.socket, object="host0") as quick:
        for _ in range(150):
            flap()
            quick.until("port-up", "host0")
    assert len(rpc.call("fdb.show", port="vm1")) == 501
    lost = 0
    while not lost:
        event = lazy.event()
        if event["kind"] == "lost":
            lost = event["count"]
            assert str(lost) in event["text"]
    for _ in range(100):
        assert len(slow.read()["result"]) == 501
    slow.close()
    lazy.close()


# Events

def test_events_of_a_host_port(filled, net):
    name = net.name()
    with Watch(filled.socket) as all_events, Watch(filled.socket, kind="port-down") as downs, \
            Watch(filled.socket, object="other") as others:
        filled.ctl("port", "add", "host0", "switch", "sw0", "type", "host", "ifname", name)
        assert all_events.until("port-up", "host0")[-1]["text"] == "frames can pass"
        net.run(None, "ip", "link", "set", name, "down")
        event = all_events.until("port-down", "host0")[-1]
        assert f"interface {name} is down" in event["text"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert downs.event()["object"] == "host0"
        net.run(None, "ip", "link", "set", name, "up")
        all_events.until("port-up", "host0")
        others.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            others.event()


def test_evsctl_event_watch(filled, net):
    name = net.name()
    watch = subprocess.Popen([EVSCTL, "-s", filled.socket, "-j", "event", "watch", "kind", "port-up"],
                             stdout=subprocess.PIPE, text=True)
    try:
        # Nothing says that the watch has begun, so there is more than one event to see.
        filled.ctl("port", "add", "host0", "switch", "sw0", "type", "host", "ifname", name)
        seen, end = [], time.monotonic() + 20
        os.set_blocking(watch.stdout.fileno(), False)
        while not seen and time.monotonic() < end:
            net.run(None, "ip", "link", "set", name, "down")
            wait_for(lambda: filled.rpc.call("port.show", name="host0")[0]["state"] == "waiting")
            net.run(None, "ip", "link", "set", name, "up")
            wait_for(lambda: filled.rpc.call("port.show", name="host0")[0]["state"] == "up")
            seen = [line for line in watch.stdout if line.strip()]
        event = json.loads(seen[0])
        assert (event["kind"], event["object"]) == ("port-up", "host0")
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()


# Answers

STABLE = {
    "drop show": {"port", "reason", "packets"},
    "fdb show": {"switch", "vlan", "mac", "port", "kind"},
    "port show": {"name", "switch", "type", "state", "why", "rx_packets", "tx_packets", "rx_bytes", "tx_bytes"},
    "worker show": {"worker", "core", "busy_cycles", "idle_cycles", "packets"},
}


def test_stable_columns(filled, net):
    _, outside = net.veth(net.ns())
    filled.ctl("port", "add", "ct1", "switch", "sw0", "type", "guest", "device", f"net_af_packet0,iface={outside}")
    wait_for(lambda: filled.ctl("port", "show", "ct1")[0]["state"] == "up")
    group = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    group.bind((outside, 0))
    group.close()
    table = {m["name"].replace(".", " "): {c["name"] for c in m.get("columns", [])}
             for m in filled.rpc.call("system.methods")["methods"]}
    for command, columns in STABLE.items():
        assert columns <= table[command], command
        rows = filled.ctl(*command.split())
        assert isinstance(rows, list)
        assert rows or command == "drop show", f"{command} has no row to look at"
        for row in rows:
            assert columns <= row.keys() <= table[command], command


def test_every_show_is_an_array_of_objects_with_the_columns_of_the_table(filled):
    for method in filled.rpc.call("system.methods")["methods"]:
        if not method["name"].endswith(".show") or method["name"] == "config.show":
            continue
        columns = {c["name"] for c in method["columns"]}
        for row in filled.ctl(*method["name"].split(".")):
            assert row.keys() <= columns, method["name"]


def plain(daemon, *words):
    return subprocess.run([EVSCTL, "-s", daemon.socket, *words], capture_output=True, text=True, timeout=20)


def test_help_names_every_method_and_parameter(filled):
    methods = filled.rpc.call("system.methods")["methods"]
    r = plain(filled, "help")
    assert r.returncode == 0
    for method in methods:
        name, verb = method["name"].split(".")
        assert re.search(rf"^  {name} {verb}\s+{re.escape(method['help'])}$", r.stdout, re.M), method["name"]
        one = plain(filled, "help", name, verb)
        assert one.returncode == 0
        for p in method["params"]:
            assert p["name"] in one.stdout and p["help"] in re.sub(r"\s+", " ", one.stdout), (method["name"], p["name"])


def test_completion(filled):
    """What bash offers in the place of the last word of a line."""
    need("bash")
    script = TOP / "tools/evsctl/evsctl.bash"

    def offered(line):
        text = f'. {script}; COMP_LINE=$1 COMP_POINT=${{#1}}; _evsctl {EVSCTL}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        r = subprocess.run(["bash", "-c", text, "bash", line], capture_output=True, text=True, timeout=20,
                           env=os.environ | {"EVS_SOCKET": str(filled.socket)})
        return set(r.stdout.split())

    assert {m["name"].split(".")[0] for m in filled.rpc.call("system.methods")["methods"]} <= offered("evsctl ")
    assert {"add", "del", "set", "show", "help", "qemu-args"} <= offered("evsctl port ")
    assert offered("evsctl port add x switch sw0 type ") == {"guest", "uplink", "host"}
    assert offered("evsctl port show v") == {"vm1", "vm2"}
    assert "prune" in offered("evsctl vlan set vm1 mode trunk allowed 5 p")


# Several daemons

def test_two_instances_do_not_disturb_each_other(filled, make_daemon):
    other = make_daemon(memory=128).start()
    other.ctl("switch", "add", "sw0", "kind", "private")
    other.ctl("switch", "add", "elsewhere", "kind", "private")
    before = filled.rpc.call("config.show")
    other.ctl("switch", "del", "sw0")
    assert [s["name"] for s in filled.ctl("switch", "show")] == ["sw0"]
    os.kill(other.pid(), 9)
    assert filled.rpc.call("config.show") == before
    wait_for(lambda: other.process.poll() is None and _answers(other))
    assert [s["name"] for s in other.ctl("switch", "show")] == ["elsewhere"]
    other.stop()
    assert filled.rpc.call("config.show") == before


def _answers(daemon):
    try:
        return daemon.pid()
    except Refused:
        return None


# Documents

def document(daemon):
    return json.dumps(daemon.ctl("config", "show"))


def apply(daemon, text, verb="apply"):
    return daemon.ctl("config", verb, "file", "-", input=text)


def test_document_moves_to_another_daemon(filled, make_daemon):
    text = document(filled)
    other = make_daemon(memory=128).start()
    steps = apply(other, text, "check")
    assert {s["action"] for s in steps} == {"add"}
    assert {(s["kind"], s["name"]) for s in steps} == {
        ("switch", "sw0"), ("port", "vm1"), ("port", "vm2"), ("vlan", "vm1"), ("fdb", "sw0/10/02:00:00:00:00:aa")}
    assert json.loads(document(other))["switch"] == []
    apply(other, text)
    assert json.loads(document(other)) == json.loads(text)
    assert apply(other, text, "check") == []
    other.kill()
    assert json.loads(document(other)) == json.loads(text)
    other.stop()


def test_check_says_the_difference_and_changes_nothing(filled):
    before = document(filled)
    want = json.loads(before)
    want["port"] = [p | ({"mtu": 2000} if p["name"] == "vm1" else {}) for p in want["port"]]
    want["switch"].append({"name": "sw1", "kind": "private"})
    want["fdb"] = []
    steps = {(s["kind"], s["name"]): (s["action"], s["detail"]) for s in apply(filled, json.dumps(want), "check")}
    assert steps == {("switch", "sw1"): ("add", ""), ("port", "vm1"): ("change", "mtu 1500 -> 2000"),
                     ("fdb", "sw0/10/02:00:00:00:00:aa"): ("delete", "")}
    assert document(filled) == before


@pytest.mark.parametrize("break_it, sentence", [
    (lambda d: d["port"][0].update(switch="nothing"), "nothing"),
    (lambda d: d["port"][0].update(mtu=10), "mtu"),
    (lambda d: d["port"][0].update(colour="red"), "colour"),
    (lambda d: d["port"].append(dict(d["port"][0])), "vm1"),
    (lambda d: d.update(nonsense=[]), "nonsense"),
    (lambda d: d.update(evswitch=99), "evswitch"),
    (lambda d: d.pop("evswitch"), "evswitch"),
    (lambda d: d["vlan"][0].update(vlan=5000), "vlan"),
    (lambda d: d["switch"].clear(), "sw0"),
    (lambda d: d["port"][0].update(queues=2), "queues"),  # refused late: while it is opened
])
def test_a_refused_document_changes_nothing(filled, break_it, sentence):
    before = filled.rpc.call("config.show")
    want = json.loads(json.dumps(before))
    want["switch"].append({"name": "sw1", "kind": "private"})
    break_it(want)
    with pytest.raises(Refused) as refused:
        apply(filled, json.dumps(want))
    assert refused.value.status == 1 and sentence in str(refused.value)
    assert filled.rpc.call("config.show") == before
    assert [s["name"] for s in filled.ctl("switch", "show")] == ["sw0"]


def test_text_that_is_no_document(filled):
    for text in ("", "{", "[]", "\0\0", "5", "{" * 100000):
        with pytest.raises(Refused) as refused:
            apply(filled, text)
        assert refused.value.status == 1 and "document" in str(refused.value), str(refused.value)


def test_apply_touches_only_what_differs(filled, net):
    """A port that stays keeps its counters, and neither events nor the log tell of it."""
    ns = net.ns()
    inside, outside = net.veth(ns)
    filled.ctl("port", "add", "ct1", "switch", "sw0", "type", "guest", "device", f"net_af_packet0,iface={outside}")
    wait_for(lambda: filled.ctl("port", "show", "ct1")[0]["state"] == "up")
    net.run(ns, "ip", "addr", "add", "198.18.0.1/24", "dev", inside)
    net.run(ns, "ping", "-c", "1", "-W", "1", "198.18.0.2", check=False)  # some ARP requests
    row = wait_for(lambda: next((r for r in filled.ctl("port", "show", "ct1") if r["rx_packets"]), None))
    want = json.loads(document(filled))
    want["port"] = [p | ({"vm": "web"} if p["name"] == "vm2" else {}) for p in want["port"] if p["name"] != "vm1"]
    want["vlan"], want["fdb"] = [], []
    seen = len(filled.log())
    with Watch(filled.socket, object="ct1") as watch:
        apply(filled, json.dumps(want))
        assert {r["name"] for r in filled.ctl("port", "show")} == {"ct1", "vm2"}
        watch.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            watch.event()
    assert "port ct1" not in filled.log()[seen:]
    after, = filled.ctl("port", "show", "ct1")
    assert after["state"] == "up" and after["rx_packets"] >= row["rx_packets"]
