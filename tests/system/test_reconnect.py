"""The switch process is killed under traffic, again and again: guests go on where they were, and nobody touches them.

      bench-front                            sw0
     ┌─────────────────────┐          ┌──────────────┐
     │ guest 0 ⇄ guest 1   ├──────────┤ vm0 … vm63   │   each pair exchanges stamped unicast. Like QEMU a guest does
     │ guest 2 ⇄ guest 3 … ├──────────┤              │   not know where a packed ring stands when the switch has gone
     └─────────────────────┘          └──────────────┘

What waits in full rings while the switch is away is not offered, so nothing of it counts as lost.
"""

import time
from pathlib import Path

import pytest
from conftest import wait_for
from rpc import Rpc
from test_front import front, ports  # noqa: F401

BURST = 32
KILLS = 2
CALM = 8  # intervals of 50 ms
RECONNECTS = 500  # in each mode
SPREAD = 32  # guests that take turns in reconnecting
RINGS = [(), ("--packed",)]
NOISE_KB = 2048


def wait_back(daemon, f):
    def all_up():
        assert f.process.poll() is None, f.process.stderr.read()
        return {p["state"] for p in daemon.ctl("port", "show")} == {"up"}

    wait_for(all_up, 30, "all guests are back")


def loaded(start, n, *words):
    """n guests under a load that a switch on a shared core can bear, once it flows."""
    f = start("--devices", n, "--mode", "paced", "--rate", 50000, "--stamp", "--interval", 50, "--deadline", 60,
              "--nap", 20, *words)
    f.next(lambda line: line["event"] == "interval" and line["rx"] > 1000)
    return f


def busy(f, n):
    """Until n more frames have arrived."""
    before = now(f)["rx"]
    f.next(lambda line: line["rx"] > before + n)


def now(f):
    """The first line that is written from now on."""
    start = time.monotonic()
    return f.next(lambda line: line["time_s"] > start)


def calm(f, n):
    """What was lost on the way back has been missed, as later frames have come: the number stays the same for a while."""
    seen = [now(f)["lost"]]
    f.next(lambda line: seen.append(line["lost"]) or (len(seen) > CALM and len(set(seen[-CALM:])) == 1))
    busy(f, 100 * n)
    return now(f)


class Blackout:
    """The time without a switch. What is offered in it may be lost, as guests come back one after the other; nothing is
    that is offered before or later."""

    def __init__(self, f, n):
        self.f, self.n = f, n
        self.lost = self.may_lose = 0
        self.before = None

    def __enter__(self):
        self.before = now(self.f)
        assert self.before["lost"] == self.lost, "lost without a blackout"

    def __exit__(self, *error):
        if not any(error):
            back = now(self.f)
            self.may_lose += back["tx"] - self.before["tx"]
            self.lost = calm(self.f, self.n)["lost"]


def assert_unharmed(final, kills, away=None):
    """Order and content never suffer. The one worker of a killed switch has had one burst under way, which may come twice.
    stray is not looked at: whom a new switch does not know yet is flooded."""
    assert (final["late"], final["bad"], final["ring_errors"]) == (0, 0, 0), final
    assert final["dup"] <= kills * BURST, final
    if away:
        assert final["lost"] == away.lost <= away.may_lose, (final, away.lost, away.may_lose)


@pytest.mark.parametrize("n, words", [(2, ()), (2, ("--packed",)), (2, ("--packed", "--event-idx", "--in-order")),
                                      (2, ("--packed", "--mrg", "--size", "64,1514,9000", "--ring", 1024)),
                                      (64, ()), (64, ("--packed",))], ids=str)
def test_killed_under_load(daemon, front, n, words):
    path = ports(daemon, n, "server")
    for i in range(n if "--mrg" in words else 0):
        daemon.ctl("port", "set", f"vm{i}", "mtu", 9000)
    f = loaded(front, n, *words, path)
    away = Blackout(f, n)
    for _ in range(KILLS):
        with away:
            daemon.kill()
            wait_back(daemon, f)
    assert_unharmed(f.stop(), KILLS, away)


@pytest.mark.parametrize("words", RINGS, ids=str)
def test_whole_daemon_is_stopped_and_started(daemon, front, words):
    f = loaded(front, 2, "--server", *words, ports(daemon, 2, "client"))
    away = Blackout(f, 2)
    with away:
        daemon.stop()
        daemon.start()
        wait_back(daemon, f)
    assert_unharmed(f.stop(), 0, away)


@pytest.mark.parametrize("words", RINGS, ids=str)
def test_guest_starts_anew_while_the_switch_is_away(daemon, front, words):
    """Its rings are at the same place and of the same size, but begin again: no old record fits them."""
    path = ports(daemon, 2, "server")
    f = loaded(front, 2, *words, path)
    daemon.stop()
    f.destroy()
    daemon.start()
    assert_unharmed(loaded(front, 2, *words, path).stop(), 0)


def footprint(pid):
    """Descriptors, threads, mappings of guests' memory; and kB that no guest shares."""
    status = Path(f"/proc/{pid}/status").read_text()
    kb = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
    maps = Path(f"/proc/{pid}/maps").read_text()
    return (len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir())),
            maps.count("memfd:guest")), kb


def connections(rpc):
    return sum(rpc.call("port.show", name=f"vm{i}")[0]["detail"]["vhost-user"]["connections"] for i in range(SPREAD))


def come_and_go(rpc, front, times, *words):
    """Guests that hang up now and then, until they have done so that many times; then they leave for good."""
    before = connections(rpc)
    f = loaded(front, SPREAD, "--hang-up", 5, "--packed", *words)
    wait_for(lambda: connections(rpc) > before + times, 100, f"{times} reconnects")
    assert_unharmed(f.stop(), 0)
    wait_for(lambda: not {"up", "opening"} & {p["state"] for p in rpc.call("port.show")}, 10, "nobody is there")


@pytest.mark.parametrize("mode", ["server", "client"])
def test_hundreds_of_reconnects_leave_nothing_behind(daemon, front, mode):
    words = [*(["--server"] if mode == "client" else []), ports(daemon, SPREAD, mode)]
    pid = daemon.pid()
    with Rpc(daemon.socket) as rpc:
        come_and_go(rpc, front, 3 * SPREAD, *words)
        was, was_kb = footprint(pid)
        come_and_go(rpc, front, RECONNECTS, *words)
        wait_for(lambda: footprint(pid)[0] == was, 10, f"no more than {was}")
        assert footprint(pid)[1] <= was_kb + NOISE_KB
    assert daemon.pid() == pid
