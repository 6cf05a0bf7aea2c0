"""Rounds of two windows, ours and a peer's in turn, so that whatever the machine does at the moment meets both.
A ratio is of two neighbours; windows that something disturbed are left out, not averaged."""

import os
import signal
import statistics
import time

import noise
from machine import Trouble, say

PAIRS = 20 if os.environ.get("QUICK") else 80
MOST_ROUNDS = 25 * PAIRS
FEWEST_PAIRS = 12  # that are worth a figure
SAY_EVERY = 50  # rounds
WARM_S = 1  # of each side, before its first round with another
STOP = signal.SIGSTOP


def text_of(side, window):
    wrong = f" ({', '.join(window['complaints'])})" if window["complaints"] else ""
    return f"{side.name} {window['pps'] / 1e6:.2f} Mpps {window['cycles']:.0f} cycles/packet{wrong}"


def is_pair(a, p):
    return not a["complaints"] and not p["complaints"] and noise.same_speed(a["clock"], p["clock"])


def pairs_of(rounds, ours, peer):
    return [(r[ours], r[peer]) for r in rounds if ours in r and peer in r and is_pair(r[ours], r[peer])]


def warm(side):
    side.resume()
    time.sleep(WARM_S)
    side.pause()


def measure_two(ours, peer):
    """Rounds until PAIRS of them are good; each second one in the opposite order."""
    rounds, n_good = [], 0
    sides = list(dict.fromkeys((ours, peer)))
    for side in sides:
        warm(side)
    while n_good < PAIRS and len(rounds) < MOST_ROUNDS:
        rounds.append({side.name: side.window() for side in sides})
        n_good = len(pairs_of(rounds, ours.name, peer.name))
        if len(rounds) % SAY_EVERY == 0:
            say(f"{n_good} good pairs of {len(rounds)}; " + "; ".join(text_of(s, rounds[-1][s.name]) for s in sides))
        sides.reverse()
    if n_good < FEWEST_PAIRS:
        raise Trouble(f"{n_good} of {len(rounds)} pairs of {ours.name} and {peer.name} were undisturbed, which is too "
                      "few; try again when this machine has less to do")
    return rounds


def measure(sides, wanted=None):
    """Rounds of each wanted (side, side); by default of the first with each of the others, or with itself if it is
    alone."""
    wanted = wanted or [(sides[0], s) for s in sides[1:] or sides]
    return [r for ours, peer in wanted for r in measure_two(ours, peer)]


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
        windows = [r[side.name] for r in rounds if side.name in r]
        good = [w for w in windows if not w["complaints"]]
        bad = sorted({c for w in windows for c in w["complaints"]})
        low, mid, high = tenths([w["cycles"] for w in good])
        row.note(f"{side.name}: {mid:.0f} cycles/packet ({low:.0f} … {high:.0f}), "
                 f"{statistics.median(w['pps'] for w in good) / 1e6:.2f} Mpps; windows {len(good)}, left out "
                 f"{len(windows) - len(good)}" + (f" ({', '.join(bad)})" if bad else ""))
    row.samples = {s.name: [r[s.name] for r in rounds if s.name in r] for s in sides}
