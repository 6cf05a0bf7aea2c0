"""64 KB TCP frames with segmentation left open, guest to guest. Each switch passes them on whole, so cycles per packet
compare as cycles per byte do."""

import json

import paired
import sides
from front import Front
from machine import Trouble
from v2v import started

BYTES = 65000
RING = 1024  # descriptors: a frame takes 33 of the receiver's
IN_FLIGHT = 16
FEATURES = "csum,guest-csum,host-tso4,guest-tso4"
SEGMENTED = 0.01  # share of frames without a request to cut them


class Segments:
    """Two guests of the load generator."""

    frame_bytes = 64  # of testpmd's own frames

    def start(self, directory, name, sockets, stack, _knows, *more):
        front = Front(directory, name, sockets, "--offload", "tso4", "--features", FEATURES, "--require", "--size",
                      BYTES, "--blind", "--mrg", "--in-order", "--ring", RING, "--in-flight", IN_FLIGHT, *more)
        stack.callback(front.stop)
        return front


def start_ovs(directory, stack):
    """It negotiates offloads where it is the client."""
    switch = sides.Ovs(directory, "userspace-tso-enable=true")
    stack.callback(switch.stop)
    switch.add_bridge(sides.BRIDGE, 2048)
    sockets = [directory / f"ovs{i}.sock" for i in (1, 2)]
    for i, s in enumerate(sockets, 1):
        switch.add_guest(f"vm{i}", server=s)
    guests = Segments().start(directory, "guests-ovs", sockets, stack, None, "--server")
    return sides.Side("Open vSwitch", switch, guests, stack)


def check_whole(side):
    """What came, came in one piece, and with the request to cut it."""
    side.resume()
    said = side.guests.final()
    if said["rx"] == 0 or said["gso"] < said["rx"] * (1 - SEGMENTED):
        raise Trouble(f"tso-64k: {side.name} does not pass frames on as they are: {json.dumps(said)}")


def guest_to_guest(row):
    load = Segments()
    with started(lambda d, s: sides.start_ours(d, s, load),
                 lambda d, s: sides.start_null(d, s, load, ",tso=1,legacy-ol-flags=1"), start_ovs) as all_sides:
        rounds = paired.measure(all_sides)
        paired.notes(row, rounds, all_sides)
        for side in all_sides:
            check_whole(side)
    row.note(f"frames of {BYTES:,} bytes: cycles/byte have the same ratio")
    paired.ratio(row, rounds, "cycles", "evswitch", "testpmd io", 0.67, False)
    paired.ratio(row, rounds, "cycles", "evswitch", "Open vSwitch", 0.6, False)
