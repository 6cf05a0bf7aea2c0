"""Nothing that was acknowledged is lost: kills while it is busy, a full disk, a damaged file."""

import json
import os
import random
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Daemon, Refused, need, wait_gone
from rpc import Rpc

KILLS = 20
CHANGERS = 6  # connections that change things at the same time
CHANGES_PER_ROUND = 100


def state_of(daemon):
    """The configuration as {(kind, name): the row without its name}."""
    with Rpc(daemon.socket) as rpc:
        document = rpc.call("config.show")
    return rows_of(document)


def rows_of(document):
    rows = {}
    for kind, objects in document.items():
        if not isinstance(objects, list):
            continue
        for o in objects:
            o = dict(o)
            name = o.pop("name", None) or o.pop("port")
            assert (kind, name) not in rows
            rows[kind, name] = o
    return rows


class Model:
    """What the objects of one client must be, after the requests that were acknowledged."""

    def __init__(self, tag):
        self.tag, self.rows = tag, {}

    def mine(self, rows):
        def owner(kind, name, row):
            return (row["port"] if kind == "fdb" else name).split("-")[0]
        return {key: row for key, row in rows.items() if key[0] != "switch" and owner(*key, row) == self.tag}

    @staticmethod
    def after(rows, method, p):
        """The rows after this request."""
        rows = dict(rows)
        if method == "port.add":
            rows["port", p["name"]] = {"switch": "sw0", "type": "guest", "socket": p["socket"], "queues": 1,
                                       "mtu": p["mtu"]}
        elif method == "port.set":
            rows["port", p["name"]] = rows["port", p["name"]] | {"mtu": p["mtu"]}
        elif method == "port.del":
            gone = p["name"]
            rows = {key: row for key, row in rows.items()
                    if key not in (("port", gone), ("vlan", gone)) and row.get("port") != gone}
        elif method == "vlan.set":
            rows["vlan", p["port"]] = {"mode": "access", "vlan": p["vlan"]}
        elif method == "fdb.add":
            rows["fdb", f"sw0/{p['vlan']}/{p['mac']}"] = dict(p)
        elif method == "fdb.del":
            del rows["fdb", f"sw0/{p['vlan']}/{p['mac']}"]
        return rows

    def request(self, rng, run_dir, i):
        """Something that must be accepted."""
        ports = [name for kind, name in self.rows if kind == "port"]
        entries = [row for (kind, _), row in self.rows.items() if kind == "fdb"]
        what = rng.random()
        if not ports or what < 0.3 and len(ports) < 12:
            name = f"{self.tag}-{i}"
            return "port.add", {"name": name, "switch": "sw0", "type": "guest", "socket": f"{run_dir}/{name}",
                                "mtu": rng.randrange(576, 9217)}
        if what < 0.5:
            return "port.del", {"name": rng.choice(ports)}
        if what < 0.6:
            return "port.set", {"name": rng.choice(ports), "mtu": rng.randrange(576, 9217)}
        if what < 0.75:
            return "vlan.set", {"port": rng.choice(ports), "mode": "access", "vlan": rng.randrange(1, 4095)}
        if what < 0.85 and entries:
            e = rng.choice(entries)
            return "fdb.del", {"switch": "sw0", "mac": e["mac"], "vlan": e["vlan"]}
        mac = f"02:{int(self.tag[1:]):02x}:{i >> 24 & 255:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}"
        return "fdb.add", {"switch": "sw0", "mac": mac, "vlan": rng.randrange(0, 4095), "port": rng.choice(ports)}


class Changer(threading.Thread):
    """One connection that changes its own objects until it breaks."""

    def __init__(self, daemon, model, rng, counter):
        super().__init__(daemon=True)
        self.at, self.model, self.rng, self.counter = daemon, model, rng, counter
        self.acknowledged = None  # called for each
        self.pending, self.refused = None, None

    def run(self):
        try:
            with Rpc(self.at.socket) as rpc:
                while True:
                    self.pending = self.model.request(self.rng, self.at.dir, next(self.counter))
                    method, params = self.pending
                    rpc.call(method, **params)
                    self.model.rows = self.model.after(self.model.rows, method, params)
                    self.pending = None
                    self.acknowledged()
        except (OSError, EOFError):
            pass  # killed
        except Refused as e:
            self.refused = f"{self.pending}: {e}"


