"""The embedded store: SQLite behind one thread that owns the only connection, with grouped commits.

Jobs that arrive while a commit runs are done together in the next transaction, each in a savepoint of its own, so that
one that fails takes none along; their Deferreds fire after that one commit, which is an fsync of the write-ahead log.
So one submission alone waits for one fsync, and a hundred at once wait for one or two.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random as random_module
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.errors import StartError
from netsvc.outbox.custody import Custody
from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import (
    Accepted,
    Attempt,
    Audit,
    Lease,
    OutboxError,
    Settlement,
    StoreFailedError,
    StoreFullError,
    Submission,
    Summary,
)
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import FILE, connect, lock
from netsvc.outbox.store import IOutboxStore

T = TypeVar("T")

MAX_GROUP = 256  # jobs in one transaction, so that the first of them need not wait long for the last
RESERVE = 8 << 20  # octets that submissions leave free: the log between two checkpoints (1,000 pages of 4 KiB), twice
MAX_GROUP_OCTETS = 32 << 20  # of content in one transaction, for the same reason

_RANDOM = random_module.SystemRandom().random

log = Logger()


@frozen
class _Job:
    work: Callable[[Database], Any]
    done: Deferred[Any]
    octets: int


@implementer(IOutboxStore)
class SqliteStore:
    """An outbox in a directory of its own.

    :param call_from_thread: runs a function in the reactor's thread: ``reactor.callFromThread``.
    """

    def __init__(
        self, database: Database, directory: Path, lock_descriptor: int, call_from_thread: Callable[..., Any]
    ) -> None:
        self._database = database
        self._directory = directory
        self._arriving = 0  # octets of content in the group under way
        self._lock = lock_descriptor
        self._call_from_thread = call_from_thread
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed: Deferred[None] | None = None
        self._thread = threading.Thread(target=self._run, name="netsvc-outbox", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        call_from_thread: Callable[..., Any],
        custody: Custody,
        now: float | None = None,
        random: Callable[[], float] = _RANDOM,
    ) -> tuple[SqliteStore, int]:
        """Open the outbox in a directory, which is made; blocks for a few file operations.

        Leases of a predecessor that died are ended as attempts with unknown result.

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
            recovered = _recover(database, custody, time.time() if now is None else now, random)
        except BaseException as error:
            database.connection.close()
            os.close(descriptor)
            if isinstance(error, sqlite3.Error | ValueError | TypeError):  # the last two: what a row holds is damaged
                raise StartError(f"the queue {directory} cannot be written: {error}") from None
            raise
        return cls(database, directory, descriptor, call_from_thread), recovered

    def accept(self, submission: Submission, now: float) -> Deferred[Accepted]:
        """See :meth:`Database.accept`.

        :raises StoreFullError: (as a failure) the disk has no room but for what is there already.
        """

        def work(database: Database) -> Accepted:
            self._check_room()
            return database.accept(submission, now)

        return self._submit(work, len(submission.content))

    def claim(self, owner: str, limit: int, octets: int, now: float) -> Deferred[tuple[Lease, ...]]:
        """See :meth:`Database.claim`."""
        return self._submit(lambda database: database.claim(owner, limit, octets, now))

    def content(self, queue_id: str) -> Deferred[bytes]:
        """See :meth:`Database.content`."""
        return self._submit(lambda database: database.content(queue_id))

    def settle(self, lease: Lease, settlement: Settlement, now: float) -> Deferred[None]:
        """See :meth:`Database.settle`."""
        return self._submit(lambda database: database.settle(lease, settlement, now))

    def release(self, lease: Lease) -> Deferred[None]:
        """See :meth:`Database.release`."""
        return self._submit(lambda database: database.release(lease))

    def remove(self, queue_id: str, operator: str, now: float) -> Deferred[int]:
        """See :meth:`Database.remove`."""
        return self._submit(lambda database: database.remove(queue_id, operator, now))

    def requeue(self, queue_id: str, operator: str, now: float) -> Deferred[int]:
        """See :meth:`Database.requeue`."""
        return self._submit(lambda database: database.requeue(queue_id, operator, now))

    def next_due(self, now: float) -> Deferred[float | None]:
        """See :meth:`Database.next_due`."""
        return self._submit(lambda database: database.next_due(now))

    def listing(
        self, after: str, limit: int, submitter: str | None = None, done: bool = False
    ) -> Deferred[tuple[Summary, ...]]:
        """See :meth:`Database.listing`."""
        return self._submit(lambda database: database.listing(after, limit, submitter, done))

    def show(self, queue_id: str) -> Deferred[tuple[Summary, tuple[Attempt, ...]]]:
        """See :meth:`Database.show`."""
        return self._submit(lambda database: database.show(queue_id))

    def audit(self) -> Deferred[Audit]:
        """See :meth:`Database.audit`."""
        return self._submit(lambda database: database.audit())

    def purge(self, before: float) -> Deferred[int]:
        """See :meth:`Database.purge`."""
        return self._submit(lambda database: database.purge(before))

    def close(self) -> Deferred[None]:
        """Do what is queued, then let the directory go."""
        if self._closed is None:
            self._closed = Deferred()
            self._jobs.put(None)
        return self._closed

    def _check_room(self) -> None:
        """Without this, a disk that submissions have filled would let nothing out either: each step is a write."""
        # What arrives is written into the log and then into the database, as what is in the log still may be.
        needed = RESERVE + _size(self._directory / f"{FILE}-wal") + 2 * self._arriving
        about = os.statvfs(self._directory)
        free = about.f_bavail * about.f_frsize
        if free < needed:
            raise StoreFullError(f"the disk of the queue is full: {free >> 10} KiB free, {needed >> 10} KiB needed")

    def _submit(self, work: Callable[[Database], T], octets: int = 0) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        if self._closed is not None:
            done.errback(StoreFailedError("the queue is closed"))
        else:
            self._jobs.put(_Job(work, done, octets))
        return done

    def _run(self) -> None:
        """The thread: take what has come, do it, commit it, answer."""
        ending = False
        while not ending:
            jobs, ending = self._next_group()
            if jobs:
                answers = self._do(jobs)
                self._call_from_thread(_answer, answers)
        with contextlib.suppress(sqlite3.Error):
            self._database.connection.close()
        os.close(self._lock)
        assert self._closed is not None  # noqa: S101 - only close() ends the loop
        self._call_from_thread(self._closed.callback, None)

    def _next_group(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        octets = 0
        while len(jobs) < MAX_GROUP and octets < MAX_GROUP_OCTETS:
            try:
                job = self._jobs.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            octets += job.octets
        return jobs, False

    def _do(self, jobs: list[_Job]) -> list[tuple[_Job, Any]]:
        """Do jobs in one transaction; each with its result or its Failure."""
        connection = self._database.connection
        self._arriving = sum(job.octets for job in jobs)
        answers: list[tuple[_Job, Any]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                answers.append((job, self._do_one(job)))
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread must live, and every job must be answered
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                log.failure("the queue met a fault of its own", event="outbox-fault")
            failure = Failure(StoreFailedError(f"the queue cannot be written or read: {error}"))
            return [(job, failure) for job in jobs]
        return answers

    def _do_one(self, job: _Job) -> Any:
        connection = self._database.connection
        connection.execute("SAVEPOINT job")
        try:
            result = job.work(self._database)
        except sqlite3.Error as error:
            if not connection.in_transaction:  # disk full and its kin: SQLite rolled everything back
                raise
            result = Failure(StoreFailedError(f"the queue cannot be written or read: {error}"))
        except OutboxError:
            result = Failure()
        except Exception:  # noqa: BLE001 - a fault of one job is no fault of the others
            log.failure("the queue met a fault of its own", event="outbox-fault")
            result = Failure()
        if isinstance(result, Failure):
            result.cleanFailure()
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return result


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _answer(answers: list[tuple[_Job, Any]]) -> None:
    for job, result in answers:
        job.done.callback(result)


def _recover(database: Database, custody: Custody, now: float, random: Callable[[], float]) -> int:
    connection = database.connection
    connection.execute("BEGIN IMMEDIATE")
    leases = database.leased()
    for lease in leases:
        database.settle(lease, custody.recover(lease, now=now, random=random), now, recovered=True)
    connection.execute("COMMIT")
    return len(leases)
