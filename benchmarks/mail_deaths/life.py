"""One life of the daemon: a twistd that runs netsvc, perhaps under an strace that kills it at a certain call.

The daemon has a child, the delivery agent. The kill is for whichever of the two is the first to make the call so often;
an agent that dies so leaves the daemon alive.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from attrs import frozen

from benchmarks.contestants import twistd
from benchmarks.processes import LOOPBACK

PATIENCE = 60.0  # seconds to be ready, or to end
LOOK = 0.01  # seconds between two looks
OTHER = "127.0.0.2"  # another loopback address, so that the log tells the endpoint from the listener
TOKEN = "a-token-of-the-campaign"

INI = """\
[netsvc]
state_directory = {state}

[smtp_client]
relay = smtp:{host}:{one}
routes = two.example smtp:{host}:{two}
tls = none
helo_name = here.example
bounce_from = mailer-daemon@one.example
bounce_window = 0s
delay_notice = none
retry_first = 1s
retry_longest = 1s
destination_failures = 1000
delivery_processes = {agents}
submission_listen = tcp:0:interface={host}
http_listen = tcp:0:interface={other}
http_token = env:DEATHS_TOKEN
"""

Killed = Literal["daemon", "agent", "nobody"]

_DEATH = re.compile(r"(?m)^(\d+) +\+\+\+ killed by SIGKILL")
_PORTS = re.compile(rf"\[smtp_client\] listening on tcp:({re.escape(LOOPBACK)}|{re.escape(OTHER)}):(\d+)")


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


def configure(directory: Path, ports: tuple[int, ...], agents: int) -> None:
    """Write the configuration of all lives of a directory."""
    one, two = ports
    text = INI.format(state=directory / "state", host=LOOPBACK, other=OTHER, one=one, two=two, agents=agents)
    (directory / "netsvc.ini").write_text(text)


class Life:
    """A context manager; at its end the daemon is dead, by SIGKILL when nothing killed it before.

    :param directory: with a configuration; logs and traces go there too.
    :param name: of the log.
    :param trace: count these calls in place of killing at one.
    """

    def __init__(self, directory: Path, name: str, kill: Kill | None = None, trace: str = "") -> None:
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
                env=os.environ | {"DEATHS_TOKEN": TOKEN},
            )
        self.socket = directory / "state" / "mail.sock"
        self.listener = self.endpoint = 0

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def over(self) -> bool:
        """Whether it is dead, and its agent, when there is a trace of both."""
        return self._process.poll() is not None

    @property
    def killed(self) -> Killed:
        """Who was killed so far."""
        if self.over:
            return "daemon" if self._process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL) else "nobody"
        text = self.traced.read_text("utf-8", "replace") if self.traced.exists() else ""
        deaths = {int(one) for one in _DEATH.findall(text)}
        if not deaths:
            return "nobody"
        living = set(_children(self._process.pid))
        return "agent" if living and not deaths & living else "daemon"

    def log(self) -> str:
        """What it said."""
        return self._log.read_text("utf-8", "replace")

    def ready(self) -> bool:
        """Wait until it takes mail; False when it died before.

        :raises LifeFailedError: it does neither.
        """
        end = time.monotonic() + PATIENCE
        while "ready: 1 services" not in (text := self.log()):
            if self.over:
                return False
            if time.monotonic() > end:
                raise LifeFailedError(f"it is not ready:\n{text[-2000:]}")
            time.sleep(LOOK)
        ports = dict(_PORTS.findall(text))
        self.listener, self.endpoint = int(ports[LOOPBACK]), int(ports[OTHER])
        return True

    def wait(self, seconds: float) -> bool:
        """Whether it dies within some time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> Killed:
        """End it by SIGKILL; who had been killed before. The agent ends because the daemon does."""
        killed = self.killed
        daemon = _children(self._process.pid) if self._launcher else [self._process.pid]
        family = [child for pid in daemon for child in _children(pid)]
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


def _children(pid: int) -> list[int]:
    """Of strace: the daemon, with which it ends; of the daemon: its agent."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
