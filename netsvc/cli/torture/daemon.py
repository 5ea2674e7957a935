"""A daemon of its own for the torture: its configuration, its state and its end. Nothing of the user's is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import EX_CONFIG, EX_TEMPFAIL
from netsvc.cli.torture.certificates import ROOTS
from netsvc.cli.torture.server import USERNAME
from netsvc.cli.torture.stage import HOST, FaultScene

START_BOUND = 300.0  # seconds; it opens a queue for every fault, and each waits for the disk
STOP_BOUND = 30.0  # seconds
LOOK = 0.05  # seconds between two looks
RETRY = "1s"  # the shortest there is
PHASE_TIMEOUT = 4  # seconds: what a good server of ours never needs, even on a busy machine
PASSWORD_FILE = "password"  # noqa: S105 - the name of a file
LOG = "daemon.log"

_LAST_WORDS = re.compile(r"(?m)^.*(?:error|Error).*$")


def section_of(number: int) -> str:
    """The section of a fault."""
    return f"smtp_client:f{number:02}"


def socket_of(directory: Path, number: int) -> Path:
    """The socket that takes mail in for a fault."""
    return directory / f"{number:02}.sock"


def configuration(directory: Path, scenes: Iterable[FaultScene], options: Mapping[str, str]) -> str:
    """The INI text: a section for each fault, with the user's options that hold and the adversary for a relay."""
    lines = ["[netsvc]", f"state_directory = {directory / 'state'}"]
    for scene in scenes:
        number, way = scene.fault.number, scene.way
        section = {
            "delivery_processes": "0",
            **options,
            "relay": f"{'smtps' if way.implicit else 'smtp'}:{HOST}:{scene.port}",
            "tls": way.tls,
            "trust_roots": str(directory / ROOTS),
            "socket": str(socket_of(directory, number)),
            "retry_first": RETRY,
            "retry_longest": RETRY,
            "destination_retry_first": RETRY,
            "destination_retry_longest": RETRY,
            "allow_volatile": "yes",  # /tmp is in memory on many machines; what dies here is no mail
            "phase_timeout": f"{PHASE_TIMEOUT}s",
        }
        if way.login:
            section |= {"username": USERNAME, "password": f"file:{directory / PASSWORD_FILE}"}
            section["auth_without_tls"] = "no" if way.secret else "yes"
        lines += ["", f"[{section_of(number)}]", *(f"{key} = {value}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


class TortureDaemon:
    """A twistd that runs netsvc with a configuration; a context manager.

    :raises CommandError: it does not start.
    """

    def __init__(self, directory: Path, text: str) -> None:
        self._config = directory / "netsvc.ini"
        self._config.write_text(text, "utf-8")
        self._log = directory / LOG
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TortureDaemon:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                    *("-n", "--pidfile=", "netsvc", "--config", self._config),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={
                    key: value for key, value in os.environ.items() if key not in ("STATE_DIRECTORY", "NOTIFY_SOCKET")
                },
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """The last line of its log that tells of an error, or its last line."""
        text = self._log.read_text("utf-8", "replace")
        found = _LAST_WORDS.findall(text) or text.splitlines() or ["it said nothing"]
        return found[-1].strip()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_BOUND
        while not re.search(rb"ready: \d+ services", self._log.read_bytes()):
            if not self.running:
                raise CommandError(EX_CONFIG, f"the daemon does not start: {self.last_words()}")
            if time.monotonic() > end:
                raise CommandError(EX_TEMPFAIL, f"the daemon is not ready after {START_BOUND:g} seconds")
            time.sleep(LOOK)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_BOUND)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
