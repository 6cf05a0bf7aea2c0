"""The dirty log of a guest that migrates: every page that the switch writes is in it, and no page that it had no reason to
write. tools/bench/front compares all memory of two guests page by page, see dirty.c there."""

import json
import subprocess

import pytest
from conftest import BUILD

ROUNDS = 30
SPLIT, PACKED = (), ("--packed",)
KINDS = {
    "plain": ("--size", "64,200,1514"),
    "event-idx": ("--size", "64,1514", "--event-idx", "--ring", "2048", "--in-flight", "300"),
    "in-order": ("--size", "64,1514", "--in-order"),
    "mergeable": ("--size", "64,9000,3000", "--mrg"),
    "indirect": ("--size", "64,1514", "--layout", "indirect", "--rx-layout", "indirect"),
    "mixed": ("--size", "64,3000", "--layout", "mixed", "--rx-layout", "mixed", "--rx-buffer", "600", "--ring", "1024"),
    "tso": ("--offload", "tso4", "--features", "offloads", "--size", "60000", "--mrg", "--ring", "1024"),
    "cut": ("--offload", "tso4", "--features", "offloads", "--odd-features", "csum,host-tso4", "--size", "30000",
            "--mrg", "--ring", "1024", "--one-way"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ring", [SPLIT, PACKED], ids=["split", "packed"])
def test_log_covers_what_is_written_and_nothing_else(daemon, ring, kind):
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    for i in range(2):
        daemon.ctl("port", "add", f"vm{i}", "switch", "sw0", "type", "guest", "socket", f"{daemon.dir}/vm{i}.sock",
                   "mode", "server", "mtu", 9000)
    r = subprocess.run([str(BUILD / "bench-front"), "--dirty", str(ROUNDS), *ring, *KINDS[kind],
                        f"{daemon.dir}/vm%d.sock"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    said = json.loads(r.stdout.splitlines()[-1])
    assert said["rounds"] == ROUNDS
    assert said["sent"] > 10 * ROUNDS and said["changed"] > 4 * ROUNDS, said
    assert kind == "cut" or said["received"] == said["sent"], said
    assert (said["unlogged"], said["beyond"]) == (0, 0), said