def run_round(daemon, models, rng, counter, kill):
    """Changes until enough were acknowledged, then the kill; afterwards each model is compared."""
    n = threading.Semaphore(0)
    changers = [Changer(daemon, m, random.Random(rng.random()), counter) for m in models]
    for c in changers:
        c.acknowledged = n.release
        c.start()
    for _ in range(CHANGES_PER_ROUND + rng.randrange(50)):
        assert n.acquire(timeout=20), f"no change is acknowledged any more: {[c.refused for c in changers]}"
    kill()
    for c in changers:
        c.join(20)
        assert not c.is_alive()
        assert not c.refused, c.refused
    rows = state_of(daemon)
    for c in changers:
        mine, m = c.model.mine(rows), c.model
        if mine != m.rows:
            assert c.pending, difference(m.rows, mine)
            with_pending = m.after(m.rows, *c.pending)
            assert mine == with_pending, f"{c.pending}: {difference(with_pending, mine)}"
            m.rows = with_pending
    assert len(rows) == 1 + sum(len(m.rows) for m in models), "there are rows of nobody"


def difference(expected, found):
    keys = [k for k in {**expected, **found} if expected.get(k) != found.get(k)]
    return "; ".join(f"{k}: expected {expected.get(k)}, found {found.get(k)}" for k in keys[:5])


