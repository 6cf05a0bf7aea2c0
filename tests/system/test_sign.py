"""evs-sign: openssl, which knows nothing of it, is the judge of its signatures."""

import os
import pty
import select
import subprocess

import pytest

from conftest import BUILD, TOP, need

EVS_SIGN = str(BUILD / "evs-sign")


def run(*words, **more):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, **more)


def openssl(*words):
    r = run("openssl", *words)
    assert r.returncode == 0, f"openssl {words}: {r.stderr}"
    return r.stdout


def verifies(public, path, signature=None):
    r = run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", path,
            "-sigfile", signature or f"{path}.sig")
    assert (r.returncode == 0) == ("Signature Verified Successfully" in r.stdout), r.stdout + r.stderr
    return r.returncode == 0


def refused(*words):
    """The sentence with which evs-sign refuses this."""
    r = run(EVS_SIGN, *words)
    assert r.returncode == 1 and r.stdout == "", (r.returncode, r.stdout)
    assert r.stderr.startswith("evs-sign: ") and r.stderr.count("\n") == 1, r.stderr
    return r.stderr[len("evs-sign: "):-1]


@pytest.fixture
def at(tmp_path):
    """A directory with a key of the maker, its public half and a file to sign."""
    need("openssl")
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key.pem")
    os.chmod(tmp_path / "key.pem", 0o600)
    openssl("pkey", "-in", tmp_path / "key.pem", "-pubout", "-out", tmp_path / "public.pem")
    (tmp_path / "fw.so").write_bytes(os.urandom(300_000))
    return tmp_path


def test_openssl_verifies_what_was_signed(at):
    r = run(EVS_SIGN, at / "key.pem", at / "fw.so")
    assert (r.returncode, r.stdout, r.stderr) == (0, "", "")
    assert sorted(os.listdir(at)) == ["fw.so", "fw.so.sig", "key.pem", "public.pem"]
    assert (at / "fw.so.sig").stat().st_mode & 0o777 == 0o644
    assert verifies(at / "public.pem", at / "fw.so")
    openssl("pkeyutl", "-sign", "-inkey", at / "key.pem", "-rawin", "-in", at / "fw.so", "-out", at / "theirs")
    assert (at / "fw.so.sig").read_bytes() == (at / "theirs").read_bytes()
    with open(at / "fw.so", "r+b") as f:
        f.seek(200_000)
        byte = f.read(1)[0]
        f.seek(200_000)
        f.write(bytes([byte ^ 1]))
    assert not verifies(at / "public.pem", at / "fw.so")


def test_signed_again(at):
    assert run(EVS_SIGN, at / "key.pem", at / "fw.so").returncode == 0
    (at / "old").write_bytes((at / "fw.so").read_bytes())
    (at / "fw.so").write_bytes(b"version 2")
    # whoever has the old signature open goes on with all of it: it is replaced, not written over
    with open(at / "fw.so.sig", "rb") as old:
        assert run(EVS_SIGN, at / "key.pem", at / "fw.so").returncode == 0
        (at / "old.sig").write_bytes(old.read())
    assert verifies(at / "public.pem", at / "fw.so")
    assert verifies(at / "public.pem", at / "old")


def test_relative_names_and_links(at):
    (at / "sub").mkdir()
    os.symlink("../fw.so", at / "sub/link.so")
    assert run(EVS_SIGN, "../key.pem", "link.so", cwd=at / "sub").returncode == 0
    assert os.listdir(at / "sub") == ["link.so"]
    assert verifies(at / "public.pem", at / "fw.so")


def test_key_with_passphrase(at):
    openssl("pkey", "-in", at / "key.pem", "-aes256", "-passout", "pass:secret", "-out", at / "locked.pem")
    os.chmod(at / "locked.pem", 0o600)
    for word, status in ("secret", 0), ("wrong", 1):
        child, terminal = pty.fork()
        if child == 0:
            os.execv(EVS_SIGN, [EVS_SIGN, str(at / "locked.pem"), str(at / "fw.so")])
        shown = b""
        while b"pass phrase:" not in shown:
            assert select.select([terminal], [], [], 30)[0], shown
            shown += os.read(terminal, 1000)
        os.write(terminal, word.encode() + b"\n")
        try:
            while select.select([terminal], [], [], 30)[0]:
                shown += os.read(terminal, 1000)
        except OSError:  # it has ended
            pass
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status, shown
        os.close(terminal)
        assert (b"wrong passphrase?" in shown) == (status == 1), shown
        if status == 0:
            assert verifies(at / "public.pem", at / "fw.so")


