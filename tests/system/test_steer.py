"""steer: packets to ports by rules, ports that come and go, everything else by learning; rules replaced at run time."""

import json

import pytest

from conftest import BUILD, Refused
from ext_site import BROADCAST, MAC, ext_site, site  # noqa: F401  pylint: disable=unused-import

STEER = BUILD / "ext/steer.so"


def rules(*list_of):
    return "config", json.dumps({"rules": list_of})


def replace(site, *list_of):
    site.ctl("ext", "set", "st", *rules(*list_of))
    assert site.state("st") == "up"


def test_rules_and_learning(ext_site):
    site = ext_site
    site.learn()
    assert site.who("vm1", "vm2") == ["vm2"]
    site.load("st", STEER, *rules({"from": "vm1", "dst": MAC["vm2"], "to": ["vm3"]}))
    assert site.show("st")["kind"] == "forward"
    assert site.who("vm1", "vm2") == ["vm3"]
    assert site.who("vm2", "vm1") == ["vm1"], "what no rule fits goes by its address"
    assert site.who("vm3", "vm2") == ["vm2"], "the rule is of another source"
    assert site.who("vm1", BROADCAST) == ["vm2", "vm3"]
    assert site.show("st")["flows"] > 0
    flows = site.show("st")["flows"]
    for _ in range(20):
        assert site.who("vm1", "vm2") == ["vm3"]
    assert site.show("st")["flows"] == flows, "a known flow asks no more"


@pytest.mark.parametrize("rule, packet, elsewhere", [
    ({"src": MAC["vm1"]}, ("vm1", "vm2"), None),
    ({"dst": "ff:00:00:00:00:00/ff:00:00:00:00:00"}, ("vm1", BROADCAST), ("vm1", "vm2")),
    ({"vlan": 0}, ("vm1", "vm2"), None),
    ({"type": 0x0800}, ("vm1", "vm2"), None),
    ({"proto": 17}, ("vm1", "vm2"), None),
    ({"ip-src": "10.0.0.1"}, ("vm1", "vm2"), ("vm3", "vm2")),
    ({"ip-dst": "10.0.0.2/31"}, ("vm1", "vm2"), ("vm2", "vm1")),
    ({"ip-dst": "10.0.0.0/8", "ip-src": "10.0.0.1/32"}, ("vm1", "vm2"), ("vm3", "vm2")),
    ({"ip-dst": "0.0.0.0/0"}, ("vm1", "vm2"), None),
])
def test_what_a_rule_matches(shared, rule, packet, elsewhere):
    replace(shared, rule | {"to": "drop"})
    assert shared.who(*packet) == []
    if elsewhere:
        assert shared.who(*elsewhere) == [elsewhere[1]]
    replace(shared, *({key: other, "to": "drop"} for key, other in [
        ("src", MAC["vm3"]), ("vlan", 7), ("type", 0x86dd), ("proto", 6), ("ip-src", "10.0.0.3"),
        ("ip-dst", "2001:db8::/32"), ("ip-src", "::/0")]))
    assert shared.who("vm1", "vm2") == ["vm2"]


def test_first_rule_and_words(shared):
    to = {"from": "vm1", "dst": MAC["vm2"]}
    replace(shared, to | {"to": ["vm2", "vm3"]}, to | {"to": "drop"})
    assert shared.who("vm1", "vm2") == ["vm2", "vm3"]
    replace(shared, to | {"to": "flood"})
    assert shared.who("vm1", "vm2") == ["vm2", "vm3"]
    replace(shared, to | {"to": "learn"}, to | {"to": "drop"})
    assert shared.who("vm1", "vm2") == ["vm2"]
    before = shared.drops("st").get("a rule says so", 0)
    replace(shared, to | {"to": "drop"})
    assert shared.who("vm1", "vm2") == []
    assert shared.drops("st")["a rule says so"] == before + 1
    replace(shared, to | {"to": ["vm1"]})
    assert shared.who("vm1", "vm2") == [], "no frame goes back to where it came from"


