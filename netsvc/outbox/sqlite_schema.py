"""Opens the database of an outbox: one process, durable writes, a schema that it knows. Raises StartError, one line."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from netsvc.errors import StartError
from netsvc.outbox.directories import sync_directory
from netsvc.outbox.sqlite_migration import migrate
from netsvc.outbox.sqlite_strokes import STROKES
from netsvc.outbox.sqlite_tables import ALIKE, SCHEMA, UNKNOWN, VERSION
from netsvc.outbox.veil import PAGE

APPLICATION_ID = 0x6E736F62  # "nsob", so that file(1) and we can tell it from another database
FILE = "queue.sqlite"
# Octets of write-ahead log that stay allocated after a checkpoint; a large message grows it further.
WAL_KEPT = 64 << 20


def lock(directory: Path) -> int:
    """Take the directory for this process; the descriptor holds it until it is closed.

    :raises StartError: another process has it.
    """
    path = directory / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise StartError(f"the queue {directory} is in use by {who}; one queue has one daemon") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def connect(directory: Path) -> sqlite3.Connection:
    """Open (or make) the database in a locked directory. The connection may be handed to another thread.

    :raises StartError: it is no database, not ours, or of a version that we do not know.
    """
    path = directory / FILE
    connection: sqlite3.Connection | None = None
    try:
        # Made by us and not by SQLite, which would let others read it; its log takes the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        _set_up(connection, path)
    except (sqlite3.Error, StartError, OSError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, StartError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartError(f"the queue {path} cannot be opened: {reason}") from None
    sync_directory(directory)
    return connection


def _text(octets: bytes) -> str:
    """Text as it is stored; of a damaged row too, so that one address that is no UTF-8 stops only itself."""
    return octets.decode("utf-8", "surrogateescape")


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    # One process and one connection, so no shared-memory file is needed; it also keeps other programs from opening a
    # WAL under us (SQLite before 3.51.3 may corrupt it when several connections reset it).
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA page_size = {PAGE}")  # of one that is new
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StartError(f"the queue {path} cannot be durable: its file system gives SQLite no write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")  # fsync of the log at every commit
    connection.execute("PRAGMA foreign_keys = ON")
    connection.text_factory = _text
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == 0 and version == 0 and tables == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise StartError(f"{path} is a database of another program")
    elif version == 1:
        migrate(connection)
    elif version == ALIKE:
        connection.execute(f"PRAGMA user_version = {VERSION}")  # so that a netsvc that knows no files leaves it alone
    elif version != VERSION:
        raise StartError(f"the queue {path} has version {version}; this netsvc knows version {VERSION}")
    # What undoes one statement of several tables is kept in memory, not in a file: it would be more than the log.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(UNKNOWN)
    connection.executescript(STROKES)
