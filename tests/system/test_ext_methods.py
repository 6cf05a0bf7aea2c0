"""Control methods of extensions: in the table while an instance is loaded, decoded like any other, kept open, refused."""

import os
import subprocess

import pytest
from conftest import EVSCTL, TOP, Refused, need, wait_for

SOURCE = TOP / "tests/system/ext_methods.c"


def build(directory, name, word):
    so = directory / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f'-DOBJECT="{word}"', f"-I{TOP}/ext/include", str(SOURCE), "-o", str(so)],
                   check=True, timeout=60)
    return so


@pytest.fixture
def daemon(make_daemon):
    if os.geteuid() != 0:
        pytest.skip("files of extensions must be root's")
    need("cc")
    d = make_daemon(allow_unsigned=True).start()
    os.chmod(d.dir, 0o755)
    d.ctl("switch", "add", "sw0", "kind", "private")
    d.ctl("switch", "add", "sw1", "kind", "private")
    yield d
    d.stop()


def objects(daemon):
    return {m["name"].split(".")[0] for m in daemon.ctl("system", "methods")["methods"]}


def test_methods_come_and_go_with_the_last_instance(daemon):
    so = build(daemon.dir, "sums", "sums")
    assert "sums" not in objects(daemon)
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", so)
    daemon.ctl("ext", "load", "two", "switch", "sw1", "path", so)
    assert "sums" in objects(daemon)
    daemon.ctl("ext", "unload", "one")
    assert "sums" in objects(daemon)
    daemon.ctl("ext", "unload", "two")
    wait_for(lambda: "sums" not in objects(daemon))


def test_parameters_are_decoded_and_rows_come_back(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    assert daemon.ctl("sums", "add", 1, "b", 2, "how", "slow", "loud") == [{"sum": 3, "how": "slow", "loud": True}]
    assert "sums end at 100" in daemon.refusal("sums", "add", 1)
    assert "1000" in daemon.refusal("sums", "add", 1001)
    assert "fast" in daemon.refusal("sums", "add", 1, "how", "so")
    text = subprocess.run([EVSCTL, "-s", str(daemon.socket), "help", "sums", "add"], capture_output=True, text=True,
                          check=True, timeout=20).stdout
    assert "add two numbers" in text and "1K" in text


def test_each_instance_is_asked(daemon):
    so = build(daemon.dir, "sums", "sums")
    for name, switch in (("one", "sw0"), ("two", "sw1")):
        daemon.ctl("ext", "load", name, "switch", switch, "path", so)
    assert len(daemon.ctl("sums", "add", 1, "b", 2)) == 2


def hold(daemon):
    p = subprocess.Popen([EVSCTL, "-s", str(daemon.socket), "sums", "hold"], stderr=subprocess.PIPE, text=True)

    def held():
        try:
            daemon.ctl("sums", "release")
            return True
        except Refused:
            return False
    return p, held


def test_a_request_stays_until_it_is_answered(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    p, held = hold(daemon)
    wait_for(held)
    _, text = p.communicate(timeout=10)
    assert p.returncode == 1 and "somebody let go" in text


def test_a_client_that_goes_is_noticed(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    first, held = hold(daemon)
    wait_for(held)
    first.communicate(timeout=10)
    p, held = hold(daemon)
    p.kill()
    p.communicate(timeout=10)
    wait_for(lambda: not held())


def test_unloading_ends_what_stays(daemon):
    daemon.ctl("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "sums", "sums"))
    p, held = hold(daemon)
    wait_for(held)
    p.communicate(timeout=10)
    p = subprocess.Popen([EVSCTL, "-s", str(daemon.socket), "sums", "hold"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: "sums.hold" in daemon.log() or p.poll() is None)
    daemon.ctl("sums", "add", 1, "b", 1)
    daemon.ctl("ext", "unload", "one")
    p.communicate(timeout=10)


def test_words_of_the_switch_are_refused(daemon):
    refusal = daemon.refusal("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "port", "port"))
    assert refusal.endswith("its methods are called port, as methods of the switch are"), refusal
    assert "proper word" in daemon.refusal("ext", "load", "one", "switch", "sw0", "path", build(daemon.dir, "bad", "a b"))
