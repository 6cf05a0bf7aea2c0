"""The daemon's frame: options, refusals, readiness, supervisor, clean stop, several instances."""

import ctypes
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import EVSWITCHD, START_S, alive, wait_for, wait_gone


def run(*words, **more):
    return subprocess.run([EVSWITCHD, *map(str, words)], capture_output=True, text=True, timeout=60, **more)


def refused(status, *words, **more):
    """The one line on stderr of a start that must end with this status."""
    r = run(*words, **more)
    assert r.returncode == status, r.stderr
    lines = r.stderr.splitlines()
    assert len(lines) == 1, r.stderr
    return lines[0]


# Options

def test_help_and_version():
    r = run("--help")
    assert r.returncode == 0 and "--run-dir DIR" in r.stdout and r.stderr == ""
    assert re.fullmatch(r"evswitchd \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize("words, sentence", [
    (["--nonsense"], "--nonsense: no such option"),
    (["--run-dir"], "--run-dir: the value is missing"),
    (["--memory", "1"], '--memory: "1" is not a number from 128'),
    (["--cores", "a"], '--cores: "a" is not a list of CPU numbers'),
    (["--log-level", "loud"], '--log-level: "loud" is not error'),
])
def test_wrong_option(words, sentence):
    assert sentence in refused(2, *words)


def test_ready_fd_must_be_open(run_dir):
    assert "--ready-fd 99: is not an open descriptor" in refused(2, "--run-dir", run_dir, "--ready-fd", 99)


# Refusals: one sentence, status 3, nothing is tried again

@pytest.mark.parametrize("words, sentence", [
    (["--memory", "1048576"], "memory: 1048640 MB are needed"),
    (["--cores", "1000"], "--cores: CPU 1000 does not exist or is not allowed"),
    (["--cores", "0,0"], "--cores: CPU 0 is there twice"),
    (["--state-dir", "/proc/nowhere"], "state directory /proc/nowhere: cannot be made"),
])
def test_refused(run_dir, words, sentence):
    assert sentence in refused(3, "--run-dir", run_dir, "--no-huge", *words)


def test_cpu_outside_the_affinity_is_refused(run_dir):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    line = refused(3, "--run-dir", run_dir, "--cores", cpus[1],
                   preexec_fn=lambda: os.sched_setaffinity(0, {cpus[0]}))
    assert f"CPU {cpus[1]} does not exist or is not allowed for this process, which may use {cpus[0]}" in line


def test_run_dir_is_a_file(run_dir):
    (run_dir / "file").touch()
    assert f"run directory {run_dir}/file: is not a directory" in refused(3, "--run-dir", run_dir / "file")


def test_run_dir_without_a_parent(run_dir):
    assert "cannot be made: no such file or directory" in refused(3, "--run-dir", run_dir / "a/b")


def test_run_dir_too_long(run_dir):
    assert "choose a shorter --run-dir" in refused(3, "--run-dir", run_dir / ("x" * 100))


def test_run_dir_not_writable(run_dir):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    run_dir.chmod(0o755)
    line = refused(3, "--run-dir", run_dir, user=65534, group=65534, extra_groups=[])
    assert f"run directory {run_dir}: cannot be written: permission denied; it is owned by uid 0 (0755)" in line


def test_damaged_state_is_refused(run_dir):
    (run_dir / "state.db").write_bytes(b"this is no database" * 1000)
    assert str(run_dir / "state.db") in refused(3, "--run-dir", run_dir, "--no-huge", "--memory", "256")
    assert (run_dir / "state.db").read_bytes() == b"this is no database" * 1000


def test_second_daemon_in_the_same_directory(daemon):
    line = refused(3, "--run-dir", daemon.dir, "--no-huge", "--memory", "256")
    assert f"run directory {daemon.dir}: another evswitchd (pid {daemon.process.pid}) uses it" in line
    assert daemon.pid()


# Running

def test_show(daemon):
    row, = daemon.ctl("system", "show")
    assert row["supervisor"] == daemon.process.pid
    assert Path(f"/proc/{row['pid']}/comm").read_text() == "evswitchd\n"
    assert (row["memory_mb"], row["pages"], row["run_dir"]) == (256, "ordinary", str(daemon.dir))
    assert row["state"] == f"{daemon.dir}/state.db" and Path(row["state"]).exists()
    assert row["cores"] == [int(daemon.options["cores"])]
    assert "evswitchd: ready (1 worker, 256 MB in ordinary pages" in daemon.log()


