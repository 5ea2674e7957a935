"""Where the options say that a queue is, and what is imported for that."""

from __future__ import annotations

import subprocess
import sys
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.errors import StartError
from netsvc.outbox.custody import Custody
from netsvc.outbox.opening import open_store
from netsvc.outbox.postgres_store import PostgresStore
from netsvc.outbox.settings import DatabaseSettings
from netsvc.outbox.sqlite_store import SqliteStore
from netsvc.outbox.store import IOutboxStore
from tests.outbox.cluster import new_schema, shared
from tests.outbox.kit import temporary
from tests.outbox.test_outbox_store import Reactor

SERVICES = """
import sys
import netsvc.services.smtp_client.service, netsvc.services.sms.service, netsvc.cli.main
sys.exit(any(one.startswith(("psycopg", "netsvc.outbox.postgres")) for one in sys.modules))
"""


class Opening(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.directory = temporary(self) / "queue"

    def open(self, settings: DatabaseSettings, *, allow_volatile: bool = True) -> IOutboxStore:
        store = open_store(
            settings,
            queue="mail",
            directory=self.directory,
            allow_volatile=allow_volatile,
            call_from_thread=self.reactor.callFromThread,
            custody=Custody(),
        )
        self.addCleanup(lambda: self.reactor.wait(store.close()))
        return store

    def test_sqlite(self) -> None:
        """Without a database the queue is in its directory."""
        self.assertIsInstance(self.open(DatabaseSettings()), SqliteStore)
        self.assertTrue(self.directory.is_dir())

    def test_postgres(self) -> None:
        """With one it is there, in its schema, and nothing is made in the directory; its durability is asked for."""
        where = Secret("literal", shared().conninfo)
        settings = DatabaseSettings(queue_database=where, queue_schema=new_schema())
        self.assertIsInstance(self.open(settings), PostgresStore)
        self.assertFalse(self.directory.exists())
        with self.assertRaisesRegex(StartError, "fsync = off"):
            self.open(settings, allow_volatile=False)
        with self.assertRaisesRegex(StartError, "cannot be opened"):
            self.open(evolve(settings, queue_database=Secret("literal", "host=/nonexistent")))

    def test_no_driver(self) -> None:
        """Who has no driver is told what to install."""
        settings = DatabaseSettings(queue_database=Secret("literal", "dbname=x"))
        with (
            mock.patch.dict(sys.modules, {"netsvc.outbox.postgres_store": None}),
            self.assertRaisesRegex(StartError, r"needs psycopg, as in pip install 'netsvc\[postgres\]'"),
        ):
            self.open(settings)

    def test_not_imported(self) -> None:
        """The command and the services import neither the driver nor what needs it."""
        self.assertEqual(subprocess.run([sys.executable, "-c", SERVICES]).returncode, 0)
