"""What all rows share: the machine (cores, huge pages), processes that are surely stopped, rows of results."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", TOP / "build")).resolve()
HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
HUGE_PAGES = 1024
MEMORY_MB = 256  # of each process that runs DPDK
GENERATOR_CORE, SWITCH_CORE = 0, 1


class Trouble(Exception):
    """A sentence: what could not be measured and why."""


class Row:
    def __init__(self, name):
        self.name, self.results, self.notes, self.samples = name, [], [], {}

    def bound(self, what, value, bound, at_least, tenths=None, n=1):
        """tenths: 10th percentile, median and 90th percentile of the n values that `value` stands for."""
        self.results.append({"row": self.name, "what": what, "value": value, "bound": bound, "at_least": at_least,
                             "low": tenths[0] if tenths else value, "high": tenths[2] if tenths else value, "n": n,
                             "passed": value >= bound if at_least else value <= bound})

    def note(self, text):
        self.notes.append(text)


def fingerprint():
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "load": os.getloadavg(),
            "huge_pages": use_huge()}


def use_huge():
    """The same answer for all processes of a run, so that both sides of a comparison have the same pages."""
    return use_huge.answer


use_huge.answer = False


def take_huge_pages():
    try:
        free = int((HUGE / "free_hugepages").read_text())
        if free < HUGE_PAGES:
            total = int((HUGE / "nr_hugepages").read_text())
            (HUGE / "nr_hugepages").write_text(str(total + HUGE_PAGES - free))
        use_huge.answer = int((HUGE / "free_hugepages").read_text()) >= HUGE_PAGES
    except OSError:
        pass


def prepare():
    for program in ("evswitchd", "evsctl"):
        if not os.access(BUILD / program, os.X_OK):
            raise Trouble(f"{BUILD}/{program} is not there: run make, or set BUILD")
    if not {GENERATOR_CORE, SWITCH_CORE} <= os.sched_getaffinity(0):
        raise Trouble("needs CPUs 0 and 1")
    take_huge_pages()
    print(f"bench: {'2 MB' if use_huge() else 'ordinary'} pages, load average {os.getloadavg()[0]:.1f}")
    if not go_first():
        print("bench: not root: other programs get their full share of both cores")


def go_first(pid="self"):
    """Whatever else this machine does shall take little of the two cores. Each session has a niceness of its own."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text("-20")
    except OSError:
        return False
    return True


def go_as_before():
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("0")


class Process:
    """A child in a session of its own, with its children; its output goes to a file."""

    def __init__(self, argv, log, **more):
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(argv, **({"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out} | more),
                                          start_new_session=True)
        go_first(self.child.pid)

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def check(self):
        if self.child.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
            raise Trouble(f"{self.child.args[0]} ended with status {self.child.returncode}:\n{tail}")

    def ask_to_end(self):
        self.child.terminate()

    def stop(self):
        self.signal(signal.SIGCONT)
        if self.child.poll() is None:
            self.ask_to_end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(10)
        self.signal(signal.SIGKILL)
        self.child.wait()


@contextlib.contextmanager
def run_dir(parent=None):
    path = tempfile.mkdtemp(prefix="evs-bench-", dir=parent)
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def wait_for(condition, deadline_s, what):
    """Calls condition() until it returns something true, and returns that."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Trouble(f"not within {deadline_s} s: {what}")
        time.sleep(0.005)


def say(text):
    print(f"  … {text}", file=sys.stderr, flush=True)
