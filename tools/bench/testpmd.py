"""dpdk-testpmd, as the null switch between two vhost ports and as two guests with virtio-user ports."""

import contextlib
import os
import pty
import re
import select
import time

from machine import GENERATOR_CORE, MEMORY_MB, Process, Trouble, use_huge, wait_for

PROMPT = b"testpmd> "
ANSWER_S = 30
MBUFS = 16384
RING = 1024
BURST = 32  # frames of testpmd's
MOST_BURSTS = 24  # in flight each way
SEGMENT_BYTES = 2000  # a buffer has room for 2,048
CHAINS = ("--tx-offloads=0x8000",)  # frames of several buffers
LONG = ("--max-pkt-len=9216", "--enable-scatter", *CHAINS)  # of virtio-user ports, which want to be told
CYCLES = re.compile(r"total cycles=(\d+) / total io packets=(\d+)")
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")


class Testpmd(Process):
    """Its prompt wants a terminal: on a pipe it would hold back what it says."""

    def __init__(self, directory, name, core, vdevs, options=()):
        ours, theirs = pty.openpty()
        self.terminal = ours
        memory = (["--in-memory", "--single-file-segments", "--socket-mem", str(MEMORY_MB)] if use_huge() else
                  ["--no-huge", "--no-shconf", "-m", str(MEMORY_MB)])
        argv = ["dpdk-testpmd", "--lcores", f"0@{GENERATOR_CORE},1@{core}", "--no-pci", "--no-telemetry",
                f"--file-prefix=evs-bench-{os.getpid()}-{name}", *memory, *(f"--vdev={v}" for v in vdevs), "--", "-i",
                "--forward-mode=io", f"--total-num-mbufs={MBUFS}", f"--txd={RING}", f"--rxd={RING}", *options]
        try:
            super().__init__(argv, directory / f"{name}.log", stdin=theirs, stdout=theirs, stderr=theirs,
                             env=os.environ | {"RUNTIME_DIRECTORY": str(directory)})
        except FileNotFoundError:
            os.close(ours)
            raise Trouble("dpdk-testpmd is not installed: run tools/setup --test") from None
        finally:
            os.close(theirs)
        try:
            said = self.read()
            if "Start ports failed" in said:
                raise Trouble(f"dpdk-testpmd did not start its ports:\n{said[-600:]}")
        except BaseException:
            self.stop()
            raise

    def read(self):
        """Everything up to the next prompt."""
        said, end = b"", time.monotonic() + ANSWER_S
        while not said.endswith(PROMPT):
            try:
                if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                    raise Trouble(f"dpdk-testpmd does not answer:\n{said.decode(errors='replace')[-600:]}")
                said += os.read(self.terminal, 65536)
            except OSError:  # the other end is closed: it has ended
                raise Trouble(f"dpdk-testpmd ended:\n{said.decode(errors='replace')[-600:]}") from None
        with open(self.log, "ab") as log:
            log.write(said)
        return said.decode(errors="replace")

    def ask(self, words):
        os.write(self.terminal, words.encode() + b"\n")
        return self.read()

    def count(self):
        """Packets received since the start, and cycles of the rounds of a port that received some."""
        found = CYCLES.search(self.ask("show fwd stats all"))
        return {"packets": int(found[2]), "busy": int(found[1])} if found else {"packets": 0, "busy": 0}

    def ask_to_end(self):
        """A signal may meet a thread that is not the one that waits for commands, and is then not noticed."""
        with contextlib.suppress(OSError):
            os.write(self.terminal, b"quit\n")

    def stop(self):
        super().stop()
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None


def null_switch(directory, sockets, core, frame_bytes=64, more=""):
    """more: of the vhost ports' arguments."""
    t = Testpmd(directory, "null", core, [f"net_vhost{i},iface={s}{more}" for i, s in enumerate(sockets)],
                ["--record-core-cycles", *(CHAINS if frame_bytes > SEGMENT_BYTES else ())])
    t.ask("start")
    return t


class Circle:
    """One process that is both guests. What it sends on one port comes back on the other: a closed loop."""

    def __init__(self, frame_bytes=64, packed=False):
        """Bytes without FCS. Longer frames are chains, received in mergeable buffers."""
        self.frame_bytes, self.packed = frame_bytes, packed

    def segments(self):
        whole, rest = divmod(self.frame_bytes, SEGMENT_BYTES)
        return [SEGMENT_BYTES] * whole + [rest] * (rest > 0)

    def bursts(self):
        n = len(self.segments())
        descriptors = n + (n > 1)  # a chain's header has one of its own
        return min(MOST_BURSTS, RING * 3 // 4 // (BURST * descriptors))

    def start(self, directory, name, sockets, stack, knows):
        """One burst each way teaches the switch both addresses; the frames that then circle are known unicast."""
        vdevs = [f"net_virtio_user{i},path={s},mac={m},queue_size={RING},packed_vq={self.packed:d}"
                 for i, (s, m) in enumerate(zip(sockets, MACS))]
        guests = Testpmd(directory, name, GENERATOR_CORE, vdevs,
                         ["--txonly-multi-flow", f"--eth-peer=0,{MACS[1]}", f"--eth-peer=1,{MACS[0]}",
                          *(LONG if self.frame_bytes > SEGMENT_BYTES else ())])
        stack.callback(guests.stop)
        guests.ask("set txpkts " + ",".join(map(str, self.segments())))
        guests.ask("start tx_first 1")
        wait_for(knows, 10, "the switch has learned both guests' addresses")
        guests.ask("stop")
        guests.ask(f"start tx_first {self.bursts()}")
        return guests
