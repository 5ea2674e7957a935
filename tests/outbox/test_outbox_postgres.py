"""The outbox in PostgreSQL: the contract of every database, and what only several machines can do."""

from __future__ import annotations

import threading
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.outbox.model import DamagedError
from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import check_server, set_up
from tests.outbox import test_outbox_database as steps
from tests.outbox import test_outbox_parcels as parcels
from tests.outbox.cluster import new_schema, open_postgres
from tests.outbox.kit import START, submission
from tests.waiting import wait_until


class PostgresAcceptance(steps.Acceptance):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresLeases(steps.Leases):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresBooks(steps.Books):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresParcels(parcels.Parcels):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresFairness(parcels.Fairness):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresOperators(parcels.Operators):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresSuppression(parcels.Suppression):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresFollowing(parcels.Following):
    def open(self) -> Any:
        return open_postgres(self)


class Damage(SynchronousTestCase):
    def test_damaged(self) -> None:
        """Content that changed in the database, and notes that are broken, are noticed."""
        database = open_postgres(self)
        queue_id = database.accept(submission(), START).queue_id
        database.connection.execute("UPDATE content SET octets = 'x'; UPDATE item SET meta = '{'")
        self.assertRaises(DamagedError, database.content, queue_id)
        self.assertEqual(dict(database.show(queue_id)[0].item.meta), {})

    def test_newer(self) -> None:
        """A queue of a newer netsvc is left alone."""
        schema = new_schema()
        database = open_postgres(self, schema)
        database.connection.execute("UPDATE version SET n = 9")
        with self.assertRaisesRegex(StartError, "has version 9; this netsvc knows version 1"):
            set_up(database.connection, schema, "test")

    def test_of_another_queue(self) -> None:
        """A schema has the queue of one section: another's deliveries would take its items for theirs."""
        schema = new_schema()
        connection: Any = open_postgres(self, schema).connection
        with self.assertRaisesRegex(StartError, r"has the queue of \[test\]; give \[sms\] another"):
            set_up(connection, schema, "sms")

    def test_server(self) -> None:
        """A server that is too old, or does not bring to the disk what it commits, is refused."""
        connection: Any = open_postgres(self).connection
        with self.assertRaisesRegex(StartError, "has fsync = off .* allow_volatile"):
            check_server(connection)
        check_server(connection, allow_volatile=True)
        old = mock.Mock(**{"info.server_version": 120_022})
        with self.assertRaisesRegex(StartError, "of version 12; 13 is the oldest"):
            check_server(old, allow_volatile=True)


class TwoMachines(SynchronousTestCase):
    def setUp(self) -> None:
        self.schema = new_schema()
        self.one, self.two = (open_postgres(self, self.schema) for _ in range(2))
        self.two.part = "two"

    def claim(self, database: PostgresDatabase, owner: str) -> set[str]:
        return {one.item.queue_id for one in database.claim(owner, 3, 1 << 30, START)}

    def test_never_both(self) -> None:
        """What one has claimed and not yet committed the other passes over, without waiting."""
        ids = {self.one.accept(submission(), START).queue_id for _ in range(6)}
        self.one.connection.execute("BEGIN")
        first = self.claim(self.one, "one")
        second = self.claim(self.two, "two")
        self.one.connection.execute("COMMIT")
        self.assertEqual((first | second, first & second), (ids, set()))

    def test_leases_of_the_dead(self) -> None:
        """The leases of an owner who is silent are found once; those of one who lives are not.

        Silence from before the server started does not count: it may be the server's own.
        """
        self.one.accept(submission(), START)
        self.claim(self.one, "one")
        self.assertEqual(self.two.leases_of_the_dead(60), ())
        self.one.connection.execute("UPDATE runner SET seen_at = seen_at - interval '1 day'")
        self.assertEqual(self.two.leases_of_the_dead(12 * 3600), ())
        self.two.connection.execute("BEGIN")
        (lease,) = self.two.leases_of_the_dead(0.01)
        self.assertEqual(lease.owner, "one")
        self.assertEqual(self.one.leases_of_the_dead(0.01), ())
        self.two.connection.execute("COMMIT")
        self.one.beat(["one"])
        self.assertEqual(self.two.leases_of_the_dead(60), ())

    def test_leases_of_one_transaction(self) -> None:
        """What one transaction leased is given back, and nothing else."""
        for _ in range(4):
            self.one.accept(submission(), START)
        kept = self.claim(self.one, "one")
        self.one.connection.execute("BEGIN")
        self.claim(self.one, "one")
        row: Any = self.one.connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        self.one.connection.execute("COMMIT")
        self.assertEqual((self.two.release_of(row[0]), self.one.release_of(row[0])), (0, 1))
        self.assertEqual(len(kept), 3)
        self.assertEqual({one.item.queue_id for one in self.two.leased()}, kept)

    def test_purge_of_both(self) -> None:
        """An item that two machines purge at once is counted once."""
        queue_id = self.one.accept(submission(), START).queue_id
        self.one.remove(queue_id, "root", START)
        self.one.connection.execute("BEGIN")
        self.assertEqual(self.one.purge(START + 1), 1)
        counts: list[int] = []
        other = threading.Thread(target=lambda: counts.append(self.two.purge(START + 1)))
        other.start()
        wait_until(lambda: self.one.connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
        self.one.connection.execute("COMMIT")
        other.join()
        self.assertEqual((counts, self.one.audit().balanced, self.one.audit().removed), ([0], True, 1))

    def test_silent_owners_are_forgotten(self) -> None:
        """An owner without leases who is silent is forgotten."""
        self.one.beat(["one"])
        self.one.connection.execute("UPDATE runner SET seen_at = seen_at - interval '61 s'")
        self.two.leases_of_the_dead(60)
        self.assertEqual(self.one.connection.execute("SELECT count(*) FROM runner").fetchone(), (0,))

    def test_books_of_both(self) -> None:
        """The books have what both accepted."""
        self.one.accept(submission(), START)
        self.two.accept(submission(), START)
        self.two.flush()
        self.assertEqual(self.one.audit().accepted, 2)
        self.assertTrue(self.two.audit().balanced)
