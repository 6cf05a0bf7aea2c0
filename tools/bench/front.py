"""The load generator: many guests in one process (tools/bench/front), one JSON object per line of output."""

import json
import os

from machine import BUILD, GENERATOR_CORE, Process, Trouble, use_huge, wait_for

PROGRAM = BUILD / "bench-front"
READY_S = 60


class Front(Process):
    """Returns when every guest has been heard by its peer."""

    def __init__(self, directory, name, sockets, *options):
        if not os.access(PROGRAM, os.X_OK):
            raise Trouble(f"{PROGRAM} is not there: run make bench")
        argv = [str(PROGRAM), "--core", str(GENERATOR_CORE), "--deadline", str(READY_S), *map(str, options),
                *(["--huge"] if use_huge() else []), *map(str, sockets)]
        super().__init__(argv, directory / f"{name}.log")
        try:
            wait_for(self.is_ready, READY_S + 5, f"{name}: all guests are heard")
        except BaseException:
            self.stop()
            raise

    def said(self):
        """All complete objects so far."""
        lines = self.log.read_text(errors="replace").split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def is_ready(self):
        self.check()
        return any(o["event"] == "ready" for o in self.said())

    def final(self):
        """Ends it; its last figures."""
        self.stop()
        final = [o for o in self.said() if o["event"] == "final"]
        if not final:
            raise Trouble(f"{self.log.name}: the load generator gave no final figures")
        return final[0]
