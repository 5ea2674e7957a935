"""The embedded store: SQLite in a directory of its own, one process, one thread, one connection."""

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
from netsvc.outbox.custody import Custody
from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import StoreFullError
from netsvc.outbox.recovery import recover
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import FILE, connect, lock
from netsvc.outbox.steps import Settled
from netsvc.outbox.threaded_store import ThreadedStore

RESERVE = 8 << 20  # octets that submissions leave free: the log between two checkpoints (1,000 pages of 4 KiB), twice

_RANDOM = random_module.SystemRandom().random


class SqliteStore(ThreadedStore[Database]):
    """An outbox in a directory.

    :param lock_descriptor: holds the directory for this process until it is closed.
    """

    def __init__(
        self, database: Database, directory: Path, lock_descriptor: int, call_from_thread: Callable[..., Any]
    ) -> None:
        self._directory = directory
        self._lock = lock_descriptor
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
            database = Database(connect(directory), random)
        except BaseException:
            os.close(descriptor)
            raise
        try:
            recovered = _recover(database, custody, settled, time.time() if now is None else now, random)
        except BaseException as error:
            database.connection.close()
            os.close(descriptor)
            if isinstance(error, sqlite3.Error | ValueError | TypeError):  # the last two: what a row holds is damaged
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

    def _begin(self) -> None:
        self._database.connection.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        self._database.connection.execute("COMMIT")

    def _abort(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.connection.execute("ROLLBACK")

    def _in_transaction(self) -> bool:
        return self._database.connection.in_transaction

    def _is_database_error(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.Error)

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
