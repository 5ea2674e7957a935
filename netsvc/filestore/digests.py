"""Keeps the SHA-256 of each published file: with the file where the file system can, else in an index.

A digest is kept together with the size and the time of last change of the file that it is of, and holds only for such
a one: whoever writes to the file past the store makes it void.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

ATTRIBUTE = "user.netsvc.sha256"
BLOCK = 1 << 20  # octets read at once

_SCHEMA = """CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY,
    inode INTEGER NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL, sha256 BLOB NOT NULL
) WITHOUT ROWID"""


def sha256_of(descriptor: int, start: int = 0, stop: int | None = None, into: hashlib._Hash | None = None) -> bytes:
    """The SHA-256 of an open file, or of a part of it.

    :param into: a hash that already has what stands before.
    :raises OSError: it cannot be read.
    """
    running = hashlib.sha256() if into is None else into
    position = start
    while stop is None or position < stop:
        block = os.pread(descriptor, BLOCK if stop is None else min(BLOCK, stop - position), position)
        if not block:
            break
        running.update(block)
        position += len(block)
    return running.digest()


def _text(digest: bytes, found: os.stat_result) -> bytes:
    return f"1 {digest.hex()} {found.st_size} {found.st_mtime_ns}".encode("ascii")


class Digests:
    """The digests of one root.

    :param path: of the index, which is made only when a file system has no place for them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._index: sqlite3.Connection | None = None

    def keep(self, descriptor: int, digest: bytes, found: os.stat_result | None = None) -> bool:
        """Write it to an open file, in its present state; whether that could be done.

        :param found: that state, if it was asked this moment.
        """
        try:
            os.setxattr(descriptor, ATTRIBUTE, _text(digest, os.fstat(descriptor) if found is None else found))
        except OSError:
            return False
        return True

    def index(self, names: tuple[str, ...], found: os.stat_result, digest: bytes) -> None:
        """Keep it where the file itself cannot. A digest that cannot be kept is only computed again."""
        row = ("/".join(names), found.st_ino, found.st_size, found.st_mtime_ns, digest)
        self._ask(lambda one: one.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", row))

    def forget(self, names: tuple[str, ...]) -> None:
        """The file is no more under this name."""
        if self._index is not None or self._path.exists():
            self._ask(lambda one: one.execute("DELETE FROM digests WHERE path = ?", ("/".join(names),)))

    def kept(self, descriptor: int, names: tuple[str, ...], found: os.stat_result) -> bytes | None:
        """The digest of an open file (O_PATH does not do), if one is kept that holds."""
        try:
            text = os.getxattr(descriptor, ATTRIBUTE)
        except OSError:
            return self._indexed(names, found)
        version, _, rest = text.partition(b" ")
        digest, _, _ = rest.partition(b" ")
        try:
            value = bytes.fromhex(digest.decode("ascii"))
        except ValueError:
            return None
        return value if version == b"1" and len(value) == 32 and text == _text(value, found) else None

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None

    def _indexed(self, names: tuple[str, ...], found: os.stat_result) -> bytes | None:
        if self._index is None and not self._path.exists():
            return None
        row = self._ask(
            lambda one: one.execute(
                "SELECT sha256 FROM digests WHERE path = ? AND inode = ? AND size = ? AND modified = ?",
                ("/".join(names), found.st_ino, found.st_size, found.st_mtime_ns),
            )
        )
        return row[0] if row else None

    def _ask(self, statement: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> tuple[bytes] | None:
        """Ask the index, or tell it. It holds nothing that cannot be computed again, so its faults are nobody's."""
        with self._lock:
            try:
                if self._index is None:
                    self._path.parent.mkdir(mode=0o700, exist_ok=True)
                    self._index = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
                    self._index.execute("PRAGMA journal_mode = WAL")
                    self._index.execute("PRAGMA synchronous = OFF")
                    self._index.execute(_SCHEMA)
                row: tuple[bytes] | None = statement(self._index).fetchone()
            except (OSError, sqlite3.Error):
                return None
        return row
