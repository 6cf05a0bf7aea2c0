"""Open vSwitch with DPDK in a private directory: one bridge that learns (NORMAL), one polling thread."""

import contextlib
import json
import os
import re
import socket
import subprocess

from machine import GENERATOR_CORE, MEMORY_MB, SWITCH_CORE, Process, Trouble, use_huge, wait_for

SWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
BRIDGE = "br0"
RECEIVED = re.compile(r"packets received: (\d+)")
BUSY = re.compile(r"avg processing cycles per packet: [\d.]+ \((\d+)/")


class Ovs:
    """Two processes; the second one is the switch."""

    def __init__(self, directory, *settings):
        """settings: of other_config."""
        if not os.access(SWITCHD, os.X_OK):
            raise Trouble("Open vSwitch with DPDK is not installed: run tools/setup --bench")
        self.directory = directory / "ovs"
        self.directory.mkdir()
        where = str(self.directory)
        self.env = os.environ | {f"OVS_{n}": where for n in ("RUNDIR", "DBDIR", "LOGDIR", "SYSCONFDIR")}
        self.db = f"unix:{where}/db.sock"
        self.parts = contextlib.ExitStack()
        try:
            self.start(settings)
        except BaseException:
            self.parts.close()
            raise

    def start(self, settings):
        where, on = self.directory, ["taskset", "-c", str(GENERATOR_CORE)]
        self.run("ovsdb-tool", "create", f"{where}/conf.db", SCHEMA)
        database = Process([*on, "ovsdb-server", f"{where}/conf.db", f"--remote=p{self.db}",
                            f"--unixctl={where}/db.ctl"], where / "db.log", env=self.env)
        self.parts.callback(database.stop)
        wait_for((where / "db.sock").exists, 10, "ovsdb-server listens")
        memory = f"dpdk-socket-mem={2 * MEMORY_MB}" if use_huge() else f"dpdk-alloc-mem={2 * MEMORY_MB}"
        extra = f"--no-pci --no-telemetry {'--in-memory' if use_huge() else '--no-huge'} " \
                f"--file-prefix=evs-bench-{os.getpid()}-ovs"
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true", f"other_config:{memory}",
                   f"other_config:dpdk-extra=\"{extra}\"", f"other_config:dpdk-lcore-mask={1 << GENERATOR_CORE:#x}",
                   f"other_config:pmd-cpu-mask={1 << SWITCH_CORE:#x}",
                   *(f"other_config:{s}" for s in settings))
        self.switch = Process([*on, SWITCHD, self.db, "--disable-system", f"--unixctl={where}/vs.ctl"],
                              where / "vs.log", env=self.env)
        self.parts.callback(self.switch.stop)

    @property
    def child(self):
        return self.switch.child

    def signal(self, number):
        self.switch.signal(number)

    def check(self):
        self.switch.check()

    def stop(self):
        self.parts.close()

    def run(self, *argv):
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            log = self.directory / "vs.log"
            raise Trouble(f"{' '.join(argv)}: {done.stderr.strip()}\n"
                          f"{log.read_text(errors='replace')[-1000:] if log.exists() else ''}")
        return done.stdout

    def vsctl(self, *words):
        return self.run("ovs-vsctl", "--timeout=30", f"--db={self.db}", *words)

    def appctl(self, *words):
        return self.run("ovs-appctl", "--timeout=30", "-t", f"{self.directory}/vs.ctl", *words)

    def add_bridge(self, name, max_macs):
        self.vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev",
                   f"other_config:mac-table-size={max_macs}")

    def add_guest(self, name, bridge=BRIDGE, server=None):
        """The path of the socket on which it listens, unless it is the client of a guest that listens on `server`."""
        how = ["type=dpdkvhostuserclient", f"options:vhost-server-path={server}"] if server else ["type=dpdkvhostuser"]
        self.vsctl("add-port", bridge, name, "--", "set", "Interface", name, *how)
        return self.directory / name

    def macs(self):
        return {line.split()[2] for line in self.appctl("fdb/show", BRIDGE).splitlines()[1:]}

    def ask(self, method, *params):
        """What ovs-appctl would print, without a process that takes a core from those that are measured. One
        connection for each question."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(f"{self.directory}/vs.ctl")
            s.sendall(json.dumps({"id": 0, "method": method, "params": params}).encode())
            said = b""
            while True:
                more = s.recv(65536)
                if not more:
                    raise Trouble(f"{method}: Open vSwitch closed the connection")
                said += more
                with contextlib.suppress(ValueError):
                    return json.loads(said)["result"]

    def count(self):
        """Packets received, and cycles of the rounds that received some, of the polling thread."""
        text = self.ask("dpif-netdev/pmd-stats-show", "-pmd", str(SWITCH_CORE))
        packets, busy = RECEIVED.search(text), BUSY.search(text)
        return {"packets": int(packets[1]), "busy": int(busy[1]) if busy else 0}
