"""Guests of tools/bench/front on one switch: every frame arrives once and in order.

      bench-front                            sw0
     ┌─────────────────────┐          ┌──────────────┐
     │ guest 0 ⇄ guest 1   ├──────────┤ vm0 … vm19   │   each pair exchanges stamped unicast; the rings are
     │ guest 2 ⇄ guest 3 … ├──────────┤              │   split or packed, the frames of the sizes named
     └─────────────────────┘          └──────────────┘
"""

import json
import queue
import subprocess
import threading

import pytest
from conftest import BUILD, wait_for

RATE = 20000
BURST = 32  # of the switch: what it may do twice when it is killed
CALM = ("--mode", "paced", "--rate", RATE, "--ring", 1024, "--frames", 2000)  # a ring holds what waits for its turn


class Front:
    """bench-front with what it says, line by line. It is read all the time: with a full pipe it would stand still."""

    def __init__(self, *words):
        self.process = subprocess.Popen([str(BUILD / "bench-front"), *map(str, words)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.lines = queue.SimpleQueue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def line(self):
        line = self.lines.get()
        assert line, f"bench-front ended: {self.process.stderr.read()}"
        return json.loads(line)

    def next(self, condition):
        """The first line from now on for which condition(line) is true."""
        for _ in range(1000):
            line = self.line()
            if condition(line):
                return line
        raise AssertionError(f"not in 1000 lines, the last is {line}")

    def final(self):
        return self.next(lambda line: line["event"] == "final")

    def stop(self):
        self.process.terminate()
        return self.final()

    def destroy(self):
        self.process.kill()
        self.reader.join()
        self.process.communicate()


@pytest.fixture
def front():
    made = []

    def start(*words):
        made.append(Front(*words))
        return made[-1]

    yield start
    for f in made:
        f.destroy()


def ports(daemon, n, mode):
    """n guest ports; the sockets as bench-front wants them."""
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    for i in range(n):
        daemon.ctl("port", "add", f"vm{i}", "switch", "sw0", "type", "guest", "socket", f"{daemon.dir}/vm{i}.sock",
                   "mode", mode)
    return f"{daemon.dir}/vm%d.sock"


def assert_all_arrived(final):
    assert final["tx"] >= 2000
    assert {k: final[k] for k in ("lost", "dup", "late", "bad", "ring_errors")} == dict.fromkeys(
        ("lost", "dup", "late", "bad", "ring_errors"), 0)
    assert final["rx"] == final["tx"]


@pytest.mark.parametrize("ring", ["split", "packed"])
@pytest.mark.parametrize("n", [2, 20])
def test_paced(daemon, front, ring, n):
    words = ["--packed"] if ring == "packed" else []
    f = front("--devices", n, "--flows", 100, *CALM, *words, ports(daemon, n, "server"))
    assert_all_arrived(f.final())


@pytest.mark.parametrize("words", [
    ("--size", "60,64,200,512,1514", "--event-idx", "--in-order"),
    ("--size", "imix", "--packed", "--event-idx", "--in-order", "--tcp"),
    ("--mrg", "--flows", "5000", "--macs", "100"),
    ("--mrg", "--packed", "--one-way", "--in-flight", "16"),
])
def test_closed_loop(daemon, front, words):
    f = front("--stamp", "--frames", 2000, *words, ports(daemon, 2, "server"))
    assert_all_arrived(f.final())


def test_frames_longer_than_a_buffer(daemon, front):
    path = ports(daemon, 2, "server")
    for name in ("vm0", "vm1"):
        daemon.ctl("port", "set", name, "mtu", 9000)
    f = front("--stamp", "--frames", 2000, "--mrg", "--size", "64,9000,3000", "--in-flight", 16, path)
    assert_all_arrived(f.final())


def test_switch_connects_to_listening_guests(daemon, front):
    path = ports(daemon, 2, "client")
    assert_all_arrived(front("--server", *CALM, path).final())


def test_silent_guests_are_connected_but_send_nothing(daemon, front):
    path = ports(daemon, 20, "server")
    f = front("--devices", 20, "--busy", 2, "--interval", 100, *CALM, "--frames", 0, path)
    f.next(lambda line: line["event"] == "interval" and line["rx"] > 2000)
    assert {p["state"] for p in daemon.ctl("port", "show")} == {"up"}
    sent = {p["name"]: p["rx_packets"] for p in daemon.ctl("port", "show")}
    assert all((sent[f"vm{i}"] > 900) == (i < 2) for i in range(20)), sent
    assert_all_arrived(f.stop())


@pytest.mark.parametrize("words", [("--stamp",), ("--stamp", "--packed"), ("--flows", "1")])
def test_guests_outlive_the_switch(daemon, front, words):
    f = front("--interval", 100, "--deadline", 60, *words, ports(daemon, 2, "server"))
    f.next(lambda line: line["event"] == "interval" and line["rx"] > 1000)
    daemon.kill()
    wait_for(lambda: {p["state"] for p in daemon.ctl("port", "show")} == {"up"}, 30, "both guests are back")
    before = f.line()["rx"]
    f.next(lambda line: line["rx"] > before + 1000)
    final = f.stop()
    assert (final["late"], final["ring_errors"]) == (0, 0)
    assert final["dup"] <= BURST, "more than the burst that was delivered and not yet completed"


def test_a_switch_that_is_not_there_is_told(front, run_dir):
    f = front("--deadline", 0.2, f"{run_dir}/vm%d.sock")
    assert f.process.wait(10) == 1
    assert "0 of 2 guests are connected" in f.process.stderr.read()
