"""The outbox in PostgreSQL: the contract of every database, and what only several machines can do."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.outbox.model import DamagedError
from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import set_up
from tests.outbox import test_outbox_database as steps
from tests.outbox import test_outbox_parcels as parcels
from tests.outbox.cluster import new_schema, open_postgres
from tests.outbox.kit import START, submission


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
            set_up(database.connection, schema)


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
        """The leases of an owner who is silent are found once; those of one who lives are not."""
        self.one.accept(submission(), START)
        self.claim(self.one, "one")
        self.assertEqual(self.two.leases_of_the_dead(60), ())
        self.one.connection.execute("UPDATE runner SET seen_at = seen_at - interval '61 s'")
        self.two.connection.execute("BEGIN")
        (lease,) = self.two.leases_of_the_dead(60)
        self.assertEqual(lease.owner, "one")
        self.assertEqual(self.one.leases_of_the_dead(60), ())
        self.two.connection.execute("COMMIT")
        self.one.beat(["one"])
        self.assertEqual(self.two.leases_of_the_dead(60), ())

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
        self.assertEqual(self.one.audit().accepted, 2)
        self.assertTrue(self.two.audit().balanced)
