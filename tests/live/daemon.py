"""A real twistd that runs netsvc for one test, on ports that the kernel chose."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

START_BOUND = 120.0  # seconds; a loaded CI machine is slow, a start that hangs is a failure
STOP_BOUND = 120.0  # seconds

TWISTD = Path(sys.executable).with_name("twistd")
NETSVC = Path(sys.executable).with_name("netsvc")

_LISTENING = re.compile(r"\[([\w:.-]+)\] listening on (tcp|tls|udp|unix):(.+)$")


class Daemon:
    """Runs ``twistd -n netsvc`` with a configuration; a context manager.

    Listen on port 0; ``port("echo")`` tells which one it became.

    :param ini: the text of the configuration.
    :param environ: added to the environment.
    :param arguments: further arguments of twistd, before ``netsvc``.
    :param launcher: a command that runs the command behind it, such as one that passes sockets as systemd does.
    :param descriptors: open files that the launcher inherits.
    """

    def __init__(
        self,
        ini: str,
        *,
        environ: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        launcher: tuple[str, ...] = (),
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-live-"))
        self.state = self.directory / "state"
        self.config = self.directory / "netsvc.ini"
        self.config.write_text(ini)
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._environ = {**os.environ, "XDG_STATE_HOME": str(self.directory / "xdg"), **(environ or {})}
        self._arguments = arguments
        self._launcher = launcher
        self._descriptors = descriptors
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Daemon:
        try:
            self.start()
            self.wait_for(r"ready: \d+ services")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._process = subprocess.Popen(
            [*self._launcher, TWISTD, "-n", "--pidfile=", *self._arguments, "netsvc", "--config", self.config],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="backslashreplace",
            cwd=self.directory,
            env=self._environ,
            pass_fds=self._descriptors,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, pattern: str, bound: float = START_BOUND) -> re.Match[str]:
        """Wait until a line of the log matches; fail with the whole log when none does in time."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + bound
        seen = 0
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    match = expression.search(line)
                    if match:
                        return match
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or (self._reader is not None and not self._reader.is_alive() and seen == len(self.lines)):
                    raise AssertionError(f"no line like {pattern!r} in:\n" + "\n".join(self.lines))
                self._changed.wait(min(left, 1.0))

    def port(self, section: str, scheme: str = "tcp") -> int:
        """The port that a section listens on."""
        for line in self.lines:
            match = _LISTENING.search(line)
            if match and match[1] == section and match[2] == scheme:
                return int(match[3].rpartition(":")[2])
        raise AssertionError(f"[{section}] does not listen on {scheme} in:\n" + "\n".join(self.lines))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status as Popen gives it."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait()

    def wait(self, bound: float = STOP_BOUND) -> int:
        """Wait for the end; the exit status as Popen gives it."""
        assert self._process is not None
        status = self._process.wait(bound)
        if self._reader is not None:
            self._reader.join(bound)
        if self._process.stdout is not None:
            self._process.stdout.close()  # it may be started again
        return status

    def log(self) -> str:
        """All of the log so far."""
        return "\n".join(self.lines)

    def resident(self) -> int:
        """Its resident memory in octets."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def used(self) -> float:
        """Seconds that it had a processor, which those that wait for one do not count among."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it whatever its state, and remove its files."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(STOP_BOUND)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            if self._reader is not None:
                self._reader.join(STOP_BOUND)
            if self._process.stdout is not None:
                self._process.stdout.close()
            print(f"the log of {self.config}:\n{self.log()}")  # pytest shows it where a test has failed
        shutil.rmtree(self.directory, ignore_errors=True)
