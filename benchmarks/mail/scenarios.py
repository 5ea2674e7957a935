"""What is measured of mail, and the ratios that netsvc must reach: messages of 4 KiB from the first to the last octet.

smtp-source hands messages in; the clock stops when smtp-sink has the last of them. Rounds go from peer to peer.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants import Running
from benchmarks.mail import contestants
from benchmarks.processes import LOOPBACK, PATIENCE, Server, free_ports
from benchmarks.result import Effort, Result, Target

SIZE = 4096  # octets
RATE = 300  # messages of a round for each second that it is to last
LOOK = 0.002  # seconds between two looks at the sink
BACKLOG = 200


class Sink:
    """An smtp-sink that counts."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="netsvc-bench-sink-")
        (self.port,) = free_ports(1)
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["smtp-sink", "-c", *as_nobody, f"{LOOPBACK}:{self.port}", str(BACKLOG)]
        self.server = Server(command, [self.port], Path(self.directory.name))

    def taken(self) -> int:
        """How many messages it has taken."""
        with self.server.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200))
            found = re.findall(rb"mesg=(\d+)\s*\r", log.read())
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        """End it."""
        self.server.stop()
        self.directory.cleanup()


def _measured(peer: Running, sink: Sink, sessions: int, count: int) -> tuple[float, float]:
    """Messages a second: through to the sink, and taken in."""
    before, began = sink.taken(), time.monotonic()
    subprocess.run(
        [
            *("smtp-source", "-s", str(sessions), "-m", str(count), "-l", str(SIZE)),
            *("-f", "a@example.com", "-t", "b@example.org", f"{LOOPBACK}:{peer.ports['smtp']}"),
        ],
        check=True,
        capture_output=True,
    )
    accepted = time.monotonic()
    while sink.taken() < before + count:
        if time.monotonic() - accepted > PATIENCE + count / 10:
            raise TimeoutError(f"{peer.name}: {sink.taken() - before} of {count} messages came to the sink")
        time.sleep(LOOK)
    return count / (time.monotonic() - began), count / (accepted - began)


def _through(name: str, sessions: int, least: float) -> Callable[[Effort, list[str]], Result]:
    def scenario(effort: Effort, names: list[str]) -> Result:
        result = Result(name, "messages/s", (Target("postfix", least=least),))
        count = max(sessions, int(RATE * effort.seconds))
        with ExitStack() as stack:
            sink = Sink()
            stack.callback(sink.stop)
            peers = []
            for one in names:
                peer = contestants.ALL[one](sink.port)
                stack.callback(peer.stop)
                peers.append(peer)
                _measured(peer, sink, sessions, sessions * 5)  # warm-up: processes, connections, the first of the disk
            for _ in range(effort.rounds):
                for peer in peers:
                    before = peer.server.processor_seconds()
                    through, taken = _measured(peer, sink, sessions, count)
                    result.add(peer.name, through)
                    spent = (peer.server.processor_seconds() - before) / count
                    result.processor.setdefault(peer.name, []).append(spent * 1e6)
                    result.notes[peer.name] = f"taken in at {taken:.0f}/s"
        return result

    return scenario


ALL: dict[str, Callable[[Effort, list[str]], Result]] = {
    "mail-20-sessions": _through("mail-20-sessions", 20, 2.0),
    "mail-1-session": _through("mail-1-session", 1, 1.2),
}
