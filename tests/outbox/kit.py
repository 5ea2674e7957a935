"""What the outbox's tests share: submissions, an open database, a store that answers at once."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import OutboxError, StoreFailedError, Submission
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import connect
from netsvc.outbox.store import IOutboxStore

START = 1_700_000_000.0  # seconds: any moment will do


def submission(*targets: str, content: bytes = b"Subject: x\r\n\r\nhello\r\n", **more: Any) -> Submission:
    """A small submission; to one target when none is named."""
    values: dict[str, Any] = {"submitter": "uid:1000", "sender": "a@example.com", **more}
    return Submission(targets=targets or ("b@example.com",), content=content, **values)


def temporary(case: SynchronousTestCase) -> Path:
    """A directory that goes when the test is over."""
    directory = tempfile.TemporaryDirectory(prefix="netsvc-outbox-")
    case.addCleanup(directory.cleanup)
    return Path(directory.name)


def open_database(case: SynchronousTestCase, directory: Path | None = None) -> Database:
    """A database in autocommit mode: every step stands at once."""
    directory = directory or temporary(case)
    make_directories(directory)
    connection = connect(directory)
    case.addCleanup(connection.close)
    return Database(connection, random.Random(1).random)


@implementer(IOutboxStore)
class ImmediateStore:
    """The real database behind Deferreds that have already fired; `failures` are raised by the next calls of a name.

    A failure may be held back: put a Deferred instead of an error, and the call is made when it fires.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.failures: dict[str, list[Any]] = {}
        self.calls: list[str] = []
        self.closed = False

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        method = getattr(self.database, name)

        def call(*args: Any, **kwargs: Any) -> Deferred[Any]:
            self.calls.append(name)
            planned = self.failures.get(name)
            if planned:
                one = planned.pop(0)
                if isinstance(one, Deferred):
                    one.addCallback(lambda _: method(*args, **kwargs))
                    return one
                return fail(one)
            try:
                return succeed(method(*args, **kwargs))
            except OutboxError as error:
                return fail(error)

        return call

    def watch(self, hint: Callable[[], None], lapsed: Callable[[], None]) -> None:
        self.hint, self.lapsed = hint, lapsed

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


def disk_full() -> StoreFailedError:
    """What a store says when it cannot write."""
    return StoreFailedError("the queue cannot be written or read: database or disk is full")