def test_killed_while_busy(make_daemon):
    """Twenty times, the switch process or the supervisor. What comes back is the last acknowledged state, or that
    plus what was under way: at most one request of each connection."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    d = make_daemon(memory=128).start()
    d.ctl("switch", "add", "sw0", "kind", "external")
    models = [Model(f"t{i}") for i in range(CHANGERS)]
    counter = iter(range(1 << 30))

    def kill_switch():
        d.kill()

    def kill_supervisor():
        pid = d.pid()
        d.process.kill()
        d.process.wait()
        wait_gone(pid)
        d.start()

    for i in range(KILLS):
        run_round(d, models, rng, counter, kill_supervisor if i % 3 == 2 else kill_switch)
    assert sum(len(m.rows) for m in models) > 0
    d.stop()
    d.start()
    expected = {("switch", "sw0"): {"kind": "external", "bandwidth-mode": "default"}}
    for m in models:
        expected |= m.rows
    assert state_of(d) == expected
    d.stop()


# A full disk

@pytest.fixture
def small_disk(run_dir):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    need("mount")
    path = run_dir / "state"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(path, leave=0):
    """Takes all room but so many bytes."""
    st = os.statvfs(path)
    with open(path / "filler", "wb") as f:
        f.write(b"x" * (st.f_bavail * st.f_frsize - leave))


def test_full_disk(run_dir, small_disk, make_daemon):
    d = make_daemon(run_dir, memory=128, state_dir=small_disk).start()
    d.ctl("switch", "add", "sw0", "kind", "internal")
    fill(small_disk, leave=48 << 10)
    acknowledged, refusal = [], None
    with Rpc(d.socket) as rpc:
        for i in range(2000):
            name = f"p{i}"
            refusal = rpc.refusal("port.add", name=name, switch="sw0", type="guest", socket=f"/nowhere/{'x' * 80}{i}")
            if refusal:
                break
            acknowledged.append(name)
        assert "no space left on device: free some space, then try again" in refusal
        assert str(small_disk / "state.db") in refusal
        # What was refused is not there, what was acknowledged is.
        assert [p["name"] for p in rpc.call("port.show")] == acknowledged
        before = rpc.call("config.show")
    d.kill()
    assert d.ctl("config", "show") == before
    (small_disk / "filler").unlink()
    d.ctl("port", "add", "after", "switch", "sw0", "type", "guest", "socket", "/nowhere/after")
    d.kill()
    assert {p["name"] for p in d.ctl("port", "show")} == {p["name"] for p in before["port"]} | {"after"}
    d.stop()


def test_first_start_on_a_full_disk(run_dir, small_disk):
    fill(small_disk)
    status, text = start(run_dir, state_dir=small_disk)
    assert status == 3 and "no space left on device" in text
    (small_disk / "filler").unlink()
    d = Daemon(run_dir, memory=128, state_dir=small_disk).start()
    try:
        assert d.ctl("switch", "show") == []
        d.stop()
    finally:
        d.destroy()


# A damaged file

def start(directory, **options):
    """A start that may be refused: (status, what it said); (None, its document) if it runs."""
    d = Daemon(directory, memory=128, **options)
    ready = d.launch()
    try:
        told = os.read(ready, 16)
    finally:
        os.close(ready)
    try:
        if told == b"ready\n":
            document = d.ctl("config", "show")
            d.stop()
            return None, document
        return d.process.wait(20), d.log()
    finally:
        d.destroy()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """state.db with some hundred rows, and the document that it holds."""
    directory = tmp_path_factory.mktemp("saved")
    short = Path("/tmp") / f"evs-saved-{os.getpid()}"
    short.symlink_to(directory)
    d = Daemon(short, memory=128).start()
    try:
        with Rpc(d.socket) as rpc:
            rpc.call("switch.add", name="sw0", kind="external")
            for i in range(60):
                rpc.call("port.add", name=f"p{i}", switch="sw0", type="guest", socket=f"/nowhere/p{i}.sock")
            for i in range(40):
                rpc.call("fdb.add", switch="sw0", mac=f"02:00:00:00:00:{i:02x}", port=f"p{i}")
                rpc.call("vlan.set", port=f"p{i}", mode="access", vlan=i + 1)
            for i in range(40, 60):  # leaves free space inside
                rpc.call("port.del", name=f"p{i}")
            document = rpc.call("config.show")
        d.stop()
        yield (directory / "state.db").read_bytes(), document
    finally:
        d.destroy()
        short.unlink()


def check_damaged(run_dir, saved, name, damage):
    """Starts on a damaged copy; returns what is wrong with the outcome, and whether it was refused."""
    content, document = saved
    directory = run_dir / name
    directory.mkdir()
    (directory / "state.db").write_bytes(damage(content))
    status, found = start(directory)
    if status is None:
        return (None if found == document else f"{name}: started with another state: {json.dumps(found)[:300]}"), False
    sentences = [line for line in found.splitlines() if "state.db" in line]
    if status != 3 or len(found.splitlines()) != 1 or not sentences:
        return f"{name}: status {status}: {found}", True
    advice = "restore a copy" in found or "move it away" in found
    return (None if advice else f"{name}: does not say how to recover: {found}"), True


def check_all(run_dir, saved, damages):
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda item: check_damaged(run_dir, saved, *item), damages.items()))
    wrong = [text for text, _ in results if text]
    assert not wrong, "\n".join(wrong)
    return [was_refused for _, was_refused in results]


def test_an_undamaged_copy_starts(run_dir, saved):
    assert check_all(run_dir, saved, {"same": lambda content: content}) == [False]


def test_truncated_state(run_dir, saved):
    size = len(saved[0])
    cuts = [0, 1, 15, 100, 4095, 4096, size // 2, size - 4096, size - 1]
    refused = check_all(run_dir, saved, {f"cut{n}": lambda content, n=n: content[:n] for n in cuts})
    assert all(refused[:-1]), list(zip(cuts, refused))  # the very last byte may be one that nothing uses


def test_flipped_bits(run_dir, saved):
    """The head of the file, the heads of its pages, and places all over it."""
    size, rng = len(saved[0]), random.Random(1)
    places = [0, 16, 18, 24, 28, 44, 47, 56, 60, 68, 71, 100, 103, 105]
    places += [page + k for page in range(4096, size, 4096) for k in (0, 4)][:10]
    while len(places) < 42:
        places.append(rng.randrange((len(places) - 24) * size // 18, (len(places) - 23) * size // 18))

    def flip(place):
        def damage(content):
            content = bytearray(content)
            content[place] ^= 1 << rng.randrange(8)
            return bytes(content)
        return damage

    refused = check_all(run_dir, saved, {f"flip{place}": flip(place) for place in places})
    assert sum(refused) >= 10, "hardly any flip was seen: are these places of the file used?"


def test_zeroed_and_exchanged_pages(run_dir, saved):
    def zeroed(page):
        return lambda content: content[:page * 4096] + bytes(4096) + content[(page + 1) * 4096:]

    def doubled(content):  # an old page where another should be
        return content[:-4096] + content[-8192:-4096]

    pages = len(saved[0]) // 4096
    check_all(run_dir, saved, {f"zero{page}": zeroed(page) for page in range(min(pages, 6))} | {"doubled": doubled})


def test_a_refused_start_leaves_the_file_alone(run_dir, saved):
    damaged = saved[0][:-4096]
    (run_dir / "state.db").write_bytes(damaged)
    assert start(run_dir)[0] == 3
    assert (run_dir / "state.db").read_bytes() == damaged
