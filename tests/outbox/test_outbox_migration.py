"""A queue of version 1 becomes one of version 2, and keeps what it had."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.outbox import sqlite_migration
from netsvc.outbox.sqlite_schema import connect
from tests.outbox.kit import open_database, temporary

VERSION_1 = Path(__file__).with_name("version_1.sql").read_text()


class Migration(SynchronousTestCase):
    def old(self) -> Path:
        directory = temporary(self)
        connection = sqlite3.connect(directory / "queue.sqlite")
        connection.executescript(VERSION_1)
        connection.close()
        return directory

    def test_kept(self) -> None:
        """Items, targets, ledger, contents, keys and books are what they were; the targets are in parcels of 100."""
        database = open_database(self, self.old())
        summary, _ = database.show("id-waiting")
        item = summary.item
        self.assertEqual((item.attempts, item.waited, item.next_at, item.key), (3, 77, 1400, "k"))
        self.assertEqual([one.state for one in summary.parcels], ["done", "waiting", "waiting"])
        self.assertEqual([one.index for one in summary.targets], list(range(250)))
        self.assertEqual(database.content("id-waiting"), b"hello")
        _, ledger = database.show("id-done")
        self.assertEqual([(one.code, one.via) for one in ledger], [(550, "smtp:h:25")])
        audit = database.audit()
        self.assertTrue(audit.balanced)
        self.assertEqual((audit.accepted, audit.delivered, audit.waiting, audit.bounced), (253, 101, 151, 1))
        self.assertEqual(database.connection.execute("PRAGMA foreign_key_check").fetchall(), [])

    def test_goes_on(self) -> None:
        """What waited is due when it was; a lease of the dead is found; what was done can be requeued and purged."""
        database = open_database(self, self.old())
        (lease,) = database.leased()
        self.assertEqual((lease.item.queue_id, lease.owner, lease.fence), ("id-leased", "dead", 9))
        self.assertEqual(database.claim("me", 9, 10**6, 1399), ())
        self.assertEqual(database.next_due(1100), 1400)
        self.assertEqual([len(one.targets) for one in database.claim("me", 9, 10**6, 1400)], [100, 50])
        self.assertEqual(database.purge(1002), 1)
        self.assertTrue(database.audit().balanced)

    def test_same_tables(self) -> None:
        """The tables and indexes are those of a new queue."""
        schemas = [
            set(one.connection.execute("SELECT type, name, tbl_name FROM sqlite_schema").fetchall())
            for one in (open_database(self, self.old()), open_database(self))
        ]
        self.assertEqual(*schemas)

    def test_whole_or_not_at_all(self) -> None:
        """A migration that fails in the middle leaves version 1 as it was, for the next start."""
        directory = self.old()
        broken = sqlite_migration._STEPS.replace("INSERT INTO total", "INSERT INTO nowhere")
        with mock.patch.object(sqlite_migration, "_STEPS", broken):
            with self.assertRaisesRegex(StartError, "nowhere"):
                connect(directory)
        connection = sqlite3.connect(directory / "queue.sqlite")
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (1,))
        self.assertEqual(connection.execute("SELECT count(*) FROM target").fetchone(), (252,))
        connection.close()
        self.assertTrue(open_database(self, directory).audit().balanced)
