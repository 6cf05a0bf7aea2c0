"""What `port qemu-args` and `port libvirt-xml` print, given to a real QEMU and a real libvirt as it stands.

Nothing boots: the guests are stopped from the start, and the switch sees their network card connected.
libvirt runs within virsh (its embedded driver), in a directory of the test, without any daemon.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile

import pytest
from conftest import EVSCTL, need, wait_for

PORTS = {  # words of port add
    "client": ["mode", "client"],
    "server": ["mode", "server"],
    "many-queues": ["mode", "server", "queues", 4, "mac", "02:00:00:00:00:11"],
    "jumbo": ["mode", "client", "mtu", 9000, "mac", "02:00:00:00:00:12"],
}


@pytest.fixture
def switch(daemon):
    daemon.ctl("switch", "add", "sw0", "kind", "internal")
    return daemon


def add(daemon, name, *words, sock=None):
    daemon.ctl("port", "add", name, "switch", "sw0", "type", "guest", "socket", sock or daemon.dir / f"{name}.sock",
               *words)


def text(daemon, *words):
    """As people see it."""
    r = subprocess.run([EVSCTL, "-s", str(daemon.socket), *map(str, words)], capture_output=True, text=True, timeout=20)
    assert (r.returncode, r.stderr) == (0, ""), r
    return r.stdout


def why(daemon, name):
    return daemon.ctl("port", "show", name)[0]["why"]


def connected(daemon, name):
    wait_for(lambda: (why(daemon, name) or "").startswith("connected"), what=f"{name}: {why(daemon, name)}")


def start_qemu(daemon, name, line):
    """A QEMU that stands still, started by a shell from the text. vectors=0 is not needed: no driver starts."""
    script = f"exec qemu-system-x86_64 -nodefaults -no-user-config -display none -S -machine q35,accel=tcg {line}"
    with open(f"{daemon.dir}/{name}.qemu", "wb") as log:
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "sh", "-c", script], stdin=subprocess.DEVNULL,
                                stdout=log, stderr=log)


def stop(process):
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", PORTS)
def test_qemu_takes_the_text_as_it_stands(switch, name):
    need("qemu-system-x86_64", "setpriv")
    add(switch, name, *PORTS[name])
    qemu = start_qemu(switch, name, text(switch, "port", "qemu-args", name, "memory", "64M"))
    try:
        connected(switch, name)
        assert qemu.poll() is None
    finally:
        stop(qemu)


def test_qemu_takes_a_strange_path_and_two_ports_of_one_guest(switch):
    need("qemu-system-x86_64", "setpriv")
    add(switch, "vm1:a", "mode", "server", sock=switch.dir / "it's, $HOME;.sock")
    add(switch, "vm1:b", "mode", "server", "queues", 2)
    first = text(switch, "port", "qemu-args", "vm1:a", "memory", "64M")
    second = text(switch, "port", "qemu-args", "vm1:b", "memory", 0)
    qemu = start_qemu(switch, "vm1", first.split("\n#")[0] + " " + second)
    try:
        connected(switch, "vm1:a")
        connected(switch, "vm1:b")
    finally:
        stop(qemu)


def test_pieces_are_what_a_shell_makes_of_the_text(switch):
    add(switch, "vm1", "mode", "server", "queues", 4, "mac", "02:00:00:00:00:11", "mtu", 2000)
    out = switch.ctl("port", "qemu-args", "vm1", "memory", "1536M")
    assert shlex.split(out["text"].replace("\\\n", ""), comments=True) == out["args"]
    pairs = dict(zip(out["args"][::2], out["args"][1::2]))
    assert pairs == {
        "-m": "1536M",
        "-object": "memory-backend-memfd,id=evs-memory,size=1536M,share=on",
        "-numa": "node,memdev=evs-memory",
        "-chardev": f"socket,id=chr-vm1,path={switch.dir}/vm1.sock,reconnect=1",
        "-netdev": "vhost-user,id=net-vm1,chardev=chr-vm1,queues=4",
        "-device": "virtio-net-pci,netdev=net-vm1,mac=02:00:00:00:00:11,mq=on,vectors=10,host_mtu=2000",
    }
    assert not any("mac" in note or "SIZE" in note for note in out["notes"])


def test_what_the_port_does_not_know_is_explained(switch):
    add(switch, "vm1")
    out = switch.ctl("port", "qemu-args", "vm1")
    assert "SIZE" in out["args"] and ",server=on,wait=off" in out["args"][7]
    assert any("memory 2G" in note for note in out["notes"]) and any("no mac" in note for note in out["notes"])
    assert out["text"].endswith("".join(f"# {note}\n" for note in out["notes"]))
    assert "-m" not in switch.ctl("port", "qemu-args", "vm1", "memory", 0)["args"]


@pytest.mark.parametrize("method", ["qemu-args", "libvirt-xml"])
def test_only_ports_with_a_socket(switch, method):
    switch.ctl("port", "add", "p0", "switch", "sw0", "type", "guest", "device", "net_null0")
    assert "port p0: has no socket" in switch.refusal("port", method, "p0")
    assert "port vm9: no such port" in switch.refusal("port", method, "vm9")


def test_memory_is_megabytes(switch):
    add(switch, "vm1")
    assert "megabytes" in switch.refusal("port", "qemu-args", "vm1", "memory", 1000)


class Libvirt:
    """libvirt's QEMU driver within virsh. It believes that it is no root user: as root it wants users of its own."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(f"{self.dir}/etc")
        with open(f"{self.dir}/etc/qemu.conf", "w", encoding="utf-8") as f:
            f.write('stdio_handler = "file"\n')  # else it wants virtlogd
        # Root of a namespace may make the tap device with which domxml-to-native replaces every card.
        self.prefix = ["unshare", "--user", "--net", "--map-user=65534", "--map-group=65534", "--keep-caps",
                       "setpriv", "--pdeathsig", "KILL", "virsh", "-q", "-c", f"qemu:///embed?root={self.dir}"]

    def virsh(self, *commands):
        """Runs the commands one after the other; returns (status, output)."""
        env = dict(os.environ, HOME=self.dir, XDG_RUNTIME_DIR=self.dir, XDG_CACHE_HOME=self.dir,
                   XDG_CONFIG_HOME=self.dir)
        r = subprocess.run([*self.prefix, "; ".join(commands)], capture_output=True, text=True, timeout=100, env=env)
        return r.returncode, r.stdout + r.stderr


