"""`system doctor` on machines that are broken in one way: it says so, and what it says to type mends it."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest
from conftest import EVSCTL, need, wait_for
from guest import Guest

USER = "daemon"  # stands for the hypervisor's: every Debian has it


def examine(daemon, *words):
    """{check: row}"""
    rows = {row["check"]: row for row in daemon.ctl("system", "doctor", *words)}
    findings = [row for row in rows.values() if not row["fine"] and row["check"] != "in sum"]
    assert rows["in sum"]["found"] == f"{len(findings)} of {len(rows) - 1} have something to fix"
    assert rows["in sum"]["fine"] == (not findings)
    for row in findings:
        assert row["fix"], row
    return rows


def sockets(daemon):
    """Findings about sockets, as USER."""
    return {name: row for name, row in examine(daemon, "user", USER).items()
            if name.startswith("socket of ") and not row["fine"]}


def type_it(daemon, text):
    """Runs what doctor says, as a person would in a shell."""
    env = dict(os.environ, EVS_SOCKET=str(daemon.socket), PATH=f"{Path(EVSCTL).parent}:{os.environ['PATH']}")
    subprocess.run(["sh", "-ec", text], check=True, env=env, timeout=20)


@pytest.fixture
def site(daemon):
    if os.geteuid() != 0:
        pytest.skip("files of other users need root")
    daemon.dir.chmod(0o755)
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    return daemon


def add(daemon, name, socket, mode="client"):
    daemon.ctl("port", "add", name, "switch", "sw0", "type", "guest", "socket", socket, "mode", mode)


def own_dir(site, name, mode=0o755, user=USER):
    path = site.dir / name
    path.mkdir(mode=0o755, parents=True)
    path.chmod(mode)
    if user:
        os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    return path


def test_a_sound_site(site):
    add(site, "vm1", own_dir(site, "guests") / "vm1.sock")
    rows = examine(site, "user", USER)
    assert rows["sockets"]["found"] == f"of 1, 0 are connected, and {USER} can use the others"
    for name in ("memory", "processor", "open descriptors", "locked memory", "CPUs", "space for the state",
                 "space for shared memory", "memory of guests", "DPDK devices", "ports in mode client"):
        assert rows[name]["fine"], rows[name]
    assert f"CPU {site.options['cores']} of worker 0" in rows


def test_a_closed_directory(site):
    guests = own_dir(site, "guests")
    closed = own_dir(site, "closed", 0o700, None)
    add(site, "vm1", closed / "deeper" / "vm1.sock")
    add(site, "vm2", guests / "vm2.sock")
    os.mkdir(closed / "deeper")
    os.chown(closed / "deeper", pwd.getpwnam(USER).pw_uid, -1)
    (name, row), = sockets(site).items()
    assert name == "socket of vm1" and f"directory {closed} is root:root (0700)" in row["found"]
    type_it(site, row["fix"])
    assert not sockets(site)


@pytest.mark.parametrize("there", ["there", "it's; $(there)"])
def test_a_missing_directory(site, there):
    add(site, "vm1", site.dir / "not" / there / "vm1.sock")
    row = sockets(site)["socket of vm1"]
    assert f"there is no directory {site.dir}/not" in row["found"]
    type_it(site, row["fix"])
    assert not sockets(site)


def test_qemu_may_not_make_its_socket(site):
    add(site, "vm1", site.dir / "vm1.sock")
    row = sockets(site)["socket of vm1"]
    assert f"{USER} may not make its socket in {site.dir}, which is root:root (0755)" in row["found"]
    type_it(site, row["fix"].replace("/var/lib/evswitch-guests", str(site.dir / "guests")))
    assert site.ctl("port", "show", "vm1")[0]["detail"]["socket"] == f"{site.dir}/guests/vm1.sock"
    assert not sockets(site)


def test_qemu_may_not_connect(site):
    add(site, "vm1", site.dir / "vm1.sock", "server")
    row = sockets(site)["socket of vm1"]
    assert f"{USER} may not connect to {site.dir}/vm1.sock, which is root:root" in row["found"]
    type_it(site, row["fix"].replace("/var/lib/evswitch-guests", str(site.dir / "guests")))
    assert site.ctl("port", "show", "vm1")[0]["detail"]["mode"] == "client"
    assert not sockets(site)


def test_rights_given_to_a_user_or_by_the_mode_count(site):
    add(site, "vm1", site.dir / "vm1.sock", "server")
    assert sockets(site)
    (site.dir / "vm1.sock").chmod(0o777)
    assert not sockets(site)


def test_no_such_user(site):
    assert "user no-one-here: no such user" in site.refusal("system", "doctor", "user", "no-one-here")


def test_something_else_stands_in_the_sockets_place(site):
    path = own_dir(site, "guests") / "vm1.sock"
    path.write_text("")
    add(site, "vm1", path)
    row = sockets(site)["socket of vm1"]
    assert "not a socket" in row["found"]
    type_it(site, row["fix"])
    assert not sockets(site)


def test_descriptors_run_out(site):
    def limit():
        return examine(site)["open descriptors"]

    used = int(limit()["found"].split()[0])
    subprocess.run(["prlimit", "--pid", str(site.pid()), f"--nofile={used + 60}:"], check=True)
    assert not limit()["fine"] and limit()["found"].startswith(f"{used} of {used + 60}")
    type_it(site, limit()["fix"])
    assert limit()["fine"]


def test_no_huge_pages(make_daemon):
    """A private view of /sys says that none is free; all others of the machine keep theirs."""
    need("unshare", "mount")
    if os.geteuid() != 0:
        pytest.skip("a private /sys needs root")
    free = Path("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages")
    if not free.exists():
        pytest.skip("this kernel has no pages of 2 MB")
    d = make_daemon(no_huge=None)
    (d.dir / "none").write_text("0\n")
    plain = d.argv
    d.argv = lambda: ["unshare", "--mount", "sh", "-ec", f'mount --bind {d.dir}/none {free}; exec "$@"', "sh", *plain()]
    d.start()
    total = int((free.parent / "nr_hugepages").read_text())
    row = examine(d)["huge pages"]
    assert not row["fine"]
    assert "0 of 2 MB are free on NUMA node 0, --memory 256 needs 128" in row["found"]
    assert row["fix"].startswith(f"echo {total + 128} > {free.parent}/nr_hugepages # ")
    assert "huge pages: 0 of 2 MB are free" in d.log()
    d.stop()


def test_a_full_state_directory(make_daemon):
    need("unshare", "mount")
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    d = make_daemon()
    small = d.dir / "small"
    small.mkdir()
    d.options["state-dir"] = small
    plain = d.argv
    d.argv = lambda: ["unshare", "--mount", "sh", "-ec", f'mount -t tmpfs -o size=8M none {small}; exec "$@"', "sh",
                      *plain()]
    d.start()
    row = examine(d)["space for the state"]
    assert not row["fine"] and row["found"].startswith(f"{small}: ")
    d.stop()


def test_memory_that_is_not_shared(site):
    add(site, "vm1", site.dir / "vm1.sock")
    private = "-object memory-backend-ram,id=private,size=128M -machine memory-backend=private"
    with Guest(site.dir, "vm1", site.dir / "vm1.sock", "02:00:00:00:00:11", "10.0.0.11/24", qemu=private):
        row = wait_for(lambda: examine(site).get("memory of vm1's guest"), 60, "the guest's memory is a finding")
        assert "not shared" in row["found"]
        assert "memory-backend-memfd" in site.ctl("port", "qemu-args", "vm1")["text"]


def test_memory_that_is_shared(site):
    add(site, "vm1", site.dir / "vm1.sock")
    with Guest(site.dir, "vm1", site.dir / "vm1.sock", "02:00:00:00:00:11", "10.0.0.11/24"):
        wait_for(lambda: site.ctl("port", "show", "vm1")[0]["state"] == "up", 60, "vm1 is up")
        rows = examine(site, "user", USER)
        assert rows["memory of guests"]["found"].startswith("1 share theirs, some of it in ordinary pages")
        assert rows["sockets"]["found"].startswith("of 1, 1 is connected")


def tree(directory):
    return {str(p): (p.lstat().st_mode, p.lstat().st_uid, p.lstat().st_mtime_ns) for p in Path(directory).rglob("*")
            if p.name != "log"}


def test_it_changes_nothing(site):
    add(site, "vm1", site.dir / "none" / "vm1.sock")
    add(site, "vm2", own_dir(site, "closed", 0o700, None) / "vm2.sock")
    add(site, "vm3", site.dir / "vm3.sock", "server")
    before = site.ctl("config", "show"), tree(site.dir)
    for _ in range(3):
        examine(site, "user", USER)
    assert (site.ctl("config", "show"), tree(site.dir)) == before


def test_a_hundred_broken_ports(site):
    for i in range(100):
        add(site, f"vm{i}", site.dir / "none" / f"vm{i}.sock")
    rows = examine(site, "user", USER)
    assert sum(name.startswith("socket of ") for name in rows) == 20
    assert "80 more ports were not looked at" in rows["sockets"]["found"]
