"""A port with 10,000 learned addresses leaves one daemon and comes to another: what that adds to a migration."""

import json
import os
import statistics
import subprocess

from evswitch import Evswitchd
from machine import BUILD, Trouble, run_dir
from ports import MEMORY_FS, tail, timed_ms

ADDRESSES = 10000
ROUNDS = 20
RECORD = 256


def made(directory):
    """The file of such a port, made by hand."""
    addresses = [f"02:00:00:01:{i >> 8:02x}:{i & 255:02x} 0 1" for i in range(ADDRESSES)]
    names = "rx_packets rx_bytes tx_packets tx_bytes made delivered consumed held_in held_out".split()
    lines = [{"evswitch-port": 1, "conf": {"switch": "sw0", "type": "guest", "socket": f"{directory}/vm1.sock"}},
             {"owner": "port", "state": dict.fromkeys(names, 0) | {"dropped": {}}}]
    lines += [{"owner": "fdb", "state": ",".join(addresses[i:i + RECORD])} for i in range(0, ADDRESSES, RECORD)]
    lines.append({"end": len(lines)})
    file = directory / "made.state"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def ask(daemon, verb, file, *more):
    r = subprocess.run([BUILD / "evsctl", "-s", daemon.path, "port", verb, "vm1", "file", file, *more], check=False,
                       capture_output=True, text=True, timeout=30)
    if r.returncode:
        raise Trouble(f"port {verb}: {r.stderr}")


def measure(old, new, directory):
    out, in_ = [], []
    for daemon in (old, new):
        daemon.rpc()("switch.add", name="sw0", kind="internal")
    ask(old, "import", made(directory))
    rpc = new.rpc()
    for _ in range(ROUNDS):
        ask(new, "import", directory / "made.state", "await-state", "60")
        out.append(timed_ms(ask, old, "export", directory / "vm1.state"))
        in_.append(timed_ms(ask, new, "import", directory / "vm1.state"))
        if len(rpc("fdb.show", port="vm1")) != ADDRESSES:
            raise Trouble("port-move: not all addresses have come")
        rpc("port.del", name="vm1")
    return out, in_


def port_move(row):
    """The commands as an operator gives them, in a file system without a disk."""
    if not os.access(MEMORY_FS, os.W_OK):
        raise Trouble(f"port-move: needs {MEMORY_FS}, a file system without a disk")
    with run_dir(MEMORY_FS) as a, run_dir(MEMORY_FS) as b:
        old = Evswitchd(a)
        try:
            new = Evswitchd(b)
            try:
                out, in_ = measure(old, new, a)
            finally:
                new.stop()
        finally:
            old.stop()
    both = [x + y for x, y in zip(out, in_)]
    row.bound("ms of export and import, median", statistics.median(both), 20, False)
    row.note(f"ms of port export: {tail(out)}")
    row.note(f"ms of port import: {tail(in_)}")
    row.samples = {"export_ms": out, "import_ms": in_}
