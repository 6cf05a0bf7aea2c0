"""The switch process is replaced by another one under traffic: guests keep their connections, nothing is lost or done
twice, and what goes wrong before the end leaves the old process as it was.

      bench-front                            sw0
     ┌─────────────────────┐          ┌──────────────┐
     │ guest 0 ⇄ guest 1   ├──────────┤ vm0 … vm7    │   each pair exchanges stamped unicast; the daemon connects
     │ guest 2 ⇄ guest 3 … ├──────────┤              │   (mode client) or listens (mode server)
     └─────────────────────┘          └──────────────┘
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import EVSWITCHD, Refused, alive, need, wait_for, wait_gone
from rpc import Rpc, Watch
from test_front import front, ports  # noqa: F401
from test_reconnect import busy, footprint, loaded

UPGRADE_S = 60
UPGRADES = 5
RINGS = [(), ("--packed",), ("--packed", "--event-idx", "--in-order")]
HANGS = "#include <unistd.h>\nint main(void) { pause(); }\n"


def upgrade(daemon, *words):
    return daemon.ctl("system", "upgrade", *words, deadline=UPGRADE_S)[0]


def refusal(daemon, *words):
    with pytest.raises(Refused) as refused:
        upgrade(daemon, *words)
    return str(refused.value)


def system(daemon):
    return daemon.ctl("system", "show")[0]


def all_up(daemon):
    wait_for(lambda: {p["state"] for p in daemon.ctl("port", "show")} == {"up"}, 30, "all ports are up")


def connections(daemon, n):
    """That the ports have had from the present switch process's point of view."""
    return [daemon.ctl("port", "show", f"vm{i}")[0]["detail"]["vhost-user"]["connections"] for i in range(n)]


def program(tmp_path, name, source):
    need("gcc")
    subprocess.run(["gcc", "-x", "c", "-", "-o", tmp_path / name], input=source, text=True, check=True)
    return tmp_path / name


# --- what goes on

@pytest.mark.parametrize("mode", ["client", "server"])
@pytest.mark.parametrize("words", RINGS, ids=str)
def test_guests_notice_nothing(daemon, front, words, mode):
    n = 8
    f = loaded(front, n, *words, *(["--server"] if mode == "client" else []), ports(daemon, n, mode))
    for i in range(UPGRADES):
        before = system(daemon)
        done = upgrade(daemon)
        assert (done["ports_up"], done["ports_before"]) == (n, n)
        after = system(daemon)
        assert after["pid"] != before["pid"] and after["supervisor"] == before["supervisor"]
        assert after["generation"] == before["generation"] + 1 == i + 2
        wait_gone(before["pid"])
        assert connections(daemon, n) == [1] * n
        busy(f, 100 * n)
    final = f.stop()
    assert {key: final[key] for key in ("lost", "dup", "late", "bad", "ring_errors")} == dict.fromkeys(
        ("lost", "dup", "late", "bad", "ring_errors"), 0)
    shown = daemon.ctl("port", "show")
    assert sum(p["rx_packets"] for p in shown) >= final["tx"]  # counters go on where they were
    assert sum(p["tx_packets"] for p in shown) >= final["rx"]


def test_front_end_is_heard_after_an_upgrade(daemon, front):
    """The conversation goes on: hanging up, connecting again, and another upgrade behind that."""
    f = loaded(front, 4, "--server", "--hang-up", 100, ports(daemon, 4, "client"))
    for _ in range(UPGRADES):
        upgrade(daemon)
        before = connections(daemon, 4)
        wait_for(lambda b=before: sum(connections(daemon, 4)) > sum(b) + 4, 30, "guests come and go")
    final = f.stop()
    assert (final["late"], final["bad"], final["ring_errors"]) == (0, 0, 0)


def test_state_and_configuration_stay(daemon, front):
    f = loaded(front, 2, "--server", ports(daemon, 2, "client"))
    busy(f, 100)
    daemon.ctl("fdb", "add", "switch", "sw0", "mac", "02:00:00:00:99:01", "port", "vm1")
    daemon.ctl("port", "add", "later", "switch", "sw0", "type", "guest", "socket", daemon.dir / "later.sock")
    daemon.ctl("system", "set", "log-level", "debug")
    config = daemon.ctl("config", "show")
    # vm0's guest is silent from now on: nobody learns its address anew
    f.process.send_signal(signal.SIGSTOP)
    keys = ("switch", "vlan", "mac", "port", "kind")
    fdb = {tuple(e.get(k) for k in keys) for e in daemon.ctl("fdb", "show")}
    counters = {p["name"]: (p["rx_packets"], p["tx_packets"]) for p in daemon.ctl("port", "show")}
    upgrade(daemon)
    assert {tuple(e.get(k) for k in keys) for e in daemon.ctl("fdb", "show")} == fdb
    assert len(fdb) >= 3
    after = {p["name"]: (p["rx_packets"], p["tx_packets"]) for p in daemon.ctl("port", "show")}
    # the switch may still have taken what the guest had put into its rings before it was stopped
    assert all(after[name] >= counters[name] for name in counters) and counters["vm0"][0] > 100
    assert daemon.ctl("config", "show") == config
    assert system(daemon)["log_level"] == "debug"
    assert daemon.ctl("port", "show", "later")[0]["state"] == "waiting"
    f.process.send_signal(signal.SIGCONT)
    busy(f, 100)


