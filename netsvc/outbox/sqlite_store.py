"""The embedded store: SQLite in a directory of its own, one process, one thread, one connection.

What is accepted or leased is on the disk before anybody hears of it. The record of an attempt is in the log at once,
which the death of the process does not undo, but its sync comes with the next that is needed, or soon. A power cut
before that leaves the lease, and so an attempt with unknown result, as one in the middle of the attempt does: its item
may be sent twice, and the ledger says so.
"""

from __future__ import annotations

import contextlib
import os
import random as random_module
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netsvc.errors import StartError
from netsvc.outbox.bodies import Bodies
from netsvc.outbox.custody import Custody
from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import StoreFullError
from netsvc.outbox.recovery import recover
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import FILE, connect, lock
from netsvc.outbox.steps import Settled
from netsvc.outbox.threaded_store import ThreadedStore

CHECKPOINT = 1000  # pages of 4 KiB in the log, after which they go into the database
RESERVE = 8 << 20  # octets that submissions leave free: the log between two checkpoints, twice
SOON = 0.05  # seconds until what need not last at once is on the disk all the same
AGAIN = 5.0  # seconds until that is tried again on a disk that fails
SCRUB = 1.0  # seconds that what was redacted may stay in the log

_RANDOM = random_module.SystemRandom().random
_STORE = sqlite3.Error | OSError  # of the database, of the files of what is large


class SqliteStore(ThreadedStore[Database]):
    """An outbox in a directory.

    :param lock_descriptor: holds the directory for this process until it is closed.
    """

    def __init__(
        self, database: Database, directory: Path, lock_descriptor: int, call_from_thread: Callable[..., Any]
    ) -> None:
        self._directory = directory
        self._lock = lock_descriptor
        self._lasting = True  # what is committed is synced
        self._changes = 0  # of the connection, when the transaction began
        self._sync_at: float | None = None  # monotonic: when what was committed without a sync has one; None: it has
        self._doubtful = False  # a sync failed that was also for what had none yet
        self._scrub_at: float | None = None  # monotonic: when the log loses what was redacted
        super().__init__(database, call_from_thread)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        call_from_thread: Callable[..., Any],
        custody: Custody,
        settled: Settled | None = None,
        now: float | None = None,
        random: Callable[[], float] = _RANDOM,
    ) -> tuple[SqliteStore, int]:
        """Open the outbox in a directory, which is made; blocks for a few file operations.

        Leases of a predecessor that died are ended as attempts with unknown result.

        :param settled: what follows from their settlements, as for the runner.
        :return: the store, and how many leases it recovered.
        :raises StartError: another process has it, or it cannot be used.
        """
        try:
            make_directories(directory)
            descriptor = lock(directory)
        except OSError as error:
            raise StartError(f"the queue {directory} cannot be used: {error.strerror}") from None
        try:
            database = Database(connect(directory), random, Bodies(directory))
            database.redacts = custody.redact
        except BaseException:
            os.close(descriptor)
            raise
        try:
            if custody.redact:
                # What is deleted is overwritten; and no log stays of a predecessor that died with something in it.
                database.connection.execute("PRAGMA secure_delete = ON")
            recovered = _recover(database, custody, settled, time.time() if now is None else now, random)
            database.lasts()
            database.sweep()
            if custody.redact:
                database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except BaseException as error:
            database.connection.close()
            os.close(descriptor)
            if isinstance(error, _STORE | ValueError | TypeError):  # the last two: what a row holds is damaged
                raise StartError(f"the queue {directory} cannot be written: {error}") from None
            raise
        return cls(database, directory, descriptor, call_from_thread), recovered

    def _check_room(self) -> None:
        """Without this, a disk that submissions have filled would let nothing out either: each step is a write."""
        # What arrives is written into the log and then into the database, as what is in the log still may be.
        needed = RESERVE + _size(self._directory / f"{FILE}-wal") + 2 * self._arriving
        about = os.statvfs(self._directory)
        free = about.f_bavail * about.f_frsize
        if free < needed:
            raise StoreFullError(f"the disk of the queue is full: {free >> 10} KiB free, {needed >> 10} KiB needed")

    def _begin(self, *, lasting: bool = True) -> None:
        connection = self._database.connection
        if self._doubtful:
            self._empty_the_log()
        if lasting != self._lasting:
            connection.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            # A checkpoint syncs the log first, and says nothing when that fails: so only behind what was synced.
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT if lasting else 0}")
            self._lasting = lasting
        self._changes = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        connection = self._database.connection
        connection.execute("COMMIT")
        if connection.total_changes == self._changes:
            return  # nothing was written, nor synced
        if self._lasting:
            self._sync_at = None
            self._database.lasts()
        elif self._sync_at is None:
            self._sync_at = time.monotonic() + SOON

    def _abort(self) -> None:
        self._doubtful = self._doubtful or self._sync_at is not None
        self._database.failed()
        with contextlib.suppress(sqlite3.Error):
            self._database.connection.execute("ROLLBACK")

    def _empty_the_log(self) -> None:
        """Bring what is in the log into the database, and begin it anew.

        After an fsync that failed the kernel may take for written what is not. Of the transaction that it was for
        nothing is kept; but if there are others in the log that were not yet brought to the disk, they may be a hole in
        it, and what is written behind a hole is lost with the power. The database gets them from memory.
        """
        (busy, _, _) = self._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the log cannot be emptied")
        self._doubtful, self._sync_at = False, None

    def _patience(self) -> float | None:
        due = [one for one in (self._sync_at, self._scrub_at) if one is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _tick(self) -> None:
        """Bring to the disk what need not last at once, when nothing came that took it along; empty the log of what
        was redacted.
        """
        self._scrub()
        if self._sync_at is None or time.monotonic() < self._sync_at:
            return
        try:
            self._begin()
            self._database.connection.execute("UPDATE total SET n = n")  # any change: its commit syncs the log
            self._commit()
        except sqlite3.Error:
            self._abort()
            self._sync_at = time.monotonic() + AGAIN

    def _scrub(self) -> None:
        """The database has overwritten what was redacted; the log still has it, as it has what came before."""
        if self._database.redacted and self._scrub_at is None:
            self._scrub_at = time.monotonic() + SCRUB
        if self._scrub_at is None or time.monotonic() < self._scrub_at:
            return
        try:
            self._database.redacted = False
            self._empty_the_log()
            self._scrub_at = None
        except sqlite3.Error:
            self._scrub_at = time.monotonic() + AGAIN

    def _in_transaction(self) -> bool:
        return self._database.connection.in_transaction

    def _is_database_error(self, error: Exception) -> bool:
        return isinstance(error, _STORE)

    def _let_go(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.connection.close()
        os.close(self._lock)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _recover(
    database: Database, custody: Custody, settled: Settled | None, now: float, random: Callable[[], float]
) -> int:
    database.connection.execute("BEGIN IMMEDIATE")
    leases = database.leased()
    recover(database, leases, custody, settled, now=now, random=random)
    database.connection.execute("COMMIT")
    return len(leases)
