"""A capture of one packet in 1,000 of one of two guests, beside the same switch without a capture. Every packet is that
guest's: sent by it, or to it."""

import time

import paired
import sides
from machine import BUILD, Process, Trouble
from v2v import started

SAMPLE = 1000
BEGIN_S = 10


def start_plain(directory, stack):
    (directory / "plain").mkdir()
    return sides.start_ours(directory / "plain", stack, name="no capture")


def start_capturing(directory, stack):
    side = sides.start_ours(directory, stack)
    # it must not mind that the daemon is stopped while the other side is measured
    evsctl = Process([str(BUILD / "evsctl"), "-t", "86400", "-s", str(side.switch.path), "capture", "start", "c", "port",
                      "vm1", "sample", str(SAMPLE), "file", str(directory / "vm1.pcapng")], directory / "evsctl.log")
    stack.callback(evsctl.stop)
    end = time.monotonic() + BEGIN_S
    while captured(side) == 0:
        evsctl.check()
        if time.monotonic() > end:
            raise Trouble(f"capture: nothing was captured within {BEGIN_S} s")
        time.sleep(0.05)
    return side


def captured(side):
    return sum(row["packets"] for row in side.rpc("capture.show"))


def one_in_1000(row):
    with started(start_capturing, start_plain) as (ours, plain):
        before = captured_and_seen(ours)
        rounds = paired.measure([ours, plain])
        after = captured_and_seen(ours)
        paired.notes(row, rounds, [ours, plain])
        if after[0] <= before[0]:
            raise Trouble("capture: it ended before the measurement did")
        row.note(f"captured: one in {(after[1] - before[1]) / (after[0] - before[0]):.0f}")
        paired.ratio(row, rounds, "cycles", "evswitch", "no capture", 1.02, False)


def captured_and_seen(side):
    side.resume()
    seen = captured(side), side.count()["packets"]
    side.pause()
    return seen