def test_everything_is_in_the_run_dir(daemon):
    prefix = str(daemon.dir)
    for fd in Path(f"/proc/{daemon.pid()}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        ours = not target.startswith("/") or target.startswith((prefix, "/dev/", "/proc/", "/sys/", "/memfd:"))
        assert ours, target


def test_control_threads_leave_the_workers_cpu_alone(daemon):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    core = int(daemon.options["cores"])
    names = {}
    for task in Path(f"/proc/{daemon.pid()}/task").iterdir():
        names[(task / "comm").read_text().strip()] = os.sched_getaffinity(int(task.name))
    workers = {n: cpus for n, cpus in names.items() if n.startswith("evs-worker")}
    assert list(workers.values()) == [{core}], names
    assert all(core not in cpus for n, cpus in names.items() if n not in workers), names


def test_log_level(daemon):
    daemon.ctl("system", "set", "log-level", "debug")
    assert daemon.ctl("system", "show")[0]["log_level"] == "debug"
    assert "log-level" in daemon.refusal("system", "set", "log-level", "loud")
    assert daemon.ctl("system", "show")[0]["log_level"] == "debug"


def test_two_instances_side_by_side(make_daemon):
    a, b = make_daemon().start(), make_daemon(memory=128).start()
    assert a.pid() != b.pid()
    a.stop()
    assert b.ctl("system", "show")[0]["memory_mb"] == 128
    b.stop()


def test_ordinary_user():
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    directory = Path(tempfile.mkdtemp(prefix="evs-", dir="/tmp"))
    os.chown(directory, 65534, 65534)
    ready, told = os.pipe()
    p = subprocess.Popen([EVSWITCHD, "--run-dir", directory, "--no-huge", "--memory", "256", "--ready-fd", str(told)],
                         pass_fds=(told,), stderr=subprocess.PIPE, text=True, user=65534, group=65534,
                         extra_groups=[])
    os.close(told)
    try:
        assert os.read(ready, 16) == b"ready\n", p.stderr.read()
        p.terminate()
        assert p.wait(15) == 0
    finally:
        p.kill()
        p.wait()
        os.close(ready)
        subprocess.run(["rm", "-rf", directory], check=True)


HUGE = Path("/sys/devices/system/node")


def free_huge_pages():
    return sum(int(f.read_text()) for f in HUGE.glob("node0/hugepages/hugepages-2048kB/free_hugepages"))


def test_too_few_huge_pages(make_daemon):
    free = free_huge_pages()
    d = make_daemon(no_huge=None, memory=2 * free + 256).start()
    assert f"--memory {2 * free + 256} needs {free + 128}: using ordinary pages" in d.log()
    assert d.ctl("system", "show")[0]["pages"] == "ordinary"
    d.stop()


def test_huge_pages(make_daemon):
    """With pages that the machine gives; one that gives none must run all the same."""
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = int(pool.read_text())
    try:
        pool.write_text(str(before + 64))
        expected = "huge" if free_huge_pages() >= 64 else "ordinary"
        d = make_daemon(no_huge=None, memory=128).start()
        assert d.ctl("system", "show")[0]["pages"] == expected
        d.stop()
    finally:
        pool.write_text(str(before))


# The end

@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop(daemon, signum):
    pid = daemon.pid()
    daemon.process.send_signal(signum)
    assert daemon.process.wait(15) == 0
    assert not alive(pid)
    assert not daemon.socket.exists()
    assert "evswitchd: stopped" in daemon.log()


def test_sighup_is_ignored(daemon):
    pid = daemon.pid()
    os.kill(pid, signal.SIGHUP)
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.pid() == pid


def test_clean_stop_of_the_switch_process_ends_both(daemon):
    os.kill(daemon.pid(), signal.SIGTERM)
    assert daemon.process.wait(15) == 0


def test_killed_supervisor_takes_the_switch_with_it(make_daemon):
    d = make_daemon().start()
    pid = d.pid()
    d.process.kill()
    d.process.wait()
    wait_gone(pid)
    d.start()  # the lock is free again
    d.stop()


def test_successor_waits_for_a_dying_predecessor(make_daemon):
    first = make_daemon().start()
    second = make_daemon(first.dir)
    first.process.terminate()
    second.start()
    assert first.process.wait(15) == 0
    second.stop()


def test_crashed_switch_is_restarted(daemon):
    first = daemon.pid()
    second = daemon.kill()
    third = daemon.kill()
    assert len({first, second, third}) == 3
    assert daemon.process.poll() is None
    log = daemon.log()
    assert log.count("the switch process ended by signal 9 (Killed)") == 2
    assert "starting it again in 0 ms" in log


def test_objects_survive_a_crash_and_a_restart(daemon):
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    daemon.kill()
    assert [row["name"] for row in daemon.ctl("switch", "show")] == ["sw0"]
    daemon.stop()
    daemon.start()
    assert [row["name"] for row in daemon.ctl("switch", "show")] == ["sw0"]


def test_stop_answers_what_is_under_way(daemon):
    """A client that changes things without a pause: all that was acknowledged is there afterwards."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(daemon.socket))
    answers = client.makefile()
    acknowledged = set()

    def add(i):
        request = {"jsonrpc": "2.0", "id": i, "method": "switch.add", "params": {"name": f"s{i}", "kind": "internal"}}
        client.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(answers.readline())
        if "result" in answer:
            acknowledged.add(f"s{i}")

    for i in range(20):
        add(i)
    daemon.process.terminate()
    with pytest.raises((OSError, json.JSONDecodeError)):  # the socket is closed in the end
        for i in itertools.count(20):
            add(i)
    assert daemon.process.wait(15) == 0
    assert len(acknowledged) >= 20
    daemon.start()
    assert {row["name"] for row in daemon.ctl("switch", "show")} == acknowledged


def test_stop_during_the_back_off(daemon):
    while "starting it again in 400 ms" not in daemon.log():  # at once, 100, 200, then this
        pid = daemon.pid()
        lines = daemon.log().count("starting it again")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: daemon.log().count("starting it again") > lines)
        if "starting it again in 400 ms" not in daemon.log():
            wait_for(lambda: daemon.log().count("evswitchd: ready") > lines + 1, START_S)
    daemon.process.terminate()
    assert daemon.process.wait(15) == 0


def test_crash_before_ready_is_not_repeated(make_daemon):
    d = make_daemon()
    os.close(d.launch())
    children = Path(f"/proc/{d.process.pid}/task/{d.process.pid}/children")
    pid = int(wait_for(lambda: children.read_text().split(), what="a switch process")[0])
    os.kill(pid, signal.SIGKILL)
    assert d.process.wait(START_S) == 1
    assert "the switch process ended by signal 9 (Killed) before it was ready" in d.log()


def test_stuck_switch_is_killed(daemon):
    pid = daemon.pid()
    os.kill(pid, signal.SIGSTOP)
    daemon.process.terminate()
    assert daemon.process.wait(15) == 1
    assert not alive(pid)
    assert "did not stop within 5 s and is killed" in daemon.log()
    daemon.start()  # the fixture wants something to stop


# systemd

class Notify:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, directory):
        self.path = str(Path(directory) / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)

    def wait(self, word, deadline=START_S):
        """Reads until a message has this line; returns its lines."""
        self.socket.settimeout(deadline)
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            if word in lines:
                return lines

    def waiting(self):
        """All messages that are there."""
        messages = []
        self.socket.setblocking(False)
        try:
            while True:
                messages.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return messages


class Held:
    """Holds one thread of a process, as a debugger does, while the others run."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(self, request):
        if self.libc.ptrace(request, self.tid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")

    def __enter__(self):
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_):
        self.ptrace(self.DETACH)


@pytest.fixture
def notified(make_daemon):
    d = make_daemon()
    notify = Notify(d.dir)
    d.start(env=os.environ | {"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "600000"})
    yield d, notify
    notify.socket.close()
    d.stop()


def test_notify(notified):
    d, notify = notified
    assert f"MAINPID={d.process.pid}" in notify.wait("READY=1")
    notify.wait("WATCHDOG=1")
    d.process.terminate()
    notify.wait("STOPPING=1")


def test_watchdog_is_silent_while_a_worker_is_stuck(notified):
    d, notify = notified
    notify.wait("WATCHDOG=1")
    worker, = [t for t in Path(f"/proc/{d.pid()}/task").iterdir()
               if (t / "comm").read_text().startswith("evs-worker")]

    def looks():
        return d.log().count("worker 0 on CPU")

    with Held(int(worker.name)):
        wait_for(looks)
        notify.waiting()
        wait_for(lambda: looks() > 2)
        assert notify.waiting() == []
    notify.wait("WATCHDOG=1")