@pytest.fixture(scope="module")
def libvirt():
    need("virsh", "unshare", "qemu-system-x86_64")
    directory = tempfile.mkdtemp(prefix="evs-lv", dir="/tmp")
    yield Libvirt(directory)
    for path, _, files in os.walk(directory):
        for pid in (f"{path}/{f}" for f in files if f.endswith(".pid") and f != "driver.pid"):
            with open(pid, encoding="ascii") as f:  # a guest that a failed test left
                subprocess.run(["kill", "-9", f.read().strip()], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(directory)


def domain(daemon, name):
    """The three snippets at their places in an otherwise minimal domain."""
    out = daemon.ctl("port", "libvirt-xml", name, "domain")
    rest = out.get("override", "")
    assert out["text"] == out["memory"] + out["interface"] + rest
    path = daemon.dir / f"{name}.xml"
    path.write_text(f"""<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  {out["memory"]}
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>{out["interface"]}</devices>
  {rest}
</domain>""", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PORTS)
def test_libvirt_takes_the_xml(switch, libvirt, name):
    add(switch, name, *PORTS[name])
    xml = domain(switch, name)
    status, out = libvirt.virsh(f"define --validate {xml}", f"dumpxml {name}", f"undefine {name}",
                                f"domxml-to-native qemu-argv --xml {xml}")
    assert status == 0, out
    kept = re.sub(r"\s*\n\s*", "", out)
    for line in switch.ctl("port", "libvirt-xml", name)["interface"].splitlines():
        assert line.strip() in kept, f"{line} is not in {out}"
    assert '"qom-type":"memory-backend-memfd","id":"pc.ram","share":true' in out


@pytest.mark.parametrize("name", PORTS)
def test_a_guest_of_libvirt_is_connected(switch, libvirt, name):
    """The card that libvirt makes of the XML is the one that qemu-args names."""
    add(switch, name, *PORTS[name])
    status, out = libvirt.virsh(f"create --paused --validate {domain(switch, name)}",
                                f"destroy {name}")
    assert status == 0, out
    # destroy came right behind it: the switch has counted the connection
    wait_for(lambda: switch.ctl("port", "show", name)[0]["detail"]["vhost-user"]["connections"] > 0,
             what=f"{name} was connected")
    with open(f"{libvirt.dir}/log/qemu/{name}.log", encoding="utf-8") as f:
        log = f.read()
    card = re.search(r'\{"driver":"virtio-net-pci".*\}', log)[0]
    assert ('"host_mtu":9000' in card) == (name == "jumbo")
    assert ('"mq":true,"vectors":10' in card) == (name == "many-queues")
    assert ("reconnect=1" in log) == ("server" in PORTS[name])


def test_plain_xml_is_one_element(switch):
    add(switch, "vm1", "mode", "server", sock=switch.dir / "a<b>&'c.sock")
    out = text(switch, "port", "libvirt-xml", "vm1")
    assert out.startswith("<interface type='vhostuser'>\n") and out.endswith("</interface>\n")
    assert f"path='{switch.dir}/a&lt;b>&amp;&apos;c.sock' mode='client'>" in out
