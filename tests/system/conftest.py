"""What system tests share: a daemon in a private run directory, evsctl, waiting, network namespaces.

    def test_switch(daemon):
        daemon.ctl("switch", "add", "sw0", "kind", "internal")
        assert daemon.ctl("switch", "show")[0]["name"] == "sw0"

    def test_ping(daemon, net):
        a, b = net.ns(), net.ns()
        inside, outside = net.veth(a)       # `inside` is in a, `outside` stays in the root namespace
        net.run(a, "ip", "addr", "add", "10.0.0.1/24", "dev", inside)

A test whose tool is missing calls need() or pytest.skip(); tests/run makes that a failure with CI=1.
"""

import atexit
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", TOP / "build"))


def for_everybody(program):
    """The program, or a copy where other users may run it: a checkout may be closed to them."""
    if os.geteuid() != 0 or all(d.stat().st_mode & 0o001 for d in program.resolve().parents):
        return str(program)
    directory = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.chmod(directory, 0o755)
    if (program.parent / "ext").is_dir():
        os.mkdir(Path(directory) / "ext")
        for so in (program.parent / "ext").glob("*.so"):
            shutil.copy(so, Path(directory) / "ext")
    return shutil.copy(program, directory)


EVSWITCHD = for_everybody(BUILD / "evswitchd")
EVSCTL = str(BUILD / "evsctl")
START_S = 30
# For workers. Of tests that run side by side (tests/run) each has one.
CORES = sorted(os.sched_getaffinity(0), reverse=True)
CORE = str(CORES[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % len(CORES)])
names = itertools.count()


def need(*tools):
    """Skips the test unless these programs are installed."""
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed: run tools/setup")


def wait_for(condition, deadline=10, what=None):
    """Calls condition() until it returns something true, and returns that."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline} s: {what or condition}"
        time.sleep(0.02)


def alive(pid):
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_gone(pid, deadline=10):
    wait_for(lambda: not alive(pid), deadline, f"process {pid} is gone")


class Refused(Exception):
    """evsctl ended with a status other than 0; the text is its stderr."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def evsctl(socket, *words, deadline=20, **more):
    """Runs evsctl -j and returns the parsed JSON of its stdout, None if there is none."""
    r = subprocess.run([EVSCTL, "-s", str(socket), "-j", *map(str, words)], capture_output=True, text=True,
                       timeout=deadline, **more)
    if r.returncode:
        raise Refused(r.returncode, r.stderr.strip())
    return json.loads(r.stdout) if r.stdout.strip() else None


