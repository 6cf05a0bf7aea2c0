"""evswitchd in a run directory of its own, and its control socket without a process in between."""

import json
import os
import select
import socket

from machine import BUILD, MEMORY_MB, SWITCH_CORE, Process, Trouble, use_huge

READY_S = 30
DATAPATH = os.environ.get("DATAPATH", "own")  # of guests' rings, in rows that do not say which


class Rpc:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")
        self.n = 0

    def __call__(self, method, **params):
        self.n += 1
        self.socket.sendall(json.dumps({"jsonrpc": "2.0", "id": self.n, "method": method,
                                        "params": params}).encode() + b"\n")
        while True:
            line = self.file.readline()
            if not line:
                raise Trouble(f"{method}: evswitchd closed the connection")
            answer = json.loads(line)
            if answer.get("id") != self.n:
                continue
            if "error" in answer:
                raise Trouble(f"{method}: {answer['error']['message']}")
            return answer["result"]

    def close(self):
        self.file.close()
        self.socket.close()


class Evswitchd(Process):
    """Returns when it is ready."""

    def __init__(self, directory, options=()):
        self.path = directory / "control.sock"
        ready, told = os.pipe()
        argv = [str(BUILD / "evswitchd"), "--run-dir", str(directory), "--cores", str(SWITCH_CORE), "--memory",
                str(MEMORY_MB), "--ready-fd", str(told), *options]
        super().__init__(argv + ([] if use_huge() else ["--no-huge"]), directory / "log", pass_fds=(told,))
        os.close(told)
        try:
            if not select.select([ready], [], [], READY_S)[0] or os.read(ready, 16) != b"ready\n":
                raise Trouble(f"evswitchd is not ready: {self.log.read_text(errors='replace')[-500:]}")
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(ready)

    def rpc(self):
        return Rpc(self.path)


def add_guest(rpc, name, switch, path, mode="server", **more):
    rpc("port.add", name=name, switch=switch, type="guest", socket=str(path), mode=mode,
        **({"datapath": DATAPATH} | more))
