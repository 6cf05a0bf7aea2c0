"""A daemon with a hostile guest beside well-behaved ones, and what must be true of it afterwards.

      bench-front --attack NAME vm0 ──┐         ┌── vm1  stamped frames both ways,
                                      │   sw0   │    ⇅   all the time; none may be lost
      its feeder, floods to all  vm3 ─┘         └── vm2
"""

import json
import os
import subprocess
from pathlib import Path

from conftest import BUILD, alive, wait_for
from rpc import Rpc

FRONT = str(BUILD / "bench-front")
PORTS = ("vm0", "vm1", "vm2", "vm3")
SPARE_FDS = 4  # of threads that are at work at the moment


def attacks():
    """(name, rings) of every attack."""
    out = subprocess.run([FRONT, "--list-attacks"], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        name, rings = line.split()[:2]
        for r in ("split", "packed") if rings == "both" else (rings,):
            yield name, r


class Pair:
    """Two guests that exchange frames until they are stopped."""

    def __init__(self, directory, log, *words):
        self.log = Path(log)
        with open(self.log, "w") as out:
            self.process = subprocess.Popen([FRONT, *map(str, words), f"{directory}/vm%d.sock"], stdout=out,
                                            stderr=subprocess.STDOUT)

    def said(self):
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1] if line.startswith("{")]

    def last(self):
        assert self.process.poll() is None, f"the guests ended: {self.log.read_text()}"
        said = self.said()
        return said[-1] if said and said[-1]["event"] == "interval" else None

    def next(self):
        """Figures that are said from now on; the first line may be about before."""
        n = len(self.said())
        wait_for(lambda: len(self.said()) > n + 1, 10, "the guests say how they fare")
        return self.last()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        return self.said()[-1]


class Lab:
    """Started again by the fixture when an attack has killed it."""

    def __init__(self, daemon):
        self.daemon = daemon
        daemon.start()
        daemon.ctl("switch", "add", "sw0", "kind", "internal")
        for name in PORTS:
            daemon.ctl("port", "add", name, "switch", "sw0", "type", "guest", "socket", f"{daemon.dir}/{name}.sock",
                       "mode", "server")
        self.pid = daemon.pid()
        self.rpc = Rpc(daemon.socket, deadline=5)
        self.good = Pair(daemon.dir, daemon.dir / "good", "--first", 1, "--mode", "paced", "--rate", 4000, "--ring", 4096,
                         "--interval", 50, "--nap", 200)
        wait_for(self.good.last, 20, "the good guests exchange frames")
        self.fds = self.count_fds()
        self.broken = False

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def accept_descriptors(self):
        """There may be more than at the start from now on, but not ever more."""
        self.fds = self.count_fds()

    def held(self):
        """Frames that some port has not let go of."""
        return sum(self.rpc.call("port.show", name=name)[0]["detail"]["accounting"]["held"] for name in PORTS)

    def attack(self, name, rings, seconds):
        words = ["--packed"] if rings == "packed" else []
        r = subprocess.run([FRONT, "--attack", name, "--seconds", str(seconds), *words, f"{self.daemon.dir}/vm0.sock",
                            f"{self.daemon.dir}/vm3.sock"], capture_output=True, text=True, timeout=seconds + 10)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    def check_alive(self):
        """It answers, is the one that was started, and says how the hostile guest's port is."""
        try:
            row = self.rpc.call("port.show", name="vm0")[0]
        except (OSError, EOFError) as e:
            raise AssertionError(f"the daemon does not answer: {e}\n{self.daemon.log()[-3000:]}") from None
        assert alive(self.pid), f"the switch process died: {self.daemon.log()[-3000:]}"
        assert row["state"] in ("up", "waiting", "failed") and (row["state"] == "up" or row["why"]), row

    def check_good(self):
        """The good guests have lost nothing since the start, and go on."""
        before, after = self.good.last(), self.good.next()
        assert after["rx"] > before["rx"], (before, after)
        # What is on its way is not lost, so a hole counts only once a later frame has come.
        assert {k: after[k] for k in ("lost", "dup", "bad", "ring_errors")} == dict.fromkeys(
            ("lost", "dup", "bad", "ring_errors"), 0), after

    def check_attaches_again(self, rings):
        """Well-behaved guests on the hostile guest's port and on its feeder's."""
        words = ["--packed"] if rings == "packed" else []
        r = subprocess.run([FRONT, *words, "--first", "20", "--stamp", "--frames", "200", "--in-flight", "8", "--nap", "100",
                            "--deadline", "10", f"{self.daemon.dir}/vm0.sock", f"{self.daemon.dir}/vm3.sock"],
                           capture_output=True, text=True, timeout=30)
        assert r.returncode == 0, (r.stderr, self.rpc.call("port.show", name="vm0"))
        final = json.loads(r.stdout.splitlines()[-1])
        assert final["tx"] >= 200 and final["lost"] == 0, final

    def check_nothing_is_left(self):
        wait_for(lambda: self.count_fds() <= self.fds + SPARE_FDS, 5,
                 f"descriptors are back at {self.fds} of {self.count_fds()}")
        wait_for(lambda: self.held() == 0, 5, "no port holds frames")

    def end(self):
        self.rpc.close()
        self.good.stop()
        self.daemon.destroy()
