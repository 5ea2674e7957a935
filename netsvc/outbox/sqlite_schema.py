"""Opens the database of an outbox: one process, durable writes, a schema that it knows. Raises StartError, one line."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from netsvc.errors import StartError
from netsvc.outbox.directories import sync_directory

APPLICATION_ID = 0x6E736F62  # "nsob", so that file(1) and we can tell it from another database
VERSION = 1  # of the tables below, kept in PRAGMA user_version
FILE = "queue.sqlite"
# Octets of write-ahead log that stay allocated after a checkpoint; a large message grows it further.
WAL_KEPT = 64 << 20

_SCHEMA = """
CREATE TABLE item (
    id TEXT PRIMARY KEY,
    submitter TEXT NOT NULL,
    key TEXT,
    sender TEXT NOT NULL,
    meta TEXT NOT NULL,             -- a JSON object of strings
    size INTEGER NOT NULL,          -- octets
    sha256 TEXT NOT NULL,
    accepted_at REAL NOT NULL,      -- all times: wall clock, seconds since 1970
    state TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'done')),
    attempts INTEGER NOT NULL DEFAULT 0,
    recoveries INTEGER NOT NULL DEFAULT 0,
    waited REAL NOT NULL DEFAULT 0,
    scheduled_at REAL NOT NULL,
    next_at REAL NOT NULL,
    owner TEXT,                     -- of the lease
    fence INTEGER NOT NULL DEFAULT 0,
    claimed_at REAL,
    finished_at REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX item_key ON item (submitter, key) WHERE key IS NOT NULL;
CREATE INDEX item_due ON item (next_at) WHERE state = 'waiting';
CREATE INDEX item_scheduled ON item (scheduled_at) WHERE state = 'waiting';
CREATE INDEX item_open ON item (id) WHERE state != 'done';
CREATE INDEX item_finished ON item (finished_at) WHERE state = 'done';

CREATE TABLE target (
    item TEXT NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,             -- place in the submission
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'bounced', 'expired', 'removed', 'ambiguous')),
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL DEFAULT '',
    ambiguous INTEGER NOT NULL DEFAULT 0,
    changed_at REAL NOT NULL,
    PRIMARY KEY (item, n)
) WITHOUT ROWID;

CREATE TABLE attempt (              -- the ledger: only ever added to, until its item is purged
    id INTEGER PRIMARY KEY,
    item TEXT NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,
    at REAL NOT NULL,
    result TEXT NOT NULL,
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL,
    via TEXT NOT NULL
);
CREATE INDEX attempt_item ON attempt (item);

CREATE TABLE content (item TEXT PRIMARY KEY REFERENCES item (id), octets BLOB NOT NULL);

CREATE TABLE total (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
"""


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
            f"BEGIN IMMEDIATE; {_SCHEMA}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise StartError(f"{path} is a database of another program")
    elif version != VERSION:
        raise StartError(f"the queue {path} has version {version}; this netsvc knows version {VERSION}")
