"""A small daemon of our own, which speaks the protocol and can misbehave, and evsctl run against it."""

import array
import json
import os
import pty
import select
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
EVSCTL = os.environ.get("EVSCTL", str(Path(os.environ.get("BUILD", TOP / "build")) / "evsctl"))


def param(name, type_, *flags, **more):
    p = {"name": name, "type": type_, "help": f"the {name}"}
    p.update({f: f in flags for f in ("required", "positional", "flag", "clears")})
    if type_ == "bool":
        p["values"] = ["on", "off"]
    return p | more


def column(name, unit=None):
    return {"name": name, "help": f"the {name}"} | ({"unit": unit} if unit else {})


def method(name, *params, columns=None, write=False, stream=False):
    m = {"name": name, "help": f"does {name}", "write": write, "stream": stream, "params": list(params)}
    return m | ({"columns": columns} if columns else {})


METHODS = [
    method("config.apply", param("file", "input", "required"), write=True),
    method("config.show"),
    method("event.watch", param("kind", "string"), stream=True,
           columns=[column("time"), column("kind"), column("object"), column("text")]),
    method("ext.load", param("name", "name", "required", "positional"), param("config", "json"), write=True),
    method("port.add", param("name", "name", "required", "positional"),
           param("switch", "name", "required"),
           param("type", "enum", "required", values=["guest", "uplink", "host"]),
           param("socket", "path"),
           param("mtu", "int", "clears", min=68, max=9216, unit="bytes", default="1500"),
           param("trusted", "bool"), write=True),
    method("port.del", param("name", "name", "required", "positional"), write=True),
    method("port.show", param("name", "name", "positional"), param("long", "bool", "flag"),
           param("switch", "name"),
           columns=[column("name"), column("state"), column("why"), column("rx_packets", "packets")]),
    method("switch.show", columns=[column("name")]),
    method("system.methods", param("object", "string")),
    method("trace.save", param("to", "output", "required"), param("from", "input")),
]
PORTS = [
    {"name": "vm1", "state": "up", "why": None, "rx_packets": 12345, "extra": 1},
    {"name": "uplink0", "state": "down", "why": "no carrier", "rx_packets": 7},
]


class Daemon:
    """Answers with what `on[method](params, fds, send)` returns; an exception is an error's sentence."""

    def __init__(self, path):
        self.path, self.requests, self.on = str(path), [], {}
        self.rows = {"port.show": PORTS, "switch.show": [{"name": "sw0"}, {"name": "lab:1"}]}
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        buf, fds = b"", array.array("i")
        try:
            while True:
                data, control, _, _ = conn.recvmsg(65536, socket.CMSG_SPACE(8 * 4))
                if not data:
                    break
                for _, _, passed in control:
                    fds.frombytes(passed)
                buf += data
                while b"\n" in buf:
                    line, buf = buf.split(b"\n", 1)
                    self.answer(conn, json.loads(line), fds)
        except OSError:
            pass
        conn.close()

    def answer(self, conn, request, fds):
        def send(o):
            conn.sendall(o if isinstance(o, bytes) else json.dumps(o).encode() + b"\n")

        name, params = request["method"], request.get("params", {})
        self.requests.append((name, params))
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if name in self.on:
                answer["result"] = self.on[name](params, fds, send)
            elif name == "system.methods":
                of = params.get("object", "")
                answer["result"] = {"methods": [m for m in METHODS
                                                if not of or m["name"].startswith(of + ".")]}
            else:
                answer["result"] = self.rows.get(name, True)
        except ValueError as why:
            answer["error"] = {"code": -32000, "message": str(why)}
        send(answer)

    def params(self):
        """Of the last request."""
        return self.requests[-1][1]


@pytest.fixture
def daemon(tmp_path):
    d = Daemon(tmp_path / "control.sock")
    yield d
    d.sock.close()


def run(daemon, *words, stdin=subprocess.DEVNULL, env=None):
    env = dict(os.environ, EVS_SOCKET=daemon.path) | (env or {})
    return subprocess.run([EVSCTL, *words], stdin=stdin, capture_output=True, text=True, env=env, timeout=20)


def ok(daemon, *words, **more):
    r = run(daemon, *words, **more)
    assert (r.returncode, r.stderr) == (0, ""), r
    return r.stdout


def refused(status, daemon, *words):
    r = run(daemon, *words)
    assert (r.returncode, r.stdout) == (status, ""), r
    assert r.stderr.startswith("evsctl: ")
    return r.stderr


class Terminal:
    """A command whose standard output (and error) is a terminal."""

    def __init__(self, daemon, *words):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ["EVS_SOCKET"] = daemon.path
            os.execv(EVSCTL, [EVSCTL, *words])
        self.pid, self.text = pid, ""

    def read_until(self, text, seconds=10):
        deadline = time.monotonic() + seconds
        while text not in self.text:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], self.text
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other end has been closed
                data = b""
            assert data, f"ended without {text!r}: {self.text!r}"
            self.text += data.decode()
        return self.text

    def end(self, sig=None):
        if sig:
            os.kill(self.pid, sig)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return status
