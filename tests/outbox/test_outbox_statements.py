"""How many statements a message costs in an embedded queue, and what a rollback does to what is remembered for that."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, LeaseLostError, Outcome
from netsvc.outbox.sqlite_database import Database
from tests.outbox.kit import START, open_database, submission


class Counting:
    """A connection that notes what is executed."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.executed: list[str] = []

    def execute(self, sql: str, *values: Any) -> Any:
        self.executed.append(sql)
        return self.connection.execute(sql, *values)

    def executemany(self, sql: str, rows: Any) -> Any:
        self.executed.append(sql)
        return self.connection.executemany(sql, rows)

    def take(self) -> int:
        """How many there were since this was last asked."""
        count = len(self.executed)
        self.executed.clear()
        return count


class Statements(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection = open_database(self).connection
        self.counting = Counting(self.connection)
        self.database = Database(self.counting, random.Random(1).random)  # type: ignore[arg-type]
        self.connection.execute("BEGIN")

    def settle(self, lease: Lease, result: Any = "delivered") -> None:
        outcomes = [Outcome(target=one.address, result=result) for one in lease.targets]
        settlement = Custody().settle(lease, outcomes, now=START, random=lambda: 0.5)
        self.database.settle(lease, settlement, START)

    def accept(self, *targets: str, now: float = START, owner: str | None = None) -> Any:
        return self.database.accept(submission(*targets), now, owner)

    def audited(self) -> tuple[int, int, int]:
        """Targets that were accepted, wait, and were delivered, of balanced books."""
        audit = self.database.audit()
        self.assertTrue(audit.balanced)
        return audit.accepted, audit.waiting, audit.delivered

    def test_at_once(self) -> None:
        """A message to one that is leased with its acceptance takes two statements, and the totals one for all."""
        self.accept()
        self.counting.take()
        accepted = [self.accept(owner="me") for _ in range(5)]
        self.assertEqual(self.counting.take(), 5)
        for one in accepted:
            self.settle(one.lease)
        self.assertEqual(self.counting.take(), 5)
        self.database.flush()
        self.assertEqual(self.counting.take(), 1)
        self.assertEqual(self.audited(), (6, 1, 5))

    def test_claimed(self) -> None:
        """Ten that wait for one destination are claimed with as many statements as one, and settled with one each."""
        self.accept()
        self.counting.take()
        for n in range(1, 20):
            self.accept(now=START + n)
        self.assertEqual(self.counting.take(), 19)
        self.database.claim("me", 1, 1 << 20, START + 20)
        alone = self.counting.take()
        leases = self.database.claim("me", 10, 1 << 20, START + 20)
        self.assertEqual((len(leases), self.counting.take()), (10, alone))
        for lease in leases:
            self.settle(lease)
        self.assertEqual(self.counting.take(), 10)

    def test_same_either_way(self) -> None:
        """What one statement writes is what the statements for several targets write."""
        left = []
        for strokes in (True, False):
            for result in ("delivered", "retry", "permanent", "ambiguous"):
                one = self.accept("b@x", owner="me")
                if strokes:
                    self.settle(one.lease, result)
                else:
                    with mock.patch.object(Database, "_record", super(Database, self.database)._record.__func__):
                        self.settle(one.lease, result)
                rows = {
                    table: self.connection.execute(f"SELECT * FROM {table} WHERE item = ?", (one.queue_id,)).fetchall()
                    for table in ("parcel", "target", "attempt", "content")
                }
                finished = self.connection.execute("SELECT finished_at FROM item WHERE id = ?", (one.queue_id,))
                left.append((result, finished.fetchall(), *(str(rows[one]) for one in rows)))
                left[-1] = tuple(str(part).replace(one.queue_id, "ID") for part in left[-1])
        without_ids = [tuple(part.split("'ID', ", 1)[-1] for part in one) for one in left]
        self.assertEqual(without_ids[:4], without_ids[4:])

    def test_too_late(self) -> None:
        """A settlement under a lease that is not held any more writes nothing."""
        lease = self.accept(owner="me").lease
        self.database.release(lease)
        with self.assertRaises(LeaseLostError):
            self.settle(lease)
        _, ledger = self.database.show(lease.item.queue_id)
        self.assertEqual(ledger, ())
        self.assertEqual(self.audited(), (1, 1, 0))

    def test_same_id(self) -> None:
        """An id that is taken is not taken again."""
        self.database = Database(self.connection, mock.Mock(side_effect=[0.5, 0.5, 0.1, 0.5]))
        first, second = self.accept(owner="me"), self.accept(owner="me")
        self.assertNotEqual(first.queue_id, second.queue_id)
        self.assertEqual(self.audited(), (2, 2, 0))

    def test_rolled_back(self) -> None:
        """After a rollback nothing that it undid is counted, or taken for known."""
        self.database.suppress("gone@x", "bounced", "uid:0", START)
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN")
        self.accept()
        self.database.unsuppress("gone@x")
        self.accept("gone@x")
        self.connection.execute("ROLLBACK")
        self.database.undone()
        self.connection.execute("BEGIN")
        self.assertEqual(self.accept("b@x", "gone@x").refused.keys(), {"gone@x"})
        self.assertEqual(len(self.database.claim("me", 9, 1 << 20, START)), 1)
        self.assertEqual(self.audited(), (2, 1, 0))

    def test_rolled_back_to(self) -> None:
        """A savepoint that is rolled back takes only what came behind it."""
        self.accept()
        mark = self.database.mark()
        self.connection.execute("SAVEPOINT job")
        self.database.claim("me", 9, 1 << 20, START)
        self.accept(now=START + 5)
        self.connection.execute("ROLLBACK TO job")
        self.database.undone(mark)
        self.accept(now=START + 5)
        self.assertEqual(self.database.next_due(START), START)
        self.assertEqual(self.audited(), (2, 2, 0))