def test_host_interface_and_packet_socket(make_daemon, net):
    """The daemon and the host are one namespace, what is behind the packet socket another."""
    host, far, ifname = net.ns(), net.ns(), net.name()
    daemon = make_daemon()
    plain = daemon.argv()
    daemon.argv = lambda: ["ip", "netns", "exec", host, *plain]
    daemon.start()
    inside, outside = net.veth(far, host)
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    daemon.ctl("port", "add", "h0", "switch", "sw0", "type", "host", "ifname", ifname)
    daemon.ctl("port", "add", "ct0", "switch", "sw0", "type", "guest", "device", f"net_af_packet0,iface={outside}")
    net.run(far, "ip", "addr", "add", "10.9.9.2/24", "dev", inside)
    net.run(host, "ip", "addr", "add", "10.9.9.1/24", "dev", ifname)
    all_up(daemon)

    def index():
        return net.run(host, "cat", f"/sys/class/net/{ifname}/ifindex")

    before = index()
    for _ in range(2):
        upgrade(daemon)
        all_up(daemon)
        assert index() == before
        net.run(far, "ping", "-q", "-c", "1", "-w", "20", "10.9.9.1")
        # nothing is handled twice
        assert "DUP" not in net.run(far, "ping", "-c", "3", "-i", "0.2", "10.9.9.1")
    daemon.stop()


def test_other_program(daemon, tmp_path):
    copy = shutil.copy(EVSWITCHD, tmp_path / "evswitchd-next")
    upgrade(daemon, "binary", copy)
    assert os.path.samefile(f"/proc/{system(daemon)['pid']}/exe", copy)
    # a crash restarts what was upgraded to
    daemon.kill()
    assert os.path.samefile(f"/proc/{system(daemon)['pid']}/exe", copy)
    # and the file that is there now is taken, also when it has been replaced
    os.rename(shutil.copy(EVSWITCHD, tmp_path / "new"), copy)
    upgrade(daemon)
    assert os.path.samefile(f"/proc/{system(daemon)['pid']}/exe", copy)


def test_watchers_are_told_and_let_go(daemon):
    with Watch(daemon.socket) as watch:
        upgrade(daemon)
        assert watch.until("system-upgraded", None)
        with pytest.raises(EOFError):
            watch.event()
    with Watch(daemon.socket):
        pass


def test_clients_change_things_meanwhile(daemon):
    """Every change that was acknowledged is there; one that was not can be made again."""
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    stop, made, wrong = threading.Event(), [], []

    def client(number):
        for i in itertools.count():
            name = f"p{number}x{i}"
            while not stop.is_set():
                try:
                    with Rpc(daemon.socket) as rpc:
                        rpc.call("port.add", name=name, switch="sw0", type="guest", socket=f"{daemon.dir}/{name}.sock")
                    made.append(name)
                    break
                except Refused as e:
                    if "already exists" in str(e):
                        break  # the answer got lost
                    if "try again" not in str(e):
                        wrong.append(str(e))
                        return
                except (OSError, EOFError):
                    pass
            if stop.is_set():
                return

    clients = [threading.Thread(target=client, args=(i,)) for i in range(6)]
    for c in clients:
        c.start()
    try:
        for _ in range(UPGRADES):
            n = len(made)
            wait_for(lambda n=n: len(made) > n + 10 or wrong, 30, "changes are made")
            upgrade(daemon)
    finally:
        stop.set()
        for c in clients:
            c.join()
    assert not wrong
    assert set(made) <= {p["name"] for p in daemon.ctl("port", "show")}


def test_upgrades_leave_nothing_behind(daemon, front):
    f = loaded(front, 8, "--packed", "--server", ports(daemon, 8, "client"))

    def sizes():
        """Each switch process begins anew; the supervisor is always the same."""
        return footprint(daemon.pid())[0], footprint(daemon.process.pid)[0]

    def several(n):
        for _ in range(n):
            upgrade(daemon)
            busy(f, 100)
        wait_for(lambda: children(daemon.process.pid) == [daemon.pid()], 10, "only the last one is there")

    several(3)
    was, was_kb = sizes(), footprint(daemon.process.pid)[1]
    several(17)
    wait_for(lambda: sizes() == was, 10, f"no more than {was}")
    assert footprint(daemon.process.pid)[1] <= was_kb + 256
    assert not list(daemon.dir.glob("pass.*")) and not list(daemon.dir.glob("bell.*"))


