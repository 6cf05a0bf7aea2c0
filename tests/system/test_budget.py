"""I3: what a packet of a cached flow costs does not grow with flows, ports or switches. Counted, not timed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", TOP / "build")).resolve()


@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_cached_packet_costs_the_same_among_many():
    subprocess.run(["make", "-s", f"BUILD={BUILD}", "budget-program"], cwd=TOP, check=True)
    counted = subprocess.run([TOP / "tools/bench/budget/run", "--json"], env=os.environ | {"BUILD": str(BUILD)},
                             capture_output=True, text=True, check=True)
    now = json.loads(counted.stdout)
    assert {"mixed", "mixed-1000-flows", "mixed-200-ports", "mixed-50-switches", "mixed-8-filters"} <= now.keys()
    for name, count in now.items():
        if name.startswith("mixed"):
            assert count <= now["mixed"] * 1.02, f"{name}: {now}"
    assert now["l2"] < now["mixed"] < now["walk"]
