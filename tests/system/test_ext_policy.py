"""Properties of extensions: set by people, checked against their description, refused by the extension, kept."""

import pytest

from conftest import TOP, Refused, wait_for
from ext_site import compile_extension, ext_site  # noqa: F401  pylint: disable=unused-import


@pytest.fixture
def policies(ext_site):
    ext_site.learn()
    path = compile_extension(TOP / "tests/ext/policies.c", ext_site.dir / "policies.so")
    ext_site.load("fw", path)
    return ext_site


def log_lines(site, text):
    return [line for line in site.daemon.log().splitlines() if text in line]


def told(site, text):
    wait_for(lambda: log_lines(site, f"told {text}"), what=f"it is told {text}")


def telnet(site, source):
    from scapy.layers.inet import TCP
    return site.who(source, "vm2", TCP(dport=23))


def set_rows(site):
    return {(r.get("port"), r["property"]): r["value"] for r in site.ctl("ext", "policy", "show", "fw") if r.get("set")}


def test_set_and_set_back(policies):
    site = policies
    assert telnet(site, "vm1") == telnet(site, "vm3") == ["vm2"]
    site.ctl("ext", "policy", "set", "fw", "port", "vm1", "closed", "23")
    wait_for(lambda: telnet(site, "vm1") == [], what="what is closed is dropped")
    assert telnet(site, "vm3") == ["vm2"]
    assert set_rows(site) == {("vm1", "closed"): "23"}
    site.ctl("ext", "policy", "set", "fw", "port", "vm1", "closed", "")
    wait_for(lambda: telnet(site, "vm1") == ["vm2"], what="it is open again")
    assert set_rows(site) == {}


def test_values_come_in_one_form(policies):
    policies.ctl("ext", "policy", "set", "fw", "loud", "yes", "mode", "strict", "collector", "2001:DB8:0::1",
                 "motto", "plus ultra")
    policies.ctl("ext", "policy", "set", "fw", "port", "vm1", "limit", "1.5G")
    for text in ("switch loud=on", "switch mode=strict", "switch collector=2001:db8::1", "switch motto=plus ultra",
                 "vm1 limit=1500000000"):
        told(policies, text)
    policies.ctl("ext", "policy", "set", "fw", "mode", "", "loud", "")
    told(policies, "switch mode=learning")
    told(policies, "switch loud=nothing")


@pytest.mark.parametrize("words, sentence", [
    (("port", "vm1", "closed", "0"), "0 is no value of closed"),
    (("port", "vm1", "closed", "65536"), "65536 is no value of closed"),
    (("port", "vm1", "closed", "13"), "refuses the policy: 13 brings bad luck"),
    (("port", "vm1", "mode", "strict"), "has no property mode of a port"),
    (("closed", "23"), "has no property closed of a switch"),
    (("mode", "stri"), "stri is no value of mode"),
    (("loud", "perhaps"), "perhaps is no value of loud"),
    (("collector", "10.0.0"), "10.0.0 is no value of collector"),
    (("colour", "red"), "has no property colour"),
    (("port", "vm8", "closed", "23"), "port vm8: no such port"),
])
def test_refused(policies, words, sentence):
    fits = ("limit", "1G") if "port" in words else ("motto", "new")
    with pytest.raises(Refused, match=sentence):
        policies.ctl("ext", "policy", "set", "fw", *words, *fits)
    assert set_rows(policies) == {}
    assert not log_lines(policies, "told "), "all or nothing"


def test_what_is_set_is_kept(policies):
    site = policies
    site.ctl("ext", "policy", "set", "fw", "port", "vm1", "closed", "23")
    site.ctl("ext", "policy", "set", "fw", "mode", "strict")
    wait_for(lambda: telnet(site, "vm1") == [], what="what is closed is dropped")
    site.ctl("ext", "upgrade", "fw", "path", site.show("fw")["path"])
    assert telnet(site, "vm1") == [], "the next instance was told before it saw a packet"
    site.daemon.stop()
    site.daemon.start()
    for name in ("vm1", "vm2"):
        site.lan.wait_up(name)
    site.learn()
    wait_for(lambda: telnet(site, "vm1") == [], what="it is told after a restart")
    assert set_rows(site) == {("vm1", "closed"): "23", (None, "mode"): "strict"}
    site.ctl("port", "del", "vm1")
    del site.wires["vm1"]
    assert set_rows(site) == {(None, "mode"): "strict"}
    site.ctl("ext", "unload", "fw")
    assert site.ctl("config", "show")["ext-policy"] == []


def test_descriptions_are_shown(policies):
    rows = {r["property"]: r for r in policies.ctl("ext", "policy", "show", "fw")}
    assert {p: r["type"] for p, r in rows.items()} == {
        "closed": "int", "limit": "rate", "mode": "enum", "loud": "bool", "collector": "address", "motto": "string"}
    assert rows["mode"]["value"] == "learning" and rows["closed"]["of"] == "port"