@pytest.mark.parametrize("kind", [["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], ["ED448"], ["X25519"],
                                  ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]])
def test_keys_of_other_kinds(at, kind):
    openssl("genpkey", "-algorithm", *kind, "-out", at / "other.pem")
    assert refused(at / "other.pem", at / "fw.so") == (
        f"{at}/other.pem: the key is of the kind {kind[0]}, and extensions are signed with Ed25519; "
        "make one with 'openssl genpkey -algorithm ed25519 -out KEY.pem'")
    assert not (at / "fw.so.sig").exists()


def test_what_is_no_key(at):
    for name in "public.pem", "fw.so":
        assert refused(at / name, at / "fw.so") == (
            f"{at}/{name}: there is no private key in PEM that can be read (wrong passphrase?); "
            "make one with 'openssl genpkey -algorithm ed25519 -out KEY.pem'")
    assert refused(at / "none.pem", at / "fw.so") == f"{at}/none.pem: cannot read the key: no such file or directory"


def test_key_that_others_can_read(at):
    os.chmod(at / "key.pem", 0o640)
    r = run(EVS_SIGN, at / "key.pem", at / "fw.so")
    assert r.returncode == 0 and verifies(at / "public.pem", at / "fw.so")
    assert r.stderr == (f"evs-sign: warning: {at}/key.pem: others can use the key (mode 0640); "
                        f"chmod 600 {at}/key.pem\n")


def test_files_that_would_not_be_loaded(at):
    os.mkfifo(at / "fifo")
    (at / "empty").touch()
    with open(at / "huge", "wb") as f:
        f.truncate((64 << 20) + 1)
    for name, why in {"fifo": "only a regular file can be signed", ".": "only a regular file can be signed",
                      "empty": "it is empty", "none": "cannot read it: no such file or directory",
                      "huge": "it has more than 64 MiB, which evswitchd would not load"}.items():
        assert refused(at / "key.pem", f"{at}/{name}") == f"{at}/{name}: {why}"
    with open(at / "huge", "r+b") as f:
        f.truncate(64 << 20)
    assert run(EVS_SIGN, at / "key.pem", at / "huge").returncode == 0
    assert verifies(at / "public.pem", at / "huge")


def test_nothing_is_left_if_it_can_not_be_written(at):
    (at / "fw.so.sig").mkdir()
    assert refused(at / "key.pem", at / "fw.so") == (
        f"{at}/fw.so.sig: cannot write the signature: is a directory")
    assert sorted(os.listdir(at)) == ["fw.so", "fw.so.sig", "key.pem", "public.pem"]


def test_help_version_and_wrong_usage(at):
    r = run(EVS_SIGN, "--help")
    assert r.returncode == 0 and r.stderr == ""
    for word in "usage: evs-sign KEY.pem FILE", "FILE.sig", "--version", "trusted.d", "Exit status":
        assert word in r.stdout
    version = run(BUILD / "evsctl", "--version").stdout.replace("evsctl", "evs-sign")
    assert (run(EVS_SIGN, "--version").stdout, run(EVS_SIGN, "-V").returncode) == (version, 0)
    for words in [], ["key.pem"], ["key.pem", "a", "b"], ["--verify", "key.pem", "a"]:
        r = run(EVS_SIGN, *words)
        assert r.returncode == 2 and r.stdout == "" and r.stderr, words


def test_manual():
    need("groff")
    page = (TOP / "docs/man/evs-sign.1").read_text()
    r = run("groff", "-mandoc", "-Tascii", "-ww", "-P-cbou", input=page)
    assert r.returncode == 0 and r.stderr == "" and "evs-sign KEY.pem FILE" in r.stdout


def test_commands_of_the_manual_work(at):
    """Its examples, as they are printed, but for the places where a host keeps things."""
    page = (TOP / "docs/man/evs-sign.1").read_text().split(".Sh EXAMPLES")[1]
    commands = [line for line in page.splitlines() if line.startswith(("(umask", "openssl", "evs-sign", "install"))]
    assert len(commands) == 7
    script = "\n".join(commands).replace(" /etc/", " etc/").replace(" /opt/", " opt/")
    r = run("bash", "-euc", script, cwd=at, env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}"})
    assert r.returncode == 0 and "Signature Verified Successfully" in r.stdout, r.stdout + r.stderr
    assert verifies(at / "etc/evswitch/trusted.d/maker.pem", at / "opt/evswitch/fw.so")
