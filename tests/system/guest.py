"""A QEMU guest on a vhost-user port: start it, run commands in it, reboot and stop it.

    with Guest(tmp, "vm1", socket, "02:00:00:00:00:11", "10.0.0.11/24") as vm1:
        vm1.wait_ready()
        vm1.ping("10.0.0.12")
        print(vm1.run("ip addr show eth0"))

The image is made by tools/setup. Everything goes through the shell on the guest's serial console.
"""

import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BOOT_S = 90  # software emulation on a busy machine


def need_guests():
    """Skips the test if this machine has no QEMU or no guest image."""
    if not shutil.which("qemu-system-x86_64") or not os.path.exists(TOP + "/build/guest/initrd"):
        pytest.skip("no QEMU or no guest image: run tools/setup")


def _drain(sock):
    try:
        while sock.recv(65536):
            pass
    except OSError:
        pass  # closed by stop()


class Guest:
    """server: QEMU listens on the vhost-user socket (the switch's port is mode client)."""

    def __init__(self, directory, name, sock, mac, ip, ip6=None, server=True, net="", qemu=""):
        need_guests()
        self.dir, self.name, self.mac = str(directory), name, mac
        self.log_path = f"{self.dir}/{name}.log"
        self.serial = 0  # number of commands run
        self.seen = 0  # console output before this offset belongs to an earlier boot or command
        args = [f"evs.ip={ip}"] + ([f"evs.ip6={ip6}"] if ip6 else [])
        env = dict(os.environ, GUEST_SERVER="on" if server else "off", GUEST_NET=net, GUEST_QEMU=qemu)
        with open(f"{self.dir}/{name}.qemu", "wb") as err:
            self.proc = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", TOP + "/tools/guest/start", self.dir, name, sock, mac] + args,
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=env)
        self.console = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def output(self):
        """What the guest printed since the last boot or command."""
        try:
            with open(self.log_path, "rb") as f:
                f.seek(self.seen)
                return f.read().decode(errors="replace").replace("\r", "")
        except FileNotFoundError:
            return ""

    def wait_output(self, pattern, timeout=BOOT_S):
        """Waits until the console matches; returns the match."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.output()
            if found := re.search(pattern, text, re.M):
                return found
            tail = "\n".join(text.splitlines()[-15:])
            assert self.proc.poll() is None, f"QEMU of {self.name} ended: {self.qemu_output()}"
            assert time.monotonic() < deadline, f"{self.name}: no /{pattern}/ in {timeout} s; console ends:\n{tail}"
            time.sleep(0.05)

    def qemu_output(self):
        with open(f"{self.dir}/{self.name}.qemu", encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_ready(self, timeout=BOOT_S):
        """Booted, eth0 is up with its addresses, the shell listens."""
        self.wait_output(r"^EVS READY", timeout)
        self.wait_output(r"^EVS SHELL[^#]*# ", timeout)

    def _connect(self):
        self.console = socket.socket(socket.AF_UNIX)
        self.console.connect(f"{self.dir}/{self.name}.console")
        # What the guest prints is read from the log, but the socket must never fill up.
        threading.Thread(target=_drain, args=(self.console,), daemon=True).start()

    def send(self, text):
        """Types on the console."""
        if self.console is None:
            self._connect()
        self.seen = os.path.getsize(self.log_path)
        self.console.sendall(text.encode())

    def run(self, command, timeout=30, check=True):
        """Runs a shell command in the guest; returns what it printed."""
        self.serial += 1
        # The echo of the command line must not look like its end.
        self.send(f"echo @'begin{self.serial}'; {command}; echo @'end{self.serial}' $?\n")
        found = self.wait_output(rf"^@begin{self.serial}\n((?:.*\n)*?)(.*)@end{self.serial} (\d+)$", timeout)
        text, status = found[1] + found[2], int(found[3])
        assert not check or status == 0, f"{self.name}: {command}: status {status}: {text}"
        return text

    def ping(self, address, count=1, timeout=30):
        """Pings until `count` answers in one go have come."""
        self.run(f"until ping -c {count} -W 1 {address} | grep -q ' {count} packets received'; do sleep 0.1; done",
                 timeout)

    def can_ping(self, address, wait_s=2):
        """True if one echo request is answered. For "must not arrive": make sure that others do."""
        return "1 packets received" in self.run(f"ping -c 1 -W {wait_s} {address}", wait_s + 20, check=False)

    def reboot(self):
        """Restarts the guest's kernel (QEMU stays) and waits until it is up again."""
        self.send("reboot -f\n")
        self.wait_ready()

    def monitor(self, command):
        """One command to QEMU's monitor; returns its answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(f"{self.dir}/{self.name}.monitor")

            def until_prompt():
                text = b""
                while not text.endswith(b"(qemu) "):
                    got = s.recv(65536)
                    assert got, f"QEMU of {self.name} closed its monitor"
                    text += got
                return text.decode(errors="replace")

            until_prompt()
            s.sendall(command.encode() + b"\n")
            answer = until_prompt().replace("\r", "")  # the echo's line, the answer, the prompt
            return answer[answer.index("\n") + 1:-len("(qemu) ")]

    def stop(self):
        """Ends QEMU at once, as a power failure would."""
        if self.console:
            self.console.close()
            self.console = None
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
