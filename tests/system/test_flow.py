"""Compiled flows from outside: what is listed and counted, and that the switch does the same without them."""

import os

import pytest
from conftest import wait_for
from lan import Lan
from rpc import Rpc
from test_front import Front, assert_all_arrived, ports

PINGS = 20
PAIRS = 10_000  # of addresses, each a flow there and one back


@pytest.fixture(params=[1 << 20, 0], ids=["flows", "walk-only"])
def lan(request, make_daemon):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Lan(make_daemon, flows=request.param)
    made.with_flows = request.param > 0
    try:
        made.start()
        made.rpc("switch.add", name="sw0", kind="internal")
        yield made
        made.check_accounting()
        made.daemon.stop()
    finally:
        made.destroy()


def stats(lan, name):
    return lan.rpc("flow.stats", port=name)[0]


def test_flows_of_a_ping_are_listed_and_counted(lan):
    a, b = lan.guest("a", ip="10.0.0.1"), lan.guest("b", ip="10.0.0.2")
    lan.wait_ping(a.ns, "10.0.0.2")
    before = stats(lan, "a")["hits"]
    assert lan.ping(a.ns, "10.0.0.2", count=PINGS)
    if not lan.with_flows:
        assert lan.rpc("flow.show") == []
        assert stats(lan, "a")["hits"] == 0
        return
    assert stats(lan, "a")["hits"] - before >= PINGS - 1
    flows = [f for f in lan.rpc("flow.show", port="a", mac=b.mac()) if f["type"] == "0x0800"]
    assert [(f["src"], f["dst"], f["verdict"], f["vlan"]) for f in flows] == [(a.mac(), b.mac(), "b", 0)]
    assert flows[0]["packets"] >= PINGS - 1
    assert flows[0]["bytes"] >= flows[0]["packets"] * 98
    assert lan.rpc("flow.show", to="a") == lan.rpc("flow.show", port="b", to="a")
    assert len(lan.rpc("flow.show", limit=1)) == 1
    assert lan.rpc("flow.show", vlan=7) == []


def test_a_changed_vlan_takes_effect_on_running_flows(lan):
    a = lan.guest("a", ip="10.0.0.1")
    lan.guest("b", ip="10.0.0.2")
    lan.wait_ping(a.ns, "10.0.0.2")
    lan.rpc("vlan.set", port="b", mode="access", vlan=10)
    assert not lan.ping(a.ns, "10.0.0.2")
    lan.rpc("vlan.set", port="a", mode="access", vlan=10)
    wait_for(lambda: lan.ping(a.ns, "10.0.0.2"), 10)


def test_a_change_of_others_keeps_flows(lan):
    a = lan.guest("a", ip="10.0.0.1")
    lan.guest("b", ip="10.0.0.2")
    lan.wait_ping(a.ns, "10.0.0.2")
    assert lan.ping(a.ns, "10.0.0.2", count=2)
    had = stats(lan, "a")
    lan.rpc("switch.add", name="sw1", kind="internal")
    lan.host_vnic("other0", switch="sw1")
    assert lan.ping(a.ns, "10.0.0.2", count=2)
    has = stats(lan, "a")
    assert has["rewalked"] == had["rewalked"]
    if lan.with_flows:
        assert has["rechecked"] > had["rechecked"]


@pytest.fixture
def many_flows(daemon):
    """Two guests that keep 2 * PAIRS flows in use: vm0 has the addresses 02:00:00:…, vm1 02:00:01:…"""
    made = Front("--mode", "paced", "--rate", 20000, "--ring", 1024, "--flows", PAIRS, "--macs", PAIRS, "--frames", 0,
                 ports(daemon, 2, "server"))
    try:
        with Rpc(daemon.socket) as rpc:
            wait_for(lambda: sum(q["flows"] for q in rpc.call("flow.stats")) == 2 * PAIRS, 20)
        yield made
    finally:
        made.destroy()


def addresses(flows):
    return {(f["src"], f["dst"]) for f in flows}


def test_many_flows_are_listed_under_traffic(daemon, many_flows):
    with Rpc(daemon.socket) as rpc:
        assert len(rpc.call("flow.show")) == 1000
        assert len(rpc.call("flow.show", port="vm0", limit=PAIRS - 1)) == PAIRS - 1
        back = rpc.call("flow.show", to="vm0", limit=3 * PAIRS)
        assert len(addresses(back)) == len(back) == PAIRS
        assert {(f["port"], f["verdict"]) for f in back} == {("vm1", "vm0")}
        mac = back[-1]["src"]
        assert {f["port"] for f in rpc.call("flow.show", mac=mac)} == {"vm0", "vm1"}
        assert rpc.call("flow.show", mac=mac, vlan=7) == []
    assert_all_arrived(many_flows.stop())


def test_others_are_answered_while_a_long_listing_is_on_its_way(daemon, many_flows):
    with Rpc(daemon.socket) as slow, Rpc(daemon.socket) as other:
        slow.send("flow.show", limit=3 * PAIRS)
        for _ in range(20):  # the listing is longer than all that the daemon keeps for one that does not read
            assert len(other.call("worker.show")) == 1
        other.call("vlan.set", port="vm0", mode="untagged")
        flows = slow.read()["result"]
    assert len(addresses(flows)) == len(flows) == 2 * PAIRS
    assert_all_arrived(many_flows.stop())