def test_ports_that_come_and_go(ext_site):
    site = ext_site
    site.learn()
    site.load("st", STEER, *rules({"from": "vm1", "to": ["vm9"]}, {"from": "vm9", "to": ["vm1"]},
                                  {"from": "vm2", "to": ["vm9"], "absent": "learn"},
                                  {"from": "vm3", "to": ["vm9"], "absent": "flood"}))
    assert site.who("vm1", "vm2") == [], "a packet that cannot be placed is not shown to all"
    assert site.drops("st") == {"no port of its rule is connected": 1}
    assert site.who("vm2", "vm1") == ["vm1"]
    assert site.who("vm3", "vm1") == ["vm1", "vm2"]
    site.add("vm9")
    site.wait_who("vm1", "vm2", ["vm9"])
    assert site.who("vm2", "vm1") == site.who("vm3", "vm1") == ["vm9"]
    assert site.who("vm9", BROADCAST) == ["vm1"]
    site.ctl("port", "del", "vm9")
    del site.wires["vm9"]
    site.wait_who("vm1", "vm2", [])
    assert site.who("vm2", "vm1") == ["vm1"]


def test_a_port_that_is_down_is_no_destination(ext_site):
    site = ext_site
    site.load("st", STEER, *rules({"from": "vm1", "to": ["vm2"], "absent": "flood"}))
    assert site.who("vm1", "vm3") == ["vm2"]
    run, d = site.lan.net.run, site.lan.devices["vm2"]
    run(d.ns, "ip", "link", "set", d.ifname, "down")
    site.lan.wait_state("vm2", "waiting", "no carrier")
    site.wait_who("vm1", "vm3", ["vm3"])
    run(d.ns, "ip", "link", "set", d.ifname, "up")
    site.lan.wait_up("vm2")
    site.wires["vm2"] = d.wire()
    site.wait_who("vm1", "vm3", ["vm2"])


def test_rules_survive_a_restart(ext_site):
    site = ext_site
    site.load("st", STEER, *rules({"from": "vm1", "dst": BROADCAST, "to": ["vm3"]}))
    assert site.who("vm1", BROADCAST) == ["vm3"]
    site.daemon.kill()
    for name in site.wires:
        site.lan.wait_up(name)
    assert site.state("st") == "up"
    assert site.who("vm1", BROADCAST) == ["vm3"]


@pytest.mark.parametrize("config, sentence", [
    ({"rules": 1}, 'its configuration must be {"rules": [...]}, up to 1024 of them'),
    ({"rules": [], "more": 1}, 'its configuration must be {"rules": [...]}, up to 1024 of them'),
    (7, "its configuration must be"),
    ({"rules": [{"to": "learn"}, {"to": "vm2"}]}, "rule 2: to must be a list of up to 8 ports, or learn, flood or drop"),
    ({"rules": [{"to": []}]}, "rule 1: to must be a list"),
    ({"rules": [{"to": ["a"] * 9}]}, "rule 1: to must be a list"),
    ({"rules": [{"to": [1]}]}, "rule 1: to must be the name of a port"),
    ({"rules": [{"from": "vm1"}]}, "rule 1: it must be an object that says where to"),
    ({"rules": ["vm1"]}, "rule 1: it must be an object that says where to"),
    ({"rules": [{"form": "vm1", "to": "drop"}]}, "rule 1: form is unknown; there are from, src,"),
    ({"rules": [{"vlan": 4095, "to": "drop"}]}, "rule 1: vlan must be a number, 0 to 4094"),
    ({"rules": [{"vlan": "1", "to": "drop"}]}, "rule 1: vlan must be a number, 0 to 4094"),
    ({"rules": [{"proto": -1, "to": "drop"}]}, "rule 1: proto must be a number, 0 to 255"),
    ({"rules": [{"absent": "never", "to": ["a"]}]}, "rule 1: absent must be learn, flood or drop"),
    *(({"rules": [{"src": bad, "to": "drop"}]}, "rule 1: src must be an address") for bad in
      ("", "2", "02:00:00:00:00:0g", "02:00:00:00:00:01x", "02:00:00:00:00:01/ff", "02:00:00:00:00:01/", 5,
       "02:00:00:00:00:01/ff:ff:ff:ff:ff:ffx")),
    *(({"rules": [{"ip-src": bad, "to": "drop"}]}, "rule 1: ip-src must be an address or a prefix") for bad in
      ("", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/+8", "10.0.0.1/8x", "::/129", "1::2::3", "x" * 99, 5)),
])
def test_wrong_rules_change_nothing(shared, config, sentence):
    replace(shared, {"from": "vm1", "to": ["vm3"]})
    with pytest.raises(Refused) as refused:
        shared.ctl("ext", "set", "st", "config", json.dumps(config))
    assert str(refused.value).startswith("evsctl: ext st: does not start: ") and sentence in str(refused.value)
    assert shared.who("vm1", "vm2") == ["vm3"]


@pytest.fixture(scope="module")
def shared(site):
    """With steer, whose rules each test replaces."""
    site.load("st", STEER)
    return site
