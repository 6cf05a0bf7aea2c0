"""Extensions as a third party makes them: `make install`, then the samples built out of tree with what pkg-config says,
by C and C++ compilers, and loaded into a daemon that moves packets."""

import subprocess

import pytest

from conftest import TOP, need
from ext_site import CHECKS, compile_extension, installed, pkg_environment, site  # noqa: F401  pylint: disable=unused-import

COMPILERS = ("gcc", "gcc -std=c11 -pedantic -fvisibility=hidden", "clang -std=c11 -pedantic", "g++ -std=c++20 -pedantic -x c++",
             "clang++ -std=c++20 -pedantic -x c++")


@pytest.fixture(scope="module")
def flags(installed):
    need(*(words.split()[0] for words in COMPILERS))
    r = subprocess.run(["pkg-config", "--cflags", "evswitch-extension"], capture_output=True, text=True, check=True,
                       env=pkg_environment(installed))
    assert r.stdout.split() == [f"-I{installed}/usr/local/include"]
    return r.stdout.split()


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("sample", CHECKS)
def test_samples(installed, flags, site, tmp_path, sample, compiler):
    source = installed / f"usr/local/share/doc/evswitch/samples/{sample}.c"
    path = compile_extension(source, tmp_path / f"{sample}.so", compiler, flags)
    symbols = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout.split()
    assert "evs_extension" in symbols and not any(s.startswith(("rte_", "evs_")) for s in symbols if s != "evs_extension")
    try:
        CHECKS[sample](site, path)
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