def test_one_upgrade_right_after_another(daemon):
    """The new process asks for its own successor while the supervisor is still busy with its predecessor."""
    with Rpc(daemon.socket, UPGRADE_S) as rpc:
        assert rpc.call("system.upgrade")[0]["version"]
    for generation in range(3, 15):
        with Rpc(daemon.socket, UPGRADE_S) as rpc:
            rpc.call("system.upgrade")
        assert system(daemon)["generation"] == generation


# --- what goes wrong

def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def goes_on(daemon, f, pid):
    assert daemon.pid() == pid
    busy(f, 100)
    name = f"after{time.monotonic_ns()}"
    daemon.ctl("switch", "add", name, "kind", "internal")
    wait_for(lambda: children(daemon.process.pid) == [pid], 10, "no other process is left")


def bad_program(tmp_path, kind):
    path = tmp_path / kind
    if kind == "exits":
        return program(tmp_path, kind, "int main(void) { return 7; }\n"), "ended with status 7"
    if kind == "hangs":
        return program(tmp_path, kind, HANGS), "took more than"
    if kind == "no-program":
        path.write_text("nothing that runs\n")
        path.chmod(0o755)
        return path, "ended with status 3"
    if kind == "writable":
        shutil.copy(EVSWITCHD, path)
        path.chmod(0o777)
        return path, "could be changed by others"
    if kind == "not-executable":
        shutil.copy(EVSWITCHD, path)
        path.chmod(0o644)
        return path, "is not executable"
    return tmp_path, "is not a regular file"


@pytest.mark.parametrize("kind", ["exits", "hangs", "no-program", "writable", "not-executable", "directory"])
def test_bad_program(daemon, front, tmp_path, kind):
    f = loaded(front, 2, "--server", ports(daemon, 2, "client"))
    pid = daemon.pid()
    path, sentence = bad_program(tmp_path, kind)
    assert sentence in refusal(daemon, "binary", path)
    goes_on(daemon, f, pid)
    upgrade(daemon)
    assert connections(daemon, 2) == [1, 1]
    final = f.stop()
    assert (final["lost"], final["dup"], final["late"]) == (0, 0, 0)


class Beginning:
    """An upgrade that is under way; its successor is stopped."""

    def __init__(self, daemon, *words):
        self.daemon = daemon
        self.old = daemon.pid()
        self.client = Rpc(daemon.socket, UPGRADE_S)
        self.answer = []
        self.client.send("system.upgrade")
        self.new = wait_for(lambda: next((c for c in children(daemon.process.pid) if c != self.old), None), 10,
                            "the successor is there")
        os.kill(self.new, signal.SIGSTOP)

    def refusal(self):
        while True:
            message = self.client.read()
            if "error" in message:
                return message["error"]["message"]
            assert "result" not in message

    def go_on(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.new, signal.SIGCONT)

    def end(self):
        self.go_on()
        self.client.close()


@pytest.fixture
def beginning(daemon):
    made = []

    def begin():
        made.append(Beginning(daemon))
        return made[-1]

    yield begin
    for b in made:
        b.end()


def test_new_process_is_killed(daemon, front, beginning):
    f = loaded(front, 2, "--server", ports(daemon, 2, "client"))
    b = beginning()
    os.kill(b.new, signal.SIGKILL)
    assert "signal 9" in b.refusal()
    goes_on(daemon, f, b.old)


def test_old_process_is_killed(daemon, front, beginning):
    """As after a crash, but by the one that was about to take over."""
    f = loaded(front, 2, "--server", ports(daemon, 2, "client"))
    b = beginning()
    os.kill(b.old, signal.SIGKILL)
    wait_gone(b.old)
    b.go_on()

    def back():
        with contextlib.suppress(Refused):
            return daemon.pid() == b.new

    wait_for(back, 30, "the successor is the switch")
    all_up(daemon)
    goes_on(daemon, f, b.new)


def test_second_upgrade_is_refused(daemon, beginning):
    b = beginning()
    assert "another one is under way" in refusal(daemon)
    b.go_on()
    wait_gone(b.old, 30)
    assert daemon.pid() == b.new


def test_stop_meanwhile(daemon, beginning):
    b = beginning()
    daemon.stop()
    assert not alive(b.old) and not alive(b.new)


def test_supervisor_is_killed_meanwhile(make_daemon):
    daemon = make_daemon().start()
    b = Beginning(daemon)
    daemon.process.kill()
    daemon.process.wait()
    wait_gone(b.old)
    wait_gone(b.new)
    b.end()


def test_guest_that_migrates_is_waited_for(daemon, front):
    f = loaded(front, 2, "--server", "--log", ports(daemon, 2, "client"))
    sentence = refusal(daemon)
    assert sentence.startswith("evsctl: port vm") and "migrated" in sentence
    busy(f, 100)
