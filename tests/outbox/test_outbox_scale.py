"""A hundred thousand queued items: what is asked often walks an index, a few steps of it, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.sqlite_database import Database
from tests.outbox.kit import START, open_database

ITEMS = 100_000
# What one step may cost at most, in instructions of SQLite's machine: a walk over all items, by an index or not, has
# twenty times as many. A listing of 100 items has 6,000.
INSTRUCTIONS = 20_000
COUNTED = 10  # instructions between two counts
MEMORY = 4 << 20  # octets that one page or one claim may need


def fill(database: Database) -> None:
    """Queue items by SQL: a third for one destination that is down, the others for a thousand; each hundredth is one
    submitter's own.
    """
    numbers = f"WITH RECURSIVE k (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM k WHERE k < {ITEMS - 1})"
    where = "CASE k % 3 WHEN 0 THEN 'down' ELSE 'd' || (k % 1000) END"
    name = "printf('%015d', k)"
    for sql in (
        "INSERT INTO item (id, submitter, sender, meta, size, sha256, accepted_at)"
        f" SELECT {name}, CASE WHEN k % 100 = 99 THEN 'uid:7' ELSE 'uid:0' END, 'a@x', '{{}}', 5, '', {START} FROM k",
        "INSERT INTO parcel (item, n, destination, state, scheduled_at, next_at)"
        f" SELECT {name}, 0, {where}, 'waiting', {START}, {START} + k FROM k",
        "INSERT INTO target (item, n, parcel, address, state, changed_at)"
        f" SELECT {name}, 0, 0, 'b@' || {where}, 'waiting', {START} FROM k",
        "INSERT INTO destination (name, next_at) SELECT destination, min(next_at) FROM parcel GROUP BY destination",
    ):
        database.connection.execute(f"{numbers} {sql}" if "FROM k" in sql else sql)


class Scale(SynchronousTestCase):
    def setUp(self) -> None:
        self.database = open_database(self)
        self.database.connection.execute("BEGIN")
        fill(self.database)
        self.database.connection.execute("COMMIT")

    def plans(self, function: Callable[[], Any]) -> list[str]:
        """How SQLite finds what a step asks for."""
        asked: list[str] = []
        self.database.connection.set_trace_callback(asked.append)
        function()
        self.database.connection.set_trace_callback(None)
        reads = [sql for sql in asked if sql.startswith(("SELECT", "UPDATE", "DELETE"))]
        return [row[3] for sql in reads for row in self.database.connection.execute(f"EXPLAIN QUERY PLAN {sql}")]

    def instructions(self, function: Callable[[], Any]) -> int:
        """What SQLite's machine does for a step: the same whatever else the computer does."""
        counts = 0

        def count() -> int:
            nonlocal counts
            counts += 1
            return 0

        self.database.connection.set_progress_handler(count, COUNTED)
        function()
        self.database.connection.set_progress_handler(None, 0)
        return counts * COUNTED

    def test_often_asked(self) -> None:
        """Listing, next-due, claim and release walk indexes only, sort nothing, and take few steps."""
        middle = f"{ITEMS // 2:015d}"
        late = START + 2 * ITEMS
        shut = Allowance(each=20, room={"down": 0})

        def claim() -> None:
            leases = self.database.claim("me", 20, 1 << 30, late, shut)
            self.assertEqual(len(leases), 20)
            for lease in leases:
                self.database.release(lease)

        steps: dict[str, Callable[[], Any]] = {
            "listing": lambda: self.database.listing(middle, 100),
            "listing of one": lambda: self.database.listing(middle, 100, "uid:7"),
            "next due": lambda: self.database.next_due(START, ["down"]),
            "claim": claim,
            "show": lambda: self.database.show(middle),
        }
        for name, step in steps.items():
            plans = [one for one in self.plans(step) if not one.startswith("SCALAR")]
            walks = [one for one in plans if one.startswith("SCAN") and "USING" not in one and "CONSTANT" not in one]
            sorts = [one for one in plans if "B-TREE" in one]
            self.assertEqual((name, [one for one in walks if "suppressed" not in one], sorts), (name, [], []))
            self.assertLess(self.instructions(step), INSTRUCTIONS, name)

    def test_memory_flat(self) -> None:
        """A page in the middle, a claim and a step of an operation need the same little memory as at the beginning."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.database.listing(f"{ITEMS // 2:015d}", 100)
        self.database.claim("me", 20, 1 << 30, START + ITEMS)
        self.database.purge(START)
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, MEMORY)