class Daemon:
    """evswitchd in a directory of its own. `options` replace the usual ones of the same name."""

    def __init__(self, directory, **options):
        self.dir = Path(directory)
        self.socket = self.dir / "control.sock"
        self.log_path = self.dir / "log"
        self.options = {"run-dir": self.dir, "no-huge": True, "memory": 256, "cores": CORE} | {
            key.replace("_", "-"): value for key, value in options.items()}
        self.process = None

    def argv(self):
        words = [EVSWITCHD]
        for key, value in self.options.items():
            if value is True:
                words.append(f"--{key}")
            elif value is not None:
                words += [f"--{key}", str(value)]
        return words

    def launch(self, **more):
        """Starts it without waiting; returns a descriptor that can be read once it is ready."""
        ready, told = os.pipe()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.argv(), "--ready-fd", str(told)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, pass_fds=(told,), **more)
        os.close(told)
        return ready

    def start(self, **more):
        ready = self.launch(**more)
        select.select([ready], [], [], START_S)
        is_ready = os.read(ready, 16) == b"ready\n" if select.select([ready], [], [], 0)[0] else False
        os.close(ready)
        if not is_ready:
            try:
                status = f"status {self.process.wait(2)}"
            except subprocess.TimeoutExpired:
                status = f"still starting after {START_S} s"
            pytest.fail(f"evswitchd is not ready ({status}):\n{self.log()}")
        return self

    def ctl(self, *words, **more):
        return evsctl(self.socket, *words, **more)

    def refusal(self, *words):
        """The sentence with which the daemon refuses this."""
        with pytest.raises(Refused) as refused:
            self.ctl(*words)
        assert refused.value.status == 1, f"evsctl ended with {refused.value.status}: {refused.value}"
        return str(refused.value)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def pid(self):
        """Of the switch process."""
        return self.ctl("system", "show")[0]["pid"]

    def kill(self):
        """SIGKILL to the switch process only: the supervisor starts it again. Returns the new pid."""
        old = self.pid()
        os.kill(old, signal.SIGKILL)
        wait_gone(old)

        def new():
            assert self.process.poll() is None, f"the supervisor ended too:\n{self.log()}"
            try:
                return self.pid()
            except Refused:
                return None
        try:
            return wait_for(new, START_S, "the switch process is back")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None

    def stop(self):
        """A clean stop; whatever else it turns out to be fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert status == 0, f"evswitchd ended with status {status}:\n{self.log()}"

    def destroy(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def run_dir():
    """A directory whose name is short enough for sockets."""
    directory = tempfile.mkdtemp(prefix="evs-", dir="/tmp")
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make_daemon():
    """make_daemon(option=value…) → a Daemon that is not started; cleaned up after the test."""
    made = []

    def make(directory=None, **options):
        own = directory is None
        d = Daemon(directory or tempfile.mkdtemp(prefix="evs-", dir="/tmp"), **options)
        made.append((d, own))
        return d

    yield make
    for d, own in made:
        d.destroy()
        if own:
            shutil.rmtree(d.dir, ignore_errors=True)


@pytest.fixture
def daemon(make_daemon, request):
    """A daemon that runs, and must still stop cleanly after the test."""
    d = make_daemon().start()
    yield d
    d.stop()


class Net:
    """Network namespaces and veth pairs with names of their own."""

    def __init__(self):
        self.spaces, self.links = [], []

    @staticmethod
    def name():
        return f"ev{os.getpid()}x{next(names)}"

    def run(self, ns, *words, check=True, **more):
        """Runs a command in a namespace (None = here) and returns its stdout."""
        prefix = ["ip", "netns", "exec", ns] if ns else []
        r = subprocess.run([*prefix, *map(str, words)], capture_output=True, text=True, timeout=60, **more)
        assert not check or r.returncode == 0, f"{' '.join(map(str, words))}: {r.stdout}{r.stderr}"
        return r.stdout

    def popen(self, ns, *words, **more):
        prefix = ["ip", "netns", "exec", ns] if ns else []
        return subprocess.Popen([*prefix, *map(str, words)], **more)

    def ns(self):
        name = self.name()
        self.run(None, "ip", "netns", "add", name)
        self.spaces.append(name)
        self.run(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1",
                 check=False)
        self.run(name, "ip", "link", "set", "lo", "up")
        return name

    def veth(self, ns_a=None, ns_b=None, mtu=1500):
        """Two ends, up, each in its namespace (None = the root one)."""
        a, b = self.name(), self.name()
        self.run(None, "ip", "link", "add", a, "mtu", mtu, "type", "veth", "peer", "name", b, "mtu", mtu)
        self.links.append(a)
        for end, ns in ((a, ns_a), (b, ns_b)):
            if ns:
                self.run(None, "ip", "link", "set", end, "netns", ns)
            else:
                self.run(None, "sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1", check=False)
            self.run(ns, "ip", "link", "set", end, "up")
        return a, b

    def destroy(self):
        for name in self.spaces:
            self.run(None, "ip", "netns", "del", name, check=False)
        for name in self.links:
            self.run(None, "ip", "link", "del", name, check=False)


@pytest.fixture
def net():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    need("ip")
    n = Net()
    yield n
    n.destroy()
