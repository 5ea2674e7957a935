"""Starts the servers that are measured, waits until they listen, reads their memory, stops them by their own pid."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
PATIENCE = 20.0  # seconds for a server to listen or to end


class ServerFailedError(Exception):
    """A server did not come up, or ended by itself."""


def raise_file_limit() -> int:
    """Allow this process and its children as many descriptors as it can get; how many that are."""
    wanted = 65536
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(hard, wanted)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        except (ValueError, OSError):
            continue
        return limits[0]
    return soft


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; empty when the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # its name may be any octets
    except OSError:
        return []
    return text.rpartition(")")[2].split()


class Server:
    """One running server.

    :param command: argument list; it stays in the foreground.
    :param ports: TCP ports on which it listens once it is ready.
    :param directory: where it runs; its output goes to a file there.
    :param environment: added to this process's.
    :param files: its limit of open files; None leaves it as it is.
    """

    def __init__(
        self,
        command: Sequence[str],
        ports: Iterable[int],
        directory: Path,
        *,
        environment: dict[str, str] | None = None,
        files: int | None = None,
    ) -> None:
        def limit_files() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.log = directory / "output.log"
        began = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | (environment or {}),
                start_new_session=True,
                preexec_fn=limit_files,  # noqa: PLW1509 - there are no threads here
            )
        try:
            for port in ports:
                self._await(port, began)
        except BaseException:
            self.stop()
            raise
        self.ready_after = time.monotonic() - began  # seconds from its start until every port was open

    def _await(self, port: int, began: float) -> None:
        while True:
            try:
                socket.create_connection((LOOPBACK, port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() - began > PATIENCE:
                    raise ServerFailedError(f"{self._process.args!r}:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.002)
            else:
                return

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def resident(self) -> int:
        """Resident memory now, octets."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The greatest resident memory since forget_peak(), octets."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin a new peak: proc(5), clear_refs 5."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def family(self) -> list[int]:
        """The process and all that descend from it and live."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self.pid]
        for pid in found:  # it grows meanwhile
            found += children.get(pid, [])
        return found

    def processor_seconds(self) -> float:
        """Processor time that it and its descendants have used, with those that have ended, seconds."""
        ticks = sum(sum(map(int, fields[11:15])) for pid in self.family() if (fields := _stat(pid)))
        return ticks / os.sysconf("SC_CLK_TCK")

    def proportional(self) -> int:
        """Memory of it and its descendants now, each shared page divided by those who share it (PSS), octets."""
        total = 0
        for pid in self.family():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue  # it has ended
            total += sum(int(kib) * 1024 for kib in re.findall(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE))
        return total

    def family_peak(self) -> int:
        """The greatest resident memory of it and of each descendant that lives, together; shared pages count often."""
        total = 0
        for pid in self.family():
            try:
                text = Path(f"/proc/{pid}/status").read_text(errors="replace")
            except OSError:
                continue  # it has ended
            total += sum(int(kib) * 1024 for kib in re.findall(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE))
        return total

    def _status(self, key: str) -> int:
        match = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        if match is None:
            raise ServerFailedError(f"process {self.pid} has no {key}")
        return int(match[1]) * 1024

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL when that does not help in time."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
