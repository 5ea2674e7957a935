"""Large contents in files: on the disk before their row, and there as long as anything may need them."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox import bodies
from netsvc.outbox.bodies import DIRECTORY, LEAST, Bodies
from netsvc.outbox.custody import Custody
from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import Accepted, DamagedError, Lease, Outcome, StoreFailedError, SuppressedError
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import connect
from tests.outbox.kit import START, submission, temporary
from tests.outbox.test_outbox_store import StoreCase
from tests.waiting import wait_until

LARGE = b"Subject: x\r\n\r\n" + b"x" * LEAST


def delivered(lease: Lease) -> Any:
    """What an attempt comes to that went well."""
    outcomes = [Outcome(target=one.address, result="delivered") for one in lease.targets]
    return Custody().settle(lease, outcomes, now=START, random=lambda: 0.5)


class Steps(SynchronousTestCase):
    """Without the thread: what is committed, and whether that lasts, is told."""

    def setUp(self) -> None:
        self.directory = temporary(self)
        make_directories(self.directory)
        self.database = self.open()

    def open(self) -> Database:
        connection = connect(self.directory)
        self.addCleanup(connection.close)
        return Database(connection, random.Random(1).random, Bodies(self.directory))

    def files(self) -> list[str]:
        return sorted(one.name for one in (self.directory / DIRECTORY).iterdir())

    def accept(self, content: bytes = LARGE) -> Accepted:
        self.database.connection.execute("BEGIN IMMEDIATE")
        accepted = self.database.accept(submission(content=content), START, "me")
        self.database.flush()
        self.database.connection.execute("COMMIT")
        self.database.lasts()
        return accepted

    def stored(self) -> int:
        (octets,) = self.database.connection.execute("SELECT total(length(octets)) FROM content").fetchone()
        return int(octets)

    def test_life(self) -> None:
        """A large content is in a file and not in the database, is read from there, and goes when its item went."""
        accepted = self.accept()
        assert accepted.lease is not None
        self.assertEqual(self.files(), [accepted.queue_id])
        self.assertEqual((self.directory / DIRECTORY / accepted.queue_id).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.stored(), 0)
        self.assertEqual(self.database.content(accepted.queue_id), LARGE)
        self.database.settle(accepted.lease, delivered(accepted.lease), START)
        self.database.flush()
        self.assertEqual(self.files(), [accepted.queue_id])  # until that lasts
        self.database.lasts()
        self.assertEqual(self.files(), [])
        self.assertTrue(self.database.audit().balanced)

    def test_small(self) -> None:
        """A small content is in the database, and so is an empty one."""
        self.assertEqual(self.database.content(self.accept(LARGE[: LEAST - 1]).queue_id), LARGE[: LEAST - 1])
        self.assertEqual(self.database.content(self.accept(b"").queue_id), b"")
        self.assertFalse((self.directory / DIRECTORY).exists())

    def test_purged(self) -> None:
        """What is purged has no file any more."""
        lease = self.accept().lease
        assert lease is not None
        bounced = [Outcome(target=one.address, result="permanent") for one in lease.targets]
        self.database.settle(lease, Custody().settle(lease, bounced, now=START, random=lambda: 0.5), START)
        self.database.lasts()
        self.assertEqual(len(self.files()), 1)  # of a bounce
        self.database.purge(START + 1)
        self.database.lasts()
        self.assertEqual(self.files(), [])

    def test_undone(self) -> None:
        """Of a step that was undone no file stays; of one that dropped a content the file does."""
        kept = self.accept()
        assert kept.lease is not None
        execute = self.database.connection.execute
        execute("BEGIN IMMEDIATE")
        execute("SAVEPOINT job")
        self.database.accept(submission(content=LARGE), START)
        self.database.settle(kept.lease, delivered(kept.lease), START)
        execute("ROLLBACK TO job")
        execute("RELEASE job")
        self.assertEqual(len(self.files()), 2)
        self.database.flush()
        execute("COMMIT")
        self.database.lasts()
        self.assertEqual(self.files(), [kept.queue_id])
        self.assertEqual(self.database.content(kept.queue_id), LARGE)

    def test_order(self) -> None:
        """The file and its directory are synced before the commit."""
        done = []

        def synced(descriptor: int) -> None:
            done.append(os.readlink(f"/proc/self/fd/{descriptor}"))

        self.database.connection.execute("BEGIN IMMEDIATE")
        with mock.patch.object(bodies.os, "fsync", synced):
            queue_id = self.database.accept(submission(content=LARGE), START).queue_id
            self.assertEqual(done[-1:], [str(self.directory)][: len(done)])  # where the directory was made
            done.clear()
            self.database.flush()
        self.assertEqual(done, [str(self.directory / DIRECTORY / queue_id), str(self.directory / DIRECTORY)])
        self.database.connection.execute("COMMIT")

    def test_commit_fails(self) -> None:
        """What a failed commit was for stays until the next that lasts, since it may come back with a death."""
        self.database.connection.execute("BEGIN IMMEDIATE")
        self.database.accept(submission(content=LARGE), START)
        self.database.flush()
        self.database.failed()
        self.database.connection.execute("ROLLBACK")
        self.database.undone()
        self.assertEqual(len(self.files()), 1)
        queue_id = self.accept().queue_id
        self.assertEqual(self.files(), [queue_id])

    def test_swept(self) -> None:
        """What a death left without a row is removed at the next start; what has one stays."""
        queue_id = self.accept().queue_id
        (self.directory / DIRECTORY / "left").write_bytes(b"x")
        self.database.connection.close()
        self.database = self.open()
        self.database.sweep()
        self.assertEqual(self.files(), [queue_id])
        self.assertEqual(self.database.content(queue_id), LARGE)

    def test_damaged(self) -> None:
        """A file that is gone, or is not what was written, is no content."""
        path = self.directory / DIRECTORY / self.accept().queue_id
        path.write_bytes(LARGE[:-1])
        self.assertRaises(DamagedError, self.database.content, path.name)
        path.unlink()
        self.assertRaises(DamagedError, self.database.content, path.name)

    def test_suppressed(self) -> None:
        """What is refused has no file."""
        self.database.suppress("b@example.com", "", "root", START)
        self.assertRaises(SuppressedError, self.database.accept, submission(content=LARGE), START)
        self.assertFalse((self.directory / DIRECTORY).exists())

    def test_redacted(self) -> None:
        """A queue that redacts has no files: nothing overwrites what is removed."""
        self.database.redacts = True
        self.assertEqual(self.database.content(self.accept().queue_id), LARGE)
        self.assertFalse((self.directory / DIRECTORY).exists())

    def test_version_2(self) -> None:
        """A queue from before there were files is taken over as it is."""
        self.database.connection.execute("PRAGMA user_version = 2")
        queue_id = self.accept(b"x").queue_id
        self.database.connection.close()
        self.database = self.open()
        self.assertEqual(self.database.content(queue_id), b"x")
        self.assertNotEqual(self.database.connection.execute("PRAGMA user_version").fetchone(), (2,))


class Store(StoreCase):
    """With the thread."""

    def files(self) -> list[Path]:
        return list((self.directory / DIRECTORY).iterdir())

    def test_delivered(self) -> None:
        """Soon after a delivery the file is gone."""
        store = self.open()
        lease = self.reactor.wait(store.accept(submission(content=LARGE), START, "me")).lease
        self.assertEqual(self.reactor.wait(store.content(lease.item.queue_id)), LARGE)
        self.reactor.wait(store.settle(lease, delivered(lease), START))
        wait_until(lambda: not self.files())

    def test_disk_full(self) -> None:
        """When a file cannot be written its submission is refused, another of the same group is not."""
        store = self.open()
        real = os.write

        def write(descriptor: int, octets: Any) -> int:
            if len(octets) >= LEAST:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, octets)

        with mock.patch.object(bodies.os, "write", write):
            large = store.accept(submission(content=LARGE), START)
            small = store.accept(submission(), START)
            with self.assertRaisesRegex(StoreFailedError, "No space"):
                self.reactor.wait(large)
            self.reactor.wait(small)
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 1)
        self.assertEqual(self.files(), [])

    def test_sync_fails(self) -> None:
        """When a file cannot be synced, nothing of the group was taken."""
        store = self.open()
        with mock.patch.object(bodies.os, "fsync", side_effect=OSError(errno.EIO, os.strerror(errno.EIO))):
            with self.assertRaises(StoreFailedError):
                self.reactor.wait(store.accept(submission(content=LARGE), START))
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 0)
        self.reactor.wait(store.accept(submission(content=LARGE), START))
        self.assertEqual(len(self.files()), 1)

    def test_reopened(self) -> None:
        """The next start has what was accepted, and its lease as an attempt with unknown result."""
        store = self.open()
        lease = self.reactor.wait(store.accept(submission(content=LARGE), START, "me")).lease
        self.reactor.wait(store.close())
        store = self.open()
        self.assertEqual(self.recovered, 1)
        self.assertEqual(self.reactor.wait(store.content(lease.item.queue_id)), LARGE)

    def test_unreadable(self) -> None:
        """A file that cannot be read now is asked for again, and is not taken for damaged."""
        store = self.open()
        queue_id = self.reactor.wait(store.accept(submission(content=LARGE), START)).queue_id
        with mock.patch.object(Path, "read_bytes", side_effect=OSError(errno.EIO, os.strerror(errno.EIO))):
            self.assertRaises(StoreFailedError, self.reactor.wait, store.content(queue_id))
        self.assertEqual(self.reactor.wait(store.content(queue_id)), LARGE)
