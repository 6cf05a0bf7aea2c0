"""What extensions cost on known flows, beside a switch that has none; and what the traffic of others notices when they are
loaded, put in another order, replaced and unloaded."""

import contextlib
import shutil
import time

import paired
import sides
from machine import BUILD, Trouble, run_dir

FILTERS = 8
CHANGES = 50


def shared_object(directory, name):
    """A copy in the run directory: extensions must belong to whom the daemon belongs to."""
    path = directory / f"{name}.so"
    if not path.exists():
        shutil.copy(BUILD / "tools/bench/extensions" / path.name, path)
        path.chmod(0o755)
    return str(path)


def load(rpc, directory, name, what):
    rpc("ext.load", name=name, switch="sw0", path=shared_object(directory, what))


def start(directory, stack, name, prepare):
    where = directory / name.replace(" ", "-")
    where.mkdir()
    side = sides.start_ours(where, stack, options=("--allow-unsigned",), prepare=lambda rpc: prepare(rpc, where))
    side.name = name
    side.pause()
    return side


def none(rpc, directory):
    pass


def filters(rpc, directory):
    for i in range(FILTERS):
        load(rpc, directory, f"filter{i}", "per_flow")


def looker(rpc, directory):
    load(rpc, directory, "looker", "per_packet")


def beside_none(name, prepare, most):
    def measure(row):
        with run_dir() as directory, contextlib.ExitStack() as stack:
            both = [start(directory, stack, name, prepare), start(directory, stack, "no extension", none)]
            rounds = paired.measure(both)
            paired.notes(row, rounds, both)
            both[0].resume()
            for x in both[0].rpc("ext.show"):
                row.note(f"{x['name']}: {x['flows']} flow calls, {x['packets']} packets, {x['breaches']} breaches")
        paired.ratio(row, rounds, "cycles", name, "no extension", most, False)
    return measure


per_flow = beside_none(f"{FILTERS} filters", filters, 1.03)
per_packet = beside_none("each packet", looker, 1.25)


def changes(rpc, directory):
    for i in range(CHANGES):
        load(rpc, directory, "a", "per_flow")
        load(rpc, directory, "b", "per_packet")
        rpc("ext.order", switch="sw0", kind="filter", names=["a", "b"])
        rpc("ext.upgrade", name="a", path=shared_object(directory, "per_flow"))
        rpc("ext.disable", name="b")
        rpc("ext.unload", name="a")
        rpc("ext.unload", name="b")


def under_load(row):
    with run_dir() as directory, contextlib.ExitStack() as stack:
        ours = start(directory, stack, "changing", none)
        ours.resume()
        time.sleep(1)
        before, packets = ours.count(), ours.count()["packets"]
        begin = time.perf_counter()
        changes(ours.rpc, directory / "changing")
        took, packets = time.perf_counter() - begin, ours.count()["packets"] - packets
        row.bound("frames that were lost", ours.count()["lost"] - before["lost"], 0, False)
    if packets == 0:
        raise Trouble("ext-changes: nothing moved meanwhile")
    row.note(f"{CHANGES} times loaded, ordered, replaced, disabled and unloaded two in {took:.2f} s, meanwhile "
             f"{packets:,} frames ({packets / took / 1e6:.2f} Mpps)")
