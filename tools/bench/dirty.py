"""What a migration costs while it runs: two guests whose dirty log is on, beside two whose log is off."""

import contextlib

import crowd
import paired
from machine import run_dir
from sides import Ours

MOST = 1.15  # busy cycles, on / off
RINGS = {"split": (), "packed": ("--packed",)}


def start(directory, stack, name, *options):
    switch, front = crowd.start(directory, stack, name.replace(" ", "-"), 2, *options)
    side = Ours(name, switch, front, stack)
    side.pause()
    return side


def log(row):
    for ring, options in RINGS.items():
        on, off = f"{ring} log on", f"{ring} log off"
        with run_dir() as directory, contextlib.ExitStack() as stack:
            sides = [start(directory, stack, on, "--log", *options), start(directory, stack, off, *options)]
            rounds = paired.measure(sides)
            paired.notes(row, rounds, sides)
        paired.ratio(row, rounds, "cycles", on, off, MOST, False)
