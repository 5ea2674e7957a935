"""What is written anew until its time comes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Outcome
from tests.outbox.cluster import open_postgres
from tests.outbox.kit import START, open_database, submission


class Editions(SynchronousTestCase):
    def open(self) -> Any:
        return open_database(self)

    def setUp(self) -> None:
        self.database = self.open()

    def accept(self, edition: int, now: float = START) -> str:
        """An edition that says its number, due after 100 s."""
        content = b"%d of them" % edition
        one = submission(content=content, key="k", edition=edition, not_before=START + 100, meta={"kept": "yes"})
        return str(self.database.accept(one, now).queue_id)

    def test_replaced(self) -> None:
        """A later edition takes the place of an earlier one, an earlier one does not; the books count one."""
        database = self.database
        for redacts in (False, True):
            database.redacts = redacts
            first = self.accept(1)
            self.assertEqual([self.accept(3), self.accept(2), self.accept(3)], [first] * 3)
            self.assertEqual(database.content(first), b"3 of them")
            self.assertEqual(database.claim("me", 9, 1 << 20, START + 99), ())
            (lease,) = database.claim("me", 9, 1 << 20, START + 100)
            self.assertEqual((lease.item.size, lease.item.meta["kept"]), (9, "yes"))
            done = Custody().settle(
                lease, [Outcome(target="b@example.com", result="delivered")], now=START, random=_half
            )
            database.settle(lease, done, START + 100)
            self.assertEqual(self.accept(3), first)
            database.purge(START + 101)
        audit = database.audit()
        self.assertEqual((audit.accepted, audit.delivered, audit.balanced), (2, 2, True))

    def test_too_late(self) -> None:
        """What is being attempted or was is not changed: the later edition is an item of its own, which is replaced."""
        database = self.database
        for result in ("delivered", "retry"):
            first = self.accept(1)
            (lease,) = database.claim("me", 9, 1 << 20, START + 100)
            second = self.accept(2)
            self.assertNotEqual(first, second)
            self.assertEqual(database.content(first), b"1 of them")
            outcomes = [Outcome(target="b@example.com", result=result)]
            database.settle(lease, Custody().settle(lease, outcomes, now=START, random=_half), START + 100)
            self.assertEqual(self.accept(3), second)
            self.assertEqual(database.content(second), b"3 of them")
            database.remove(second, "uid:0", START)
            self.assertNotIn(self.accept(4), {first, second})
            for queue_id in [one.item.queue_id for one in database.listing("", 9)]:
                database.remove(queue_id, "uid:0", START)
            database.purge(START + 1000)
        self.assertTrue(database.audit().balanced)

    def test_follows(self) -> None:
        """An edition that follows from a settlement is taken in with it."""
        database = self.database
        first = self.accept(1)
        database.accept(submission("c@example.com"), START)
        (lease,) = database.claim("me", 9, 1 << 20, START)
        done = Custody().settle(lease, [Outcome(target="c@example.com", result="permanent")], now=START, random=_half)
        one = submission(content=b"2", key="k", edition=2, not_before=START + 100)
        (accepted,) = database.settle(lease, done, START, [one])
        self.assertEqual((accepted.queue_id, accepted.repeated), (first, True))
        self.assertEqual(database.content(first), b"2")


class PostgresEditions(Editions):
    def open(self) -> Any:
        return open_postgres(self)


def _half() -> float:
    return 0.5
