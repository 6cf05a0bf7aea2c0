"""Extensions that were built once load for ever, and a change of the interface that would break them is found."""

import re
import shutil
import subprocess

import pytest

from conftest import TOP, need, wait_for
from ext_site import CHECKS, check_no_telnet, site  # noqa: F401  pylint: disable=unused-import

FROZEN = TOP / "tests/ext/frozen"
HEADER = TOP / "ext/include/evswitch/extension.h"


def frozen(name):
    """A copy that is root's, in whatever checkout this is: one for each version of the interface."""
    found = sorted(FROZEN.glob(f"{name}.*.so"))
    assert found
    return found


def copy(site, path):
    return shutil.copyfile(path, site.dir / path.name)


@pytest.mark.parametrize("path", [path for name in CHECKS for path in frozen(name)], ids=lambda path: path.name)
def test_frozen_samples(site, path):
    try:
        CHECKS[path.name.split(".")[0]](site, copy(site, path))
    finally:
        site.ctl("ext", "unload", "x")


@pytest.mark.parametrize("path", frozen("short"), ids=lambda path: path.name)
def test_what_lies_behind_its_size_is_not_there(site, path):
    """Behind the size that it says is poison, which would be called for each packet, port and at its end."""
    site.load("x", copy(site, path), "config", "7")
    wait_for(lambda: "ext x: created with 7" in site.lan.daemon.log(), what="what it could say was heard")
    assert site.who("vm1", "vm2") == ["vm2"]
    site.add("vm9")
    row = site.show("x")
    assert (row["state"], row["flows"], row["packets"]) == ("up", 0, 0)
    site.ctl("ext", "unload", "x")
    site.ctl("port", "del", "vm9")
    del site.wires["vm9"]
    assert site.who("vm1", "vm2") == ["vm2"]


@pytest.mark.parametrize("path", frozen("long"), ids=lambda path: path.name)
def test_what_is_newer_than_the_daemon_is_not_asked_for(site, path):
    try:
        check_no_telnet(site, copy(site, path))
        assert site.show("x")["version"] == "9.0"
    finally:
        site.ctl("ext", "unload", "x")


@pytest.fixture
def changed(tmp_path):
    """changed(pattern, text) → what tools/abi says of the header with that change."""
    need("clang")

    def change(pattern, text):
        header, n = re.subn(pattern, text, HEADER.read_text(), count=1, flags=re.M)
        assert n == 1 or not pattern
        (tmp_path / "extension.h").write_text(header)
        r = subprocess.run([TOP / "tools/abi", tmp_path / "extension.h"], capture_output=True, text=True, check=False)
        assert r.stderr == "" and r.returncode == bool(r.stdout)
        return r.stdout.replace(f"{tmp_path}/", "")
    return change


def test_the_interface_is_as_it_was(changed):
    assert changed("", "") == ""


@pytest.mark.parametrize("pattern, text, finding", [
    (r"^\tuint16_t vlan; .*\n", "", "evs_flow vlan is gone"),
    (r"^\tuint32_t length; .*\n", "\tuint64_t length;\n", "evs_packet length was 4 4 uint32_t and is 8 8 uint64_t"),
    (r"^\tuint32_t source;  .*\n", "\tint32_t source;\n", "evs_flow source was 4 4 uint32_t and is 4 4 int32_t"),
    (r"^\tvoid \(\*destroy\)", "\tvoid (*early)(void);\n\\g<0>", "evs_extension destroy was 72 8"),
    (r"^\tuint16_t sport, dport;.*\n", "\\g<0>\tuint8_t late;\n", "evs_flow late is at 70 1 uint8_t, inside of what"),
    (r"EVS_DROP = 1", "EVS_DROP = 3", "constant EVS_DROP was 1 and is 3"),
    (r"^\tEVS_NIC_UPDATED = 4,\n", "", "constant EVS_NIC_UPDATED is gone"),
    (r"^\tsize_t \(\*save\)\(void \*self,", "\\g<0> int how,", "evs_extension save was 128 8 size_t"),
    (r"^\tchar text\[508\]", "\tchar text[500]", "struct evs_why was 512 bytes long and is 504"),
])
def test_what_binaries_would_trip_over_is_found(changed, pattern, text, finding):
    assert f"extension.h:1: {finding}" in changed(pattern, text)


def test_what_is_appended_is_written_down(changed):
    grown = changed(r"^(struct evs_answer \{[^}]*)\};", "\\1\tuint64_t late;\n};")
    assert grown == "extension.h:1: it has grown: tools/abi --update writes it down (abi)\n"
