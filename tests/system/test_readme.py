"""The README's promise: its tour prints what it says, against what `make run` sets up.

Outputs are compared as they are, except for what differs from run to run: the directory, the network and the
interface that tools/run found free, made-up addresses, widths of columns, and numbers in tables of counters.
"""

import json
import os
import re
import signal
import subprocess

import pytest

from conftest import BUILD, TOP, need, wait_for
from guest import need_guests

RUN_S = 150
COUNTING = ("evsctl port show", "evsctl fdb show", "evsctl drop show", "evsctl worker show", "ping")
README = (TOP / "README.md").read_text()


def tour():
    """The commands with the output that the README shows."""
    steps = []
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in steps]


def shape(text, counting):
    """What must be the same each time: a list of lines."""
    text = re.sub(r"/tmp/evs\.\w+", "DIR", text)
    text = re.sub(r"\b10\.99\.\d+\.", "NET.", text)
    text = re.sub(r"\bevs-mgmt\d*", "IFNAME", text)
    if counting:
        text = re.sub(r"\b(?!02:00:00:00:00:)[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "MAC", text)
        text = re.sub(r"(?<![:\w.])\d+(\.\d+)?(?![:\w])", "#", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def transcript_shape(text):
    """The same for what tools/run prints; the line on huge pages depends on the machine."""
    text = text.replace(str(BUILD), "build").replace(str(TOP), "/home/you/evswitch")
    text = re.sub(r" \(\d+ s\)$", "", text, flags=re.M)
    lines = shape(re.sub(r"time=\S+ ms", "time=# ms", text), counting=True)
    return [re.sub(r"# (\S+)$", r"# -", line) if line.startswith(("vm", "mgmt")) else line
            for line in lines if not line.startswith("huge pages")]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """tools/run, until it says what to type next. Its output and the value of EVS_SOCKET."""
    if os.geteuid() != 0:
        pytest.skip("tools/run needs root")
    need("ping", "setpriv", "socat")
    need_guests()
    path = tmp_path_factory.mktemp("readme") / "log"
    with open(path, "wb") as log:
        run = subprocess.Popen([TOP / "tools/run"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               env=dict(os.environ, BUILD=str(BUILD), RUN_ONCE=""))
    try:
        wait_for(lambda: run.poll() is not None or "\nCtrl-C here" in path.read_text(), RUN_S, "tools/run is up")
        text = path.read_text()
        assert run.poll() is None, text
        yield text, re.search(r"export EVS_SOCKET=(\S+)", text)[1]
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(30)


def test_transcript(example):
    shown = re.search(r"^```text\n(.*?)^```$", README, re.M | re.S)[1]
    assert transcript_shape(example[0]) == transcript_shape(shown)


def test_tour(example):
    text, sock = example
    net = re.search(r"this host is (\d+\.\d+\.\d+)\.1 ", text)[1]
    env = dict(os.environ, EVS_SOCKET=sock, PATH=f"{BUILD}:{os.environ['PATH']}")
    steps = tour()
    assert sum(command.startswith("evsctl ") for command, _ in steps) == 10
    for command, shown in steps:
        r = subprocess.run(["bash", "-c", command.replace("10.99.99.", f"{net}.")], capture_output=True, text=True,
                           timeout=30, env=env)
        assert r.stderr == "" and r.returncode == (command.startswith("ping")), f"{command}: {r.stderr}"
        counting = command.startswith(COUNTING)
        found, wanted = shape(r.stdout, counting), shape(shown, counting)
        if command == "evsctl fdb show":
            found, wanted = sorted(found), sorted(wanted)
        assert found == wanted, command


def test_links():
    """What the documents point to is there."""
    for page in [TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_drop_reasons():
    """The operator guide's table has every reason, with the stage and the words that the daemon uses."""
    listed = re.findall(r'^\tX\(\w+, "([^"]+)", "([^"]+)", "([^"]+)"\)', (TOP / "dp/drop.h").read_text(), re.M)
    guide = (TOP / "docs/operator-guide.md").read_text()
    assert len(listed) > 20
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([a-z ]+) \| ([^|]+) \|", guide, re.M)
    assert [(name, stage, text.strip()) for name, stage, text in rows] == listed


def test_manual_is_made_without_a_daemon():
    """`make man`: the page has every method of the table that evswitchd prints."""
    table = subprocess.run([BUILD / "evswitchd", "--methods"], capture_output=True, text=True, timeout=20)
    methods = [m["name"].replace(".", " ") for m in json.loads(table.stdout)["methods"]]
    page = subprocess.run([TOP / "tools/mkman", BUILD / "evsctl"], input=table.stdout, capture_output=True, text=True,
                          timeout=20)
    assert (page.returncode, page.stderr) == (0, "")
    assert [m.replace("\\-", "-") for m in re.findall(r'^\.Ic "\\&(.*)"$', page.stdout, re.M)] == methods
    assert "port add" in methods and "@" not in page.stdout


def test_manual_needs_a_table():
    r = subprocess.run([BUILD / "evsctl", "--man"], input="{}", capture_output=True, text=True, timeout=20)
    assert (r.returncode, r.stdout) == (2, "")
    assert "evswitchd --methods prints one" in r.stderr


def test_options():
    """The manual page and the guide know the options that the daemon knows."""
    r = subprocess.run([BUILD / "evswitchd", "--help"], capture_output=True, text=True, timeout=20)
    names = re.findall(r"^  --([a-z-]+)", r.stdout, re.M)
    page = (TOP / "docs/man/evswitchd.8").read_text()
    guide = (TOP / "docs/operator-guide.md").read_text()
    assert len(names) > 8
    for name in names:
        assert f".It Fl \\-{name}" in page, name
        assert name in ("help", "version", "methods") or f"`--{name}" in guide, name


def test_promises():
    """Each test that the promises name is there."""
    text = (TOP / "docs/promises.md").read_text()
    n = 0
    for row in text.splitlines():
        page = None
        for name in re.findall(r"`([\w./-]+)`", row.partition(" | ")[2]):
            if name.startswith("tests/"):
                page = TOP / name
                assert page.exists(), name
            elif page and page.is_file():
                assert re.search(rf"\b{name}\b", page.read_text()), f"{page}: {name}"
                n += 1
    assert n > 30
    rows = re.findall(r"bench row `([a-z0-9-]+)`", text)
    assert rows and all(f'"{row}"' in (TOP / "tools/bench/run").read_text() for row in rows)
