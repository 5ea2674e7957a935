"""Where the mail goes: smtp-sink, one of our own that counts recipients and can put mail off, and a long way there."""

from __future__ import annotations

import os
import re
import struct
import tempfile
from pathlib import Path
from typing import Protocol

from benchmarks.load import program
from benchmarks.processes import LOOPBACK, Server, free_ports

HERE = Path(__file__).parent
BACKLOG = 200


class Sink(Protocol):
    """Takes mail."""

    @property
    def port(self) -> int:
        """Where."""

    def delivered(self) -> int:
        """To how many recipients it has taken mail."""

    def stop(self) -> None:
        """End it."""


class SmtpSink:
    """smtp-sink, which counts messages: for those with one recipient."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="netsvc-bench-sink-")
        (self.port,) = free_ports(1)
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["smtp-sink", "-c", *as_nobody, f"{LOOPBACK}:{self.port}", str(BACKLOG)]
        self.server = Server(command, [self.port], Path(self.directory.name))

    def delivered(self) -> int:
        """How many messages it has taken."""
        with self.server.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200))
            found = re.findall(rb"mesg=(\d+)\s*\r", log.read())
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        """End it."""
        self.server.stop()
        self.directory.cleanup()


class CountingSink:
    """sink.c.

    :param tempfail: of a thousand messages so many are put off with 451 at their end.
    """

    def __init__(self, tempfail: int = 0) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="netsvc-bench-sink-")
        self._counters = Path(self.directory.name) / "counters"
        (self.port,) = free_ports(1)
        self._command = [
            *(str(program(HERE / "sink.c")), str(self.port), str(self._counters)),
            *([f"tempfail={tempfail}"] if tempfail else []),
        ]
        self._server: Server | None = None
        self.start()

    def start(self) -> None:
        """Take mail, at the same port as ever; the counters go on."""
        self._server = Server(self._command, [self.port], Path(self.directory.name))

    def cease(self) -> None:
        """Refuse connections until the next start."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _count(self, place: int) -> int:
        (number,) = struct.unpack_from("=Q", self._counters.read_bytes(), 8 * place)
        return int(number)

    def transactions(self) -> int:
        """How many messages it has taken."""
        return self._count(0)

    def delivered(self) -> int:
        """To how many recipients those were."""
        return self._count(1)

    def stop(self) -> None:
        """End it."""
        self.cease()
        self.directory.cleanup()


class Distant:
    """A sink, and delay.c before it.

    :param round_trip: milliseconds.
    """

    def __init__(self, sink: Sink, round_trip: float) -> None:
        self._sink = sink
        self.directory = tempfile.TemporaryDirectory(prefix="netsvc-bench-delay-")
        (self.port,) = free_ports(1)
        command = [str(program(HERE / "delay.c")), str(self.port), str(sink.port), str(round_trip)]
        self._server = Server(command, [self.port], Path(self.directory.name))

    def delivered(self) -> int:
        """As the sink says."""
        return self._sink.delivered()

    def stop(self) -> None:
        """End both."""
        self._server.stop()
        self.directory.cleanup()
        self._sink.stop()
