"""The records of a list: what is known of each of its URLs. A JSON line for each change, on the disk before it counts.

The last line of a URL holds. Lines that a crash cut are passed over. Opening writes the file anew when half of it is
history. Blocking work is done in threads, the lines of one moment together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred

from netsvc.outbox.directories import sync_directory

Status = Literal["fetched", "unchanged", "retry", "failed"]
HISTORY = 1000  # lines beyond twice the records that may stand in the file


@frozen(kw_only=True)
class Record:
    """What is known of one URL.

    :param key: see :func:`.orders.key_of`.
    :param url: without user and password.
    :param name: of its file; empty while it has none.
    :param sha256: hexadecimal; empty while there is no file.
    :param fetched: when it was last asked for with success, wall clock; 0: never.
    :param status: of the last attempt.
    :param reason: why that was no success, one line.
    :param run: queue id of the run that it belonged to.
    :param resume: id of a part that was kept, or empty.
    """

    key: str
    url: str
    name: str = ""
    size: int = 0
    sha256: str = ""
    etag: str | None = None
    last_modified: str | None = None
    fetched: float = 0.0
    status: Status = "retry"
    reason: str = ""
    run: str = ""
    resume: str = ""


class Book:
    """The records.

    :param path: of the file; its directory is there.
    :param in_thread: as IRuntime.in_thread.
    :param changed: called after each change.
    """

    def __init__(
        self, path: Path, in_thread: Callable[..., Deferred[Any]], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._in_thread = in_thread
        self._changed = changed
        self._records: dict[str, Record] = {}
        self._names: dict[str, str] = {}
        self._waiting: list[tuple[str, Deferred[None]]] = []
        self._writing = False
        self._descriptor: int | None = None
        self.last_run: float | None = None
        self.last_list = ""

    def open(self) -> None:
        """Read what is there. Blocks.

        :raises OSError: it cannot be read or written.
        """
        lines = whole = 0
        octets = self._path.read_bytes() if self._path.exists() else b""
        for line in octets.split(b"\n"):
            if line:
                lines += 1
                whole += self._read(line)
        if lines != whole or lines > 2 * len(self._records) + HISTORY or (octets and not octets.endswith(b"\n")):
            self._rewrite()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Let the file go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def get(self, key: str) -> Record | None:
        """The record of a URL."""
        return self._records.get(key)

    def owner(self, name: str) -> str | None:
        """The key of the URL whose file has a name."""
        return self._names.get(name)

    def records(self) -> list[Record]:
        """All of them, by URL."""
        return sorted(self._records.values(), key=lambda one: one.url)

    def put(self, record: Record) -> Deferred[None]:
        """Replace a record; fires when that is on the disk, and fails with OSError."""
        self._take(record)
        self._changed()
        return self._append(attrs.asdict(record))

    def ran(self, at: float, what: str) -> Deferred[None]:
        """A run of a list was ordered; as above."""
        self.last_run, self.last_list = at, what
        return self._append({"ran": at, "list": what})

    def _take(self, record: Record) -> None:
        before = self._records.get(record.key)
        if before is not None and self._names.get(before.name) == record.key:
            del self._names[before.name]
        self._records[record.key] = record
        if record.name:
            self._names[record.name] = record.key

    def _read(self, line: bytes) -> bool:
        try:
            whole = json.loads(line)
            if "ran" in whole:
                self.last_run, self.last_list = float(whole["ran"]), str(whole["list"])
            else:
                self._take(Record(**whole))
        except (ValueError, TypeError, KeyError):
            return False
        return True

    def _rewrite(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        lines: list[dict[str, Any]] = [attrs.asdict(one) for one in self._records.values()]
        if self.last_run is not None:
            lines.append({"ran": self.last_run, "list": self.last_list})
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(_octets(lines))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._path)
        sync_directory(self._path.parent)

    def _append(self, line: dict[str, Any]) -> Deferred[None]:
        written: Deferred[None] = Deferred()
        self._waiting.append((_octets([line]).decode(), written))
        if not self._writing:
            self._write_on()
        return written

    def _write_on(self) -> None:
        if not self._waiting:
            return
        self._writing = True
        batch, self._waiting = self._waiting, []

        def ended(result: Any) -> None:
            self._writing = False
            for _, one in batch:
                one.callback(result)  # a Failure, too
            if not self._writing:
                self._write_on()

        self._in_thread(self._write, "".join(text for text, _ in batch).encode()).addBoth(ended)

    def _write(self, octets: bytes) -> None:
        if self._descriptor is None:
            raise OSError(None, "the records are closed")
        at = 0
        while at < len(octets):
            at += os.write(self._descriptor, octets[at:])
        os.fdatasync(self._descriptor)


def _octets(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in lines)
