"""evsctl against a small daemon of our own: words, results, files, streams, and daemons that misbehave."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from evsctl_rig import EVSCTL, PORTS, Terminal, daemon, ok, refused, run


# Words

def test_keys_are_sent_as_strings(daemon):
    assert ok(daemon, "port", "add", "vm1", "switch", "sw0", "type", "guest", "mtu", "9000") == ""
    assert daemon.requests[-1] == (
        "port.add", {"name": "vm1", "switch": "sw0", "type": "guest", "mtu": "9000"})


def test_positional_by_its_name(daemon):
    ok(daemon, "port", "add", "name", "vm1", "type", "guest", "switch", "sw0")
    assert daemon.params() == {"name": "vm1", "switch": "sw0", "type": "guest"}


def test_required_positional_may_be_called_like_a_key(daemon):
    ok(daemon, "port", "add", "switch", "switch", "sw0", "type", "guest")
    assert daemon.params() == {"name": "switch", "switch": "sw0", "type": "guest"}


@pytest.mark.parametrize("words, params", [
    ([], {}),
    (["vm1"], {"name": "vm1"}),
    (["switch", "sw0"], {"switch": "sw0"}),
    (["switch"], {"name": "switch"}),
    (["vm1", "switch", "sw0"], {"name": "vm1", "switch": "sw0"}),
    (["long"], {"long": "on"}),
    (["vm1", "long", "off", "switch", "sw0"], {"name": "vm1", "long": "off", "switch": "sw0"}),
    (["long", "switch", "sw0"], {"long": "on", "switch": "sw0"}),
])
def test_optional_positional_and_flag(daemon, words, params):
    ok(daemon, "port", "show", *words)
    assert daemon.params() == params


@pytest.mark.parametrize("words", [
    ["-j", "port", "show", "vm1"], ["port", "-j", "show", "vm1"], ["port", "show", "vm1", "-j"],
    ["port", "show", "vm1", "--json"], ["port", "show", "-j", "--", "vm1"],
])
def test_options_stand_anywhere(daemon, words):
    assert json.loads(ok(daemon, *words, env={"POSIXLY_CORRECT": "1"})) == PORTS
    assert daemon.params() == {"name": "vm1"}


def test_socket_option_beats_environment(daemon):
    out = ok(daemon, "port", "show", "-s", daemon.path, env={"EVS_SOCKET": "/nowhere"})
    assert "vm1" in out


def test_words_behind_two_dashes_are_values(daemon):
    ok(daemon, "port", "del", "--", "-j")
    assert daemon.params() == {"name": "-j"}


@pytest.mark.parametrize("words, sentence", [
    ("prot show", "there is no object prot; did you mean port?"),
    ("xyzzy show", "there is no object xyzzy; evsctl help lists them"),
    ("port shwo", "port has no verb shwo; did you mean show?"),
    ("port frobnicate", "port has no verb frobnicate; evsctl help port lists them"),
    ("port add vm1 swich sw0 type guest", "port add: unknown key swich; did you mean switch?"),
    ("port add vm1 switch", "port add: switch needs a value"),
    ("port add vm1 mtu 1 mtu 2", "port add: mtu is given twice"),
    ("port add vm1", "port add: switch is missing; port add: type is missing"),
    ("port del vm1 name vm2", "port del: name is given twice"),
    ("ext load fw config {\"a\":", "ext load: the value of config is not JSON"),
    ("port del vm1 -w", "port del: -w repeats only commands that read and end"),
    ("port show -x", "unknown option -x"),
    ("port show -t soon", "-t soon: give a number of seconds"),
    ("config apply file /nonexistent/f", "config apply: file: cannot open /nonexistent/f for reading: no such file"),
])
def test_bad_usage(daemon, words, sentence):
    err = refused(2, daemon, *words.split(" "))
    assert err.startswith("evsctl: " + sentence), err
    assert all(name == "system.methods" for name, _ in daemon.requests)


def test_usage_line_follows_the_sentence(daemon):
    err = refused(2, daemon, "port", "del")
    assert err == "evsctl: port del: name is missing\nusage: evsctl port del NAME\n"


def test_json_value(daemon):
    ok(daemon, "ext", "load", "fw", "config", '{"a": [1, null]}')
    assert daemon.params()["config"] == {"a": [1, None]}


# Results

def test_table(daemon):
    assert ok(daemon, "port", "show") == (
        "name     state  why         rx_packets\n"
        "vm1      up     -                12345\n"
        "uplink0  down   no carrier           7\n")


def test_empty_table_prints_nothing(daemon):
    daemon.rows["port.show"] = []
    assert ok(daemon, "port", "show") == ""
    assert ok(daemon, "port", "show", "-j") == "[]\n"


@pytest.mark.parametrize("result, text", [
    (True, ""), (None, ""), ("two\nlines\n", "two\nlines\n"), ("one", "one\n"), (5, "5\n"),
    ({"a": 1, "b": "x y", "c": None, "d": ["p", "q"], "e": False}, "a: 1\nb: x y\nc: -\nd: p,q\ne: no\n"),
    ({"rows": [{"a": 1}]}, '{\n  "rows": [\n    {\n      "a": 1\n    }\n  ]\n}\n'),
    (["a", "b"], "a\nb\n"), ("\x1b[2Jx", "?[2Jx\n"), ([{"a": 0.5}], '[\n  {\n    "a": 0.5\n  }\n]\n'),
])
def test_result_without_columns(daemon, result, text):
    daemon.rows["config.show"] = result
    assert ok(daemon, "config", "show") == text
    assert json.loads(ok(daemon, "config", "show", "-j")) == result


def test_names_play_no_tricks(daemon):
    daemon.rows["port.show"] = [{"name": "a\x1b[31m\nb"}]
    assert "\na?[31m?b" in ok(daemon, "port", "show")


def test_json_is_pretty_only_on_a_terminal(daemon):
    assert ok(daemon, "port", "show", "-j").count("\n") == 1
    t = Terminal(daemon, "port", "show", "-j")
    t.read_until('"state": "down",\r\n')
    assert t.end() == 0


def test_refusal(daemon):
    def refuse(params, fds, send):
        raise ValueError("port vm1: no such port; port show lists them")
    daemon.on["port.del"] = refuse
    assert refused(1, daemon, "port", "del", "vm1") == "evsctl: port vm1: no such port; port show lists them\n"


def test_output_that_cannot_be_written(daemon):
    with open("/dev/full", "w") as full:
        r = subprocess.run([EVSCTL, "-s", daemon.path, "port", "show"], stdout=full, stderr=subprocess.PIPE,
                           text=True, timeout=20)
    assert (r.returncode, r.stderr) == (2, "evsctl: cannot write the output: no space left on device\n")


def test_reader_that_has_seen_enough(daemon):
    daemon.rows["port.show"] = [{"name": f"vm{i}"} for i in range(20000)]
    r = subprocess.run(f"{EVSCTL} -s {daemon.path} port show | head -1", shell=True, capture_output=True,
                       text=True, timeout=20)
    assert r.stdout.startswith("name") and r.stderr == ""


# Files

def test_files_are_opened_here(daemon, tmp_path):
    (tmp_path / "in").write_text("from a file")
    (tmp_path / "out").write_text("old and longer than the new")

    def save(params, fds, send):
        assert params == {"to": {"fd": 0}, "from": {"fd": 1}}
        with os.fdopen(fds[0], "w") as to, os.fdopen(fds[1]) as from_:
            to.write(from_.read().upper())
        return True
    daemon.on["trace.save"] = save
    ok(daemon, "trace", "save", "from", str(tmp_path / "in"), "to", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "FROM A FILE"


def test_dash_is_stdin_and_stdout(daemon):
    def save(params, fds, send):
        with os.fdopen(fds[0], "w") as to, os.fdopen(fds[1]) as from_:
            to.write(from_.read().upper())
        return True
    daemon.on["trace.save"] = save
    r = subprocess.run([EVSCTL, "-s", daemon.path, "trace", "save", "to", "-", "from", "-"], input="abc",
                       capture_output=True, text=True, timeout=20)
    assert (r.returncode, r.stdout, r.stderr) == (0, "ABC", "")


# Streams, watching, progress

def test_events_line_by_line(daemon):
    proceed = threading.Event()

    def watch(params, fds, send):
        send({"jsonrpc": "2.0", "method": "event",
              "params": {"time": "12:00", "kind": "port-up", "object": "vm1", "text": "link is up"}})
        proceed.wait(10)
        return True
    daemon.on["event.watch"] = watch
    for options, line in ([], "12:00  port-up  vm1  link is up\n"), (["-j"], None):
        p = subprocess.Popen([EVSCTL, "-s", daemon.path, "event", "watch", *options], stdout=subprocess.PIPE,
                             text=True)
        got = p.stdout.readline()
        assert got == line or json.loads(got)["object"] == "vm1"
        p.send_signal(signal.SIGINT)
        assert p.wait(10) == -signal.SIGINT
        p.stdout.close()
    proceed.set()


def test_stream_goes_on_behind_its_answer(daemon):
    def watch(params, fds, send):
        threading.Timer(0.05, send, [{"jsonrpc": "2.0", "method": "event", "params": {"kind": "late"}}]).start()
        return True
    daemon.on["event.watch"] = watch
    p = subprocess.Popen([EVSCTL, "-s", daemon.path, "event", "watch"], stdout=subprocess.PIPE, text=True)
    assert "late" in p.stdout.readline()
    p.terminate()
    p.wait(10)
    p.stdout.close()


def test_watch_shows_rates(daemon):
    count = iter(range(0, 10**9, 1000))
    daemon.on["port.show"] = lambda *_: [{"name": "vm1", "rx_packets": next(count)}]
    t = Terminal(daemon, "-w", "port", "show")
    t.read_until("rx_packets/s")
    text = t.read_until(" 1000")
    assert "\x1b[H\x1b[J" in text
    assert text.splitlines()[1].split() == ["vm1", "0"]  # no rates yet
    os.kill(t.pid, signal.SIGINT)
    assert os.WTERMSIG(t.end()) == signal.SIGINT


def test_watch_ends_with_the_daemon(daemon):
    rounds = []

    def show(params, fds, send):
        rounds.append(1)
        if len(rounds) == 2:
            send(b"")
            raise OSError
        return PORTS
    daemon.on["port.show"] = show
    r = run(daemon, "port", "show", "-w", "-j")
    assert r.returncode == 2 and json.loads(r.stdout) == PORTS
    assert "closed the connection" in r.stderr


def test_progress_on_a_terminal(daemon):
    def apply(params, fds, send):
        for done in range(5):
            send({"jsonrpc": "2.0", "method": "progress", "params": {"id": 2, "done": done, "total": 4}})
        return True
    daemon.on["config.apply"] = apply
    t = Terminal(daemon, "config", "apply", "file", "/dev/null")
    t.read_until("[###############               ]  50 %")
    t.read_until("\r\x1b[K")
    assert t.end() == 0
    assert ok(daemon, "config", "apply", "file", "/dev/null") == ""


# Daemons that are not there or not themselves

@pytest.mark.parametrize("words", ["port show", "help", "help port", "--help", "port"])
def test_no_daemon(tmp_path, words):
    r = subprocess.run([EVSCTL, "-s", str(tmp_path / "none"), *words.split()], capture_output=True, text=True,
                       timeout=20)
    assert r.returncode == 2
    assert r.stderr == (f"evsctl: no daemon at {tmp_path}/none: no such file or directory; "
                        "start evswitchd or give -s SOCKET\n")


def test_refused_connection(daemon):
    daemon.sock.close()
    deadline = time.monotonic() + 10
    while (r := run(daemon, "port", "show")).returncode == 0 and time.monotonic() < deadline:
        pass
    assert r.returncode == 2 and ": connection refused; start evswitchd or give -s SOCKET" in r.stderr


def test_long_socket_path(daemon):
    assert "is longer than 107 bytes" in refused(2, daemon, "-s", "/" + "x" * 200, "port", "show")


def leave(data):
    def act(params, fds, send):
        send(data)
        raise OSError
    return act


@pytest.mark.parametrize("data, sentence", [
    (b"", "the daemon at"), (b"HTTP/1.0 400\r\n\r\n", "not JSON-RPC: HTTP/1.0 400?"), (b"{\"half\": ", "closed the"),
    (b"[]\n", "not JSON-RPC"), (b"\x00\xff\x1b[2J\n", "not JSON-RPC"), (b'{"id": 1}\n', "neither result nor error"),
    (b'{"id": 1, "result": 5}\n', "no method table"),
    (b'{"id": 1, "result": {"methods": [{"name": "nodot"}]}}\n', "no method table"), (b'{"id": 1, "result": {"methods": [7]}}\n', "no method table"),
])
def test_garbage_instead_of_the_table(daemon, data, sentence):
    daemon.on["system.methods"] = leave(data)
    r = run(daemon, "port", "show")
    assert r.returncode == 2 and r.stdout == ""
    assert sentence in r.stderr and "\x1b" not in r.stderr and r.stderr.count("\n") == 1


def test_daemon_that_takes_no_more_clients(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def turn_away():
        conn, _ = listener.accept()
        conn.sendall(b'{"jsonrpc": "2.0", "id": null, "error": {"code": -1, "message": "too many clients"}}\n')
        conn.close()
    thread = threading.Thread(target=turn_away)
    thread.start()
    r = subprocess.run([EVSCTL, "-s", str(tmp_path / "s"), "port", "show"], capture_output=True, text=True, timeout=20)
    thread.join()
    listener.close()
    assert (r.returncode, r.stdout, r.stderr) == (1, "", "evsctl: too many clients\n")


def test_daemon_dies_in_the_middle(daemon):
    daemon.on["port.show"] = leave(b'{"jsonrpc": "2.0", "id": 2, "result": [{"na')
    assert "closed the connection" in refused(2, daemon, "port", "show")


def test_answer_without_end(daemon):
    def flood(params, fds, send):
        while True:
            send(b"x" * (1 << 20))
    daemon.on["port.show"] = flood
    assert "sends more than 256 MiB without an end of line" in refused(2, daemon, "port", "show")


def test_stuck_daemon(daemon):
    stuck = threading.Event()

    def hang(params, fds, send):
        daemon.on["system.methods"] = hang
        stuck.wait(15)
        raise OSError
    daemon.on["port.show"] = hang
    assert "has not answered for 1 s; it may be stuck" in refused(2, daemon, "port", "show", "-t", "1")
    stuck.set()


def test_long_work_of_a_living_daemon(daemon):
    def work(params, fds, send):
        # Until evsctl has looked, by a second connection, whether anybody is there.
        deadline = time.monotonic() + 10
        while [n for n, _ in daemon.requests].count("system.methods") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return True
    daemon.on["port.del"] = work
    assert ok(daemon, "port", "del", "vm1", "-t", "1") == ""
