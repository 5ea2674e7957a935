"""One life of a daemon: a twistd that runs netsvc, perhaps under an strace that kills it at a certain call."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from benchmarks.contestants import twistd

PATIENCE = 60.0  # seconds to be ready, or to end
LOOK = 0.01  # seconds between two looks


class LifeFailedError(Exception):
    """The daemon did not start, or did not end."""


@frozen
class Kill:
    """Where a life ends.

    :param call: a system call.
    :param number: it is made when a thread enters this call for the number-th time.
    """

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


class Life:
    """A context manager; at its end the daemon is dead, by SIGKILL when nothing killed it before.

    :param directory: with ``netsvc.ini``; logs and traces go there too.
    :param name: of the log.
    :param trace: count these calls in place of killing at one.
    :param environment: added to this process's.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        kill: Kill | None = None,
        trace: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = directory / f"{name}.log"
        self.traced = directory / f"{name}.trace"
        self._launcher: list[str] = []
        if kill is not None or trace:
            calls = trace if kill is None else kill.call
            self._launcher = ["strace", "-f", "-qq", "-o", str(self.traced), "-e", f"trace={calls}"]
        if kill is not None:
            self._launcher += ["-e", f"inject={kill.call}:signal=KILL:when={kill.number}"]
        command = [twistd(), "-n", "--pidfile=", "netsvc", "--config", str(directory / "netsvc.ini")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._launcher, *command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(environment or {}),
            )

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def over(self) -> bool:
        """Whether it is dead."""
        return self._process.poll() is not None

    @property
    def killed(self) -> bool:
        """Whether SIGKILL has ended it."""
        return self.over and self._process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text("utf-8", "replace")

    def ready(self) -> bool:
        """Wait until it listens; False when it died before.

        :raises LifeFailedError: it does neither.
        """
        end = time.monotonic() + PATIENCE
        while " ready: " not in (text := self.log()):
            if self.over:
                return False
            if time.monotonic() > end:
                raise LifeFailedError(f"it is not ready:\n{text[-2000:]}")
            time.sleep(LOOK)
        return True

    def wait(self, seconds: float) -> bool:
        """Whether it dies within some time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> bool:
        """End it by SIGKILL; whether it had been killed before. Its children end because it does."""
        killed = self.killed
        daemon = children(self._process.pid) if self._launcher else [self._process.pid]
        family = [child for pid in daemon for child in children(pid)]
        if not self.over:
            for pid in daemon:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if not self.wait(PATIENCE):
            self._process.kill()
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise LifeFailedError("it does not end, or its agent does not")
        return killed

    def family(self) -> set[int]:
        """The children of strace, or of the daemon where there is no strace."""
        return set(children(self._process.pid))


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that live."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
