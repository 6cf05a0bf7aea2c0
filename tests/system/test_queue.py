"""Workers come and go, and queues change workers, while guests talk; what was set by hand outlives a restart."""

import os

import pytest
from conftest import CORE, wait_for
from lan import Lan

OTHER_CORE = next((c for c in map(str, sorted(os.sched_getaffinity(0))) if c != CORE), CORE)


@pytest.fixture
def lan(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if OTHER_CORE == CORE:
        pytest.skip("a second worker needs a second CPU")
    made = Lan(make_daemon)
    try:
        made.start()
        made.rpc("switch.add", name="sw0", kind="internal")
        made.guest("a", ip="10.0.0.1")
        made.guest("b", ip="10.0.0.2")
        yield made
        made.daemon.stop()
    finally:
        made.destroy()


def queue(lan, name):
    return {q["name"]: q for q in lan.daemon.ctl("queue", "show")}[name]


def add_worker(lan):
    assert lan.daemon.ctl("worker", "add", "core", OTHER_CORE) == [{"worker": 1, "core": int(OTHER_CORE)}]


def ping(lan):
    lan.wait_ping(lan.devices["a"].ns, "10.0.0.2")


def cpus_of_others(lan):
    """Of the control thread, which stands for all that are no workers."""
    return os.sched_getaffinity(lan.daemon.pid())


def received_by(lan, worker):
    return {w["worker"]: w["packets"] for w in lan.daemon.ctl("worker", "show")}[worker]


def test_queues_move_between_workers(lan):
    ping(lan)
    before = cpus_of_others(lan)
    add_worker(lan)
    assert cpus_of_others(lan) == (before - {int(OTHER_CORE)} or os.sched_getaffinity(0))
    assert queue(lan, "a.0") | {"packets": 0, "flows": 0} == {
        "name": "a.0", "port": "a", "worker": 0, "placed": "automatic", "packets": 0, "flows": 0}
    lan.daemon.ctl("queue", "set", "a.0", "worker", 1)
    q = queue(lan, "a.0")
    assert (q["worker"], q["placed"]) == (1, "by hand")
    ping(lan)
    wait_for(lambda: received_by(lan, 1) > 0 and queue(lan, "a.0")["packets"] > q["packets"])
    lan.daemon.ctl("queue", "set", "a.0", "worker", "")
    assert (queue(lan, "a.0")["worker"], queue(lan, "a.0")["placed"]) == (1, "automatic")
    lan.daemon.ctl("worker", "del", 1)
    assert queue(lan, "a.0")["worker"] == 0
    assert cpus_of_others(lan) == before
    ping(lan)


def test_a_place_outlives_a_restart_and_waits_for_its_worker(lan):
    add_worker(lan)
    lan.daemon.ctl("queue", "set", "b.0", "worker", 1)
    lan.daemon.kill()
    assert [w["worker"] for w in lan.daemon.ctl("worker", "show")] == [0]
    assert (queue(lan, "b.0")["worker"], queue(lan, "b.0")["placed"]) == (0, "by hand")
    assert "queue b.0: worker 1 is not there; worker 0 polls it until it is" in lan.daemon.log()
    ping(lan)
    add_worker(lan)
    assert queue(lan, "b.0")["worker"] == 1
    ping(lan)
    lan.daemon.ctl("port", "del", "b")
    assert "queue" not in lan.rpc("config.show") or not lan.rpc("config.show")["queue"]


def test_what_cannot_be_is_refused(lan):
    refusal = lan.daemon.refusal
    assert "worker 0: it is the only one; add another first" in refusal("worker", "del", 0)
    assert "worker 3: no such worker" in refusal("worker", "del", 3)
    assert f"CPU {CORE} is that of worker 0" in refusal("worker", "add", "core", CORE)
    assert "CPU 1023 does not exist or is not allowed" in refusal("worker", "add", "core", 1023)
    assert "queue a.0: there is no worker 5" in refusal("queue", "set", "a.0", "worker", 5)
    assert "queue a.1: no such queue" in refusal("queue", "set", "a.1", "worker", 0)
