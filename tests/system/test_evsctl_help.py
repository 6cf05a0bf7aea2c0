"""What evsctl makes of a daemon's own description: help, completion, the manual page."""

import os
import shutil
import subprocess

import pytest

from evsctl_rig import EVSCTL, TOP, daemon, ok, refused, run


def test_version(tmp_path):
    for word in "version", "--version":
        r = subprocess.run([EVSCTL, word], capture_output=True, text=True, timeout=20)
        assert (r.returncode, r.stdout.split()[0]) == (0, "evsctl")


def test_help(daemon):
    text = ok(daemon, "help")
    assert "  port add        does port.add\n" in text and "-s, --socket SOCKET" in text
    assert ok(daemon, "--help") == text


def test_help_on_an_object(daemon):
    text = ok(daemon, "help", "port")
    assert "evsctl port show [NAME] [long] [switch NAME]\n    does port.show\n" in text
    assert "config" not in text
    for words in ["port"], ["port", "help"], ["port", "-h"], ["-h", "port"]:
        assert ok(daemon, *words) == text


def test_help_on_a_verb(daemon):
    text = ok(daemon, "help", "port", "add")
    assert text.startswith("usage: evsctl port add NAME switch NAME type guest|uplink|host [socket PATH]")
    assert "mtu NUMBER" in text and '(68..9216 bytes; default 1500; "" sets it back to none)' in text
    assert ok(daemon, "port", "add", "vm1", "--help") == text
    assert "rx_packets  the rx_packets (packets)\n" in ok(daemon, "help", "port", "show")


def test_help_on_nothing_known(daemon):
    assert "did you mean port?" in refused(2, daemon, "help", "prot")
    assert "did you mean add?" in refused(2, daemon, "help", "port", "ad")


@pytest.mark.parametrize("words, candidates", [
    ([""], "config event ext port switch system trace help version"),
    (["po"], "port"),
    (["port", ""], "add del show help"),
    (["help", "po"], "port"),
    (["help", "port", "a"], "add"),
    (["port", "add", ""], ""),
    (["port", "add", "vm1", ""], "switch type socket mtu trusted"),
    (["port", "add", "vm1", "mtu", "1500", "t"], "type trusted"),
    (["port", "add", "vm1", "type", ""], "guest uplink host"),
    (["port", "add", "vm1", "trusted", ""], "on off"),
    (["port", "add", "vm1", "switch", "s"], "sw0"),
    (["port", "del", ""], "vm1 uplink0"),
    (["port", "show", ""], "vm1 uplink0 long switch"),
    (["port", "show", "long", ""], "on off switch"),
    (["-j", "port", "-w", "de"], "del"),
    (["port", "frob", ""], ""),
])
def test_completion(daemon, words, candidates):
    assert ok(daemon, "--complete", *words).split() == candidates.split()


@pytest.mark.parametrize("words", [["config", "apply", "file", ""], ["port", "add", "x", "socket", "/"], ["-s", ""]])
def test_completion_of_files(daemon, words):
    assert run(daemon, "--complete", *words).returncode == 1


def test_completion_without_daemon(tmp_path):
    r = subprocess.run([EVSCTL, "--complete", "-s", str(tmp_path / "none"), "port", ""], capture_output=True,
                       timeout=20)
    assert (r.returncode, r.stdout, r.stderr) == (0, b"", b"")


def bash_complete(daemon, line):
    script = f"""source {TOP}/tools/evsctl/evsctl.bash
COMP_LINE=$1 COMP_POINT=${{#1}}
_evsctl {EVSCTL}
printf '%s\\n' "${{COMPREPLY[@]}}" """
    return ok_bash(daemon, script, line)


def ok_bash(daemon, script, *args):
    r = subprocess.run(["bash", "-c", script, "bash", *args], capture_output=True, text=True, timeout=20,
                       env=dict(os.environ, EVS_SOCKET=daemon.path))
    assert (r.returncode, r.stderr) == (0, "")
    return r.stdout.split()


def test_bash_completion(daemon):
    assert bash_complete(daemon, "evsctl port add vm1 t") == ["type", "trusted"]
    assert bash_complete(daemon, "evsctl port add vm1 switch ") == ["sw0", "lab:1"]
    assert bash_complete(daemon, "evsctl port add vm1 switch lab:") == ["1"]


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_manual_page(daemon):
    page = subprocess.run([TOP / "tools/mkman", EVSCTL, "-s", daemon.path], capture_output=True, text=True,
                          timeout=20)
    assert (page.returncode, page.stderr) == (0, "")
    r = subprocess.run(["groff", "-mandoc", "-Tascii", "-ww", "-P-cbou"], input=page.stdout, capture_output=True,
                       text=True, timeout=20)
    assert (r.returncode, r.stderr) == (0, "")
    text = " ".join(r.stdout.split())
    assert "port add NAME switch NAME type guest|uplink|host [socket PATH] [mtu NUMBER]" in text
    assert "the mtu (68..9216 bytes; default 1500;" in text
    assert "EXIT STATUS" in text
