"""Extensions as a third party makes them: `make install`, then the samples built out of tree with what pkg-config says,
by C and C++ compilers, and loaded into a daemon that moves packets."""

import os
import subprocess

import pytest

from conftest import BUILD, TOP, Daemon, Refused, need, wait_for
from ext_site import ExtSite, compile_extension

SAMPLES = ("no_telnet", "one_ttl", "quota")
COMPILERS = ("gcc", "gcc -std=c11 -pedantic -fvisibility=hidden", "clang -std=c11 -pedantic", "g++ -std=c++20 -pedantic -x c++",
             "clang++ -std=c++20 -pedantic -x c++")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where `make install` has put things."""
    need("make", "pkg-config", *(words.split()[0] for words in COMPILERS))
    to = tmp_path_factory.mktemp("installed")
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "PREFIX", "SAN")}
    r = subprocess.run(["make", "-s", "-C", TOP, f"BUILD={BUILD}", f"DESTDIR={to}", "install"], capture_output=True,
                       text=True, timeout=600, env=env)
    assert r.returncode == 0, r.stderr
    return to


@pytest.fixture(scope="module")
def flags(installed):
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(installed),
               PKG_CONFIG_PATH=str(installed / "usr/local/lib/pkgconfig"))
    r = subprocess.run(["pkg-config", "--cflags", "evswitch-extension"], capture_output=True, text=True, env=env,
                       check=True)
    assert r.stdout.split() == [f"-I{installed}/usr/local/include"]
    return r.stdout.split()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("daemon")
    s = ExtSite(lambda **options: Daemon(directory, **options))
    try:
        s.start()
        s.learn()
        yield s
        s.stop()
    finally:
        s.lan.daemon.destroy()
        s.destroy()


def check_no_telnet(site, path):
    from scapy.layers.inet import TCP, UDP
    site.load("x", path)
    assert site.who("vm1", "vm2", TCP(dport=23)) == []
    assert site.who("vm1", "vm2", TCP(dport=24)) == site.who("vm1", "vm2", UDP(dport=23)) == ["vm2"]
    assert site.who("vm1", "vm2", TCP(dport=23)) == []
    assert site.drops("x") == {"telnet is not allowed": 2}


def check_one_ttl(site, path):
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    site.load("x", path)
    for ttl in (64, 7, 8, 255, 64, 1, 200):
        sent = Ether(site.frame("vm1", "vm2", UDP(sport=1000, dport=2000)))
        sent[IP].ttl, sent[IP].chksum = ttl, None
        sent = bytes(sent)
        wanted = Ether(sent)
        wanted[IP].ttl, wanted[IP].chksum = 64, None
        assert site.reached("vm1", sent) == {"vm2": bytes(wanted)}, ttl
    assert site.show("x")["packets"] >= 7
    arp = Ether(dst=sent[:6], src=sent[6:12], type=0x88b5) / b"neither IPv4 nor anything else 12345678"
    assert site.reached("vm1", bytes(arp).ljust(60, b"8")) == {"vm2": bytes(arp).ljust(60, b"8")}


def check_quota(site, path):
    with pytest.raises(Refused, match="ext x: does not start: its configuration must be a number of bytes"):
        site.ctl("ext", "load", "x", "switch", "sw0", "path", path, "config", '"much"')
    n = len(site.frame("vm1", "vm2"))
    site.load("x", path, "config", str(3 * n))
    for _ in range(3):
        assert site.who("vm1", "vm2") == ["vm2"]
    for _ in range(3):
        assert site.who("vm1", "vm2") == []
    assert site.who("vm2", "vm1") == ["vm1"], "the other guest has its own"
    assert site.drops("x") == {"the guest has sent all that it may": 3}

    def asks_no_more():
        asked = site.show("x")["packets"]
        return site.who("vm1", "vm2") == [] and site.show("x")["packets"] == asked
    wait_for(asks_no_more, what="flows are dropped without a packet call")
    site.ctl("ext", "set", "x", "config", str(4 * n))
    assert site.who("vm1", "vm2") == ["vm2"]
    assert site.who("vm1", "vm2") == [], "what was used before counts on"


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_samples(installed, flags, site, tmp_path, sample, compiler):
    source = installed / f"usr/local/share/doc/evswitch/samples/{sample}.c"
    path = compile_extension(source, tmp_path / f"{sample}.so", compiler, flags)
    symbols = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout.split()
    assert "evs_extension" in symbols and not any(s.startswith(("rte_", "evs_")) for s in symbols if s != "evs_extension")
    try:
        globals()[f"check_{sample}"](site, path)
    finally:
        site.ctl("ext", "unload", "x")


def test_the_smallest_is_small():
    lines = (TOP / "ext/samples/no_telnet.c").read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("//")]) <= 15


def test_what_came_along_is_installed_and_trusted(installed, site):
    """The installed files are root's and nobody else's, and load as they are."""
    for name in ("steer",):
        path = installed / f"usr/local/lib/evswitch/{name}.so"
        site.load(name, path)
        assert site.show(name)["extension"] == name
        site.ctl("ext", "unload", name)


def test_the_header_needs_three_headers_only(installed, tmp_path):
    """And says so itself when it is compiled alone, in every language version that there is."""
    (tmp_path / "a.c").write_text("#include <evswitch/extension.h>\n")
    for words in ("gcc -std=c99 -x c", "gcc -std=c2x -x c", "clang -std=c99 -x c", "g++ -std=c++11 -x c++",
                  "clang++ -std=c++20 -x c++"):
        r = subprocess.run([*words.split(), "-Wall", "-Wextra", "-Werror", "-pedantic", "-H", "-fsyntax-only",
                            f"-I{installed}/usr/local/include", tmp_path / "a.c"], capture_output=True, text=True, check=False)
        assert r.returncode == 0, r.stderr
        direct = {line.split("/")[-1] for line in r.stderr.splitlines() if line.startswith(".. ")}
        assert direct <= {"stddef.h", "stdint.h", "stdbool.h"}, direct
