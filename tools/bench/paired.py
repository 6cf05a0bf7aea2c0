"""Rounds of windows, one per switch and in turn, so that whatever the machine does at the moment meets all of them.
A ratio is of two neighbours; windows that something disturbed are left out, not averaged."""

import os
import signal
import statistics

import noise
from machine import Trouble, say

PAIRS = 3 if os.environ.get("QUICK") else 8
MOST_ROUNDS = 3 * PAIRS
FEWEST_PAIRS = 3  # that are worth a figure
STOP = signal.SIGSTOP


def text_of(side, window):
    wrong = f" ({', '.join(window['complaints'])})" if window["complaints"] else ""
    return f"{side.name} {window['pps'] / 1e6:.2f} Mpps {window['cycles']:.0f} cycles/packet{wrong}"


def round_of(sides):
    windows = {}
    for side in sides:
        windows[side.name] = side.window()
    say("; ".join(text_of(s, windows[s.name]) for s in sides))
    return windows


def is_pair(a, p):
    return not a["complaints"] and not p["complaints"] and noise.same_speed(a["clock"], p["clock"])


def pairs_of(rounds, ours, peer):
    return [(r[ours], r[peer]) for r in rounds if is_pair(r[ours], r[peer])]


def measure(sides, wanted=None):
    """Rounds until there are PAIRS good pairs of each wanted (name, name); by default of the first side with each of
    the others, or with itself if it is alone."""
    first = sides[0].name
    wanted = wanted or [(first, s.name) for s in sides[1:] or sides]
    rounds = []

    def n_good():
        return min(len(pairs_of(rounds, a, b)) for a, b in wanted)

    while n_good() < PAIRS and len(rounds) < MOST_ROUNDS:
        rounds.append(round_of(sides))
    if n_good() < FEWEST_PAIRS:
        raise Trouble(f"fewer than {FEWEST_PAIRS} undisturbed pairs in {MOST_ROUNDS} rounds; try again when this "
                      "machine has less to do")
    return rounds


def tenths(values):
    """10th percentile, median, 90th percentile."""
    if len(values) == 1:
        return values * 3
    cuts = statistics.quantiles(values, n=10, method="inclusive")
    return cuts[0], statistics.median(values), cuts[-1]


def ratio(row, rounds, key, ours, peer, bound, at_least):
    """The row's figure: ours / the peer's of each pair."""
    values = [a[key] / p[key] for a, p in pairs_of(rounds, ours, peer)]
    what = {"cycles": "busy cycles/packet", "pps": "packets/s"}[key]
    row.bound(f"{what}, {ours} / {peer}", tenths(values)[1], bound, at_least, tenths(values), len(values))


def notes(row, rounds, sides):
    for side in sides:
        good = [r[side.name] for r in rounds if not r[side.name]["complaints"]]
        bad = [r[side.name]["complaints"] for r in rounds if r[side.name]["complaints"]]
        low, mid, high = tenths([w["cycles"] for w in good])
        row.note(f"{side.name}: {mid:.0f} cycles/packet ({low:.0f} … {high:.0f}), "
                 f"{statistics.median(w['pps'] for w in good) / 1e6:.2f} Mpps; windows {len(good)}, left out {len(bad)}"
                 + (f" ({', '.join(sorted({c for b in bad for c in b}))})" if bad else ""))
    row.samples = {s.name: [r[s.name] for r in rounds] for s in sides}
