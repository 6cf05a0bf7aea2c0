"""Flows by 5-tuple, as where a stage reads ports: a million of them beside ten, in one process without guests
(tools/bench/budget/l4.c), because no stage of the daemon's own reads ports."""

import json
import os
import select
import statistics

import paired
from machine import BUILD, SWITCH_CORE, Process, Trouble, run_dir

PROGRAM = BUILD / "tools/bench/budget/l4"
FEW, MANY = 10, 1_000_000
PAIRS = 100 if os.environ.get("QUICK") else 400
LIMIT_S = 300


def run(directory):
    if not os.access(PROGRAM, os.X_OK):
        raise Trouble(f"{PROGRAM} is not there: run make bench")
    out = directory / "pairs.json"
    with open(out, "wb") as f:
        process = Process([str(PROGRAM), str(directory / "state.db"), str(FEW), str(MANY), str(PAIRS)],
                          directory / "log", stdout=f,
                          preexec_fn=lambda: os.sched_setaffinity(0, {SWITCH_CORE}))
    try:
        end = os.pidfd_open(process.child.pid)
        try:
            if not select.select([end], [], [], LIMIT_S)[0]:
                raise Trouble(f"l4 did not end within {LIMIT_S} s")
        finally:
            os.close(end)
        if process.child.wait() != 0:
            process.check()
    finally:
        process.stop()
    return json.loads(out.read_text())


def million(row):
    with run_dir() as directory:
        pairs = run(directory)
    good = [p for p in pairs if not p["interruptions"]]
    if len(good) < paired.FEWEST_PAIRS:
        raise Trouble(f"l4: only {len(good)} of {len(pairs)} pairs were not interrupted")
    ratios = paired.tenths([p["few"] / p["many"] for p in good])
    row.bound(f"busy cycles/packet, {FEW} flows / {MANY:,} by 5-tuple", ratios[1], 0.5, True, ratios, len(good))
    few, many = (statistics.median(p[side] for p in good) for side in ("few", "many"))
    row.note(f"in process, without guests' rings: {few:.0f} cycles/packet with {FEW} flows, {many:.0f} with {MANY:,}; "
             f"pairs {len(good)}, left out {len(pairs) - len(good)} (interrupted)")
    row.samples = pairs
