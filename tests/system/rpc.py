"""The control socket spoken directly: for tests of the protocol, and where evsctl would be too slow.

    with Rpc(daemon.socket) as rpc:
        rpc.call("switch.add", name="sw0", kind="internal")
"""

import json
import socket

from conftest import Refused


class Rpc:
    """One connection. call() raises Refused with the daemon's sentence."""

    def __init__(self, path, deadline=20):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(deadline)
        self.sock.connect(str(path))
        self.lines = self.sock.makefile("rb")
        self.n = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.lines.close()
        self.sock.close()

    def send(self, method, **params):
        self.n += 1
        message = {"jsonrpc": "2.0", "id": self.n, "method": method, "params": params}
        self.sock.sendall(json.dumps(message).encode() + b"\n")
        return self.n

    def read(self):
        """The next message; EOFError at the end."""
        line = self.lines.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the daemon closed the connection")
        return json.loads(line)

    def call(self, method, **params):
        n = self.send(method, **params)
        while True:
            message = self.read()
            if message.get("id") == n:
                break
        if "error" in message:
            raise Refused(1, message["error"]["message"])
        return message["result"]

    def refusal(self, method, **params):
        """The sentence with which the daemon refuses this; None if it accepts."""
        try:
            self.call(method, **params)
        except Refused as e:
            return str(e)
        return None

    def event(self):
        """The next event of event.watch."""
        while True:
            message = self.read()
            if message.get("method") == "event":
                return message["params"]


class Watch(Rpc):
    """A connection that watches events. What happens after it was made is seen."""

    def __init__(self, path, **filters):
        super().__init__(path)
        self.send("event.watch", **filters)
        self.call("system.show")  # answered behind it, so the watch has begun

    def until(self, kind, name):
        """Reads to this event; returns all events read."""
        seen = []
        while not seen or (seen[-1]["kind"], seen[-1].get("object")) != (kind, name):
            seen.append(self.event())
        return seen
