"""A thousand guests in one daemon, which connects to all of them and raises the limits that this takes itself.

      bench-front --server --devices 1000 ── 1000 sockets ── evswitchd (mode client) ── one switch; four of them talk
"""

import json
import resource
import subprocess
from pathlib import Path

from conftest import wait_for
from hostile_rig import FRONT
from rpc import Rpc

N = 1000
SOFT = 1024


def limit_low():
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def limit_of(pid):
    line = next(x for x in Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max open files"))
    return int(line.split()[3])


def test_thousand_guests(make_daemon):
    daemon = make_daemon().start(preexec_fn=limit_low)
    assert limit_of(daemon.pid()) >= 12 * N
    path = f"{daemon.dir}/vm%d.sock"
    guests = subprocess.Popen([FRONT, "--server", "--devices", str(N), "--busy", "4", "--stamp", "--in-flight", "8",
                               "--frames", "4000", "--nap", "100", "--patience", "20", "--deadline", "60", path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with Rpc(daemon.socket, deadline=60) as rpc:
            rpc.call("switch.add", name="sw0", kind="internal")
            for i in range(N):
                rpc.call("port.add", name=f"vm{i}", switch="sw0", type="guest", socket=path % i, mode="client")
            wait_for(lambda: guests.poll() is not None or
                     sum(row["state"] == "up" for row in rpc.call("port.show")) == N, 60, "all guests are up")
        out, err = guests.communicate(timeout=60)
    finally:
        guests.kill()
        guests.communicate()
    assert guests.returncode == 0, err
    final = json.loads(out.splitlines()[-1])
    assert final["rx"] == final["tx"] >= 4000 and (final["lost"], final["ring_errors"]) == (0, 0), final
    assert "no file descriptor" not in daemon.log()
    daemon.stop()
