"""The extension guide's promise: its code compiles, its commands print what it says, and its extensions do so."""

import os
import re
import subprocess

import pytest

from conftest import BUILD, TOP, Daemon, need
from ext_site import MAC, ExtSite, compile_extension, installed, pkg_environment  # noqa: F401  pylint: disable=unused-import
from test_readme import shape

GUIDE = (TOP / "docs/extension-guide.md").read_text()
SAMPLES = sorted((TOP / "ext/samples").glob("*.c"))
CODE = re.findall(r"^```c\n(.*?)^```$", GUIDE, re.M | re.S)


def console():
    """The commands with the output that the guide shows."""
    steps = []
    for block in re.findall(r"^```console\n(.*?)^```$", GUIDE, re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in steps]


@pytest.fixture(scope="module")
def signed_site(tmp_path_factory):
    """A daemon that loads signed files only."""
    need("openssl")
    directory = tmp_path_factory.mktemp("daemon")
    site = ExtSite(lambda **options: Daemon(directory, **options), allow_unsigned=None)
    trusted = site.dir / "trusted.d"
    trusted.mkdir(mode=0o755)
    site.lan.daemon.options["trusted-dir"] = trusted
    try:
        site.start()
        site.learn()
        yield site
        site.stop()
    finally:
        site.lan.daemon.destroy()
        site.destroy()


def test_tour(installed, signed_site):
    site = signed_site
    for sample in SAMPLES:
        (site.dir / sample.name).write_text(sample.read_text())
    env = pkg_environment(installed) | {"EVS_SOCKET": str(site.daemon.socket), "PATH": f"{BUILD}:{os.environ['PATH']}"}
    steps = console()
    assert len(steps) > 15
    for command, shown in steps:
        r = subprocess.run(["bash", "-c", command.replace("/etc/evswitch/trusted.d", str(site.dir / "trusted.d"))],
                           capture_output=True, text=True, timeout=60, env=env, cwd=site.dir, check=False)
        out = (r.stdout + r.stderr).replace(str(site.dir), "/root")
        counting = command.startswith("evsctl ext show")
        assert shape(out, counting) == shape(shown, counting), command
        assert r.returncode == ("evsctl: " in shown), command


def test_the_samples_are_shown_as_they_are():
    assert all(sample.read_text() in CODE for sample in SAMPLES)


@pytest.mark.parametrize("code", CODE, ids=range(len(CODE)))
@pytest.mark.parametrize("compiler", ["gcc", "clang++ -std=c++20 -x c++"])
def test_code_compiles(tmp_path, code, compiler):
    (tmp_path / "a.c").write_text(code)
    compile_extension(tmp_path / "a.c", tmp_path / "a.so", compiler)


def test_the_example_that_marks(signed_site):
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether
    site = signed_site
    (site.dir / "mark.c").write_text(next(code for code in CODE if '"mark"' in code))
    path = compile_extension(site.dir / "mark.c", site.dir / "mark.so")
    key = site.dir / "guide.pem"
    for words in (["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], ["chmod", "600", key],
                  ["openssl", "pkey", "-in", key, "-pubout", "-out", site.dir / "trusted.d/guide.pem"],
                  [BUILD / "evs-sign", key, path]):
        subprocess.run(words, check=True, capture_output=True)
    site.load("mark", path)
    assert site.show("mark")["signer"] == "guide"
    frame = Ether(site.frame("vm1", "vm2"))
    wanted = Ether(bytes(frame))
    wanted[IP].tos, wanted[IP].chksum = 46 << 2, None
    assert site.reached("vm1", bytes(frame)) == {"vm2": bytes(wanted)}
    frame[IP].dst, frame[IP].chksum = "192.0.2.1", None
    assert site.reached("vm1", bytes(frame)) == {"vm2": bytes(frame)}
    site.ctl("ext", "unload", "mark")


def test_contents():
    """The list at its begin has every section, in order; the second is the promise."""
    titles = re.findall(r"^## (.*)$", GUIDE, re.M)
    assert re.findall(r"^- \[(.*)\]\(#(.*)\)$", GUIDE, re.M) == [(t, t.lower().replace(" ", "-").replace(",", "")) for t in titles]
    assert titles[1] == "The promise" and MAC["vm1"] in GUIDE
