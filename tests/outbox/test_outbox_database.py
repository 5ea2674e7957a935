"""The outbox in SQLite, step by step."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.outbox import sqlite_schema
from netsvc.outbox.custody import Custody
from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import (
    DamagedError,
    KeyConflictError,
    Lease,
    LeaseLostError,
    NoSuchItemError,
    Outcome,
    Result,
    Selection,
)
from netsvc.outbox.retry import DAY
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import connect, lock
from tests.outbox.kit import START, open_database, submission, temporary


def settle(
    database: Database, lease: Lease, result: Result, now: float = START, custody: Custody | None = None
) -> None:
    """Give every target of a lease the same outcome."""
    outcomes = [Outcome(target=one.address, result=result, code=250, text="words", via="here") for one in lease.targets]
    settlement = (custody or Custody()).settle(lease, outcomes, now=now, random=lambda: 0.5)
    database.settle(lease, settlement, now)


class StepsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.database = self.open()

    def open(self) -> Any:
        return open_database(self)


class Acceptance(StepsCase):
    def test_kept(self) -> None:
        """What was accepted can be listed and read back, octet by octet."""
        content = bytes(range(256))
        accepted = self.database.accept(submission("b@x", "c@x", content=content, meta={"k": "ü"}), START)
        (summary,) = self.database.listing("", 10)
        self.assertEqual(summary.item.queue_id, accepted.queue_id)
        self.assertEqual(summary.item.meta["k"], "ü")
        self.assertEqual([one.address for one in summary.targets], ["b@x", "c@x"])
        self.assertEqual(self.database.content(accepted.queue_id), content)

    def test_repeated(self) -> None:
        """A repeated key gives the same queue id and keeps one item, even when the content differs."""
        first = self.database.accept(submission(key="k"), START)
        again = self.database.accept(submission(key="k", content=b"other Date\r\n"), START + 9)
        self.assertEqual((again.queue_id, again.repeated), (first.queue_id, True))
        self.assertEqual(self.database.audit().accepted, 1)

    def test_repeated_after_delivery(self) -> None:
        """A repeated key is known after the item was delivered too."""
        first = self.database.accept(submission(key="k"), START)
        (lease,) = self.database.claim("me", 1, 1, START)
        settle(self.database, lease, "delivered")
        self.assertEqual(self.database.accept(submission(key="k"), START).queue_id, first.queue_id)

    def test_key_conflict(self) -> None:
        """A key that comes back with another sender or other targets is refused: nothing is lost silently."""
        self.database.accept(submission(key="k"), START)
        self.assertRaises(KeyConflictError, self.database.accept, submission("z@x", key="k"), START)
        self.assertRaises(KeyConflictError, self.database.accept, submission(key="k", sender="z@x"), START)

    def test_keys_are_the_submitters_own(self) -> None:
        """Two submitters may use one key for two things."""
        first = self.database.accept(submission(key="k"), START)
        other = self.database.accept(submission(key="k", submitter="uid:7"), START)
        self.assertNotEqual(first.queue_id, other.queue_id)

    def test_id_collision(self) -> None:
        """Two items never share an id, even when the random source repeats itself."""
        chances = iter([0.1, 0.1, 0.2, 0.3, 0.4])
        self.database._random = lambda: next(chances)
        ids = {self.database.accept(submission(), START).queue_id for _ in range(2)}
        self.assertEqual(len(ids), 2)


class Leases(StepsCase):
    def claim(self, now: float = START) -> tuple[Lease, ...]:
        return self.database.claim("me", 10, 1 << 20, now)

    def test_only_once(self) -> None:
        """What is leased is not leased again."""
        self.database.accept(submission(), START)
        self.assertEqual(len(self.claim()), 1)
        self.assertEqual(self.claim(START + 30 * DAY), ())

    def test_stale_fence(self) -> None:
        """A lease that was given back and taken by another cannot be settled or released any more."""
        self.database.accept(submission(), START)
        (stale,) = self.claim()
        self.database.release(stale)
        (fresh,) = self.claim()
        self.assertGreater(fresh.fence, stale.fence)
        self.assertRaises(LeaseLostError, settle, self.database, stale, "delivered")
        self.assertRaises(LeaseLostError, self.database.release, stale)
        self.assertEqual(self.database.audit().waiting, 1)
        settle(self.database, fresh, "delivered")
        self.assertRaises(LeaseLostError, settle, self.database, fresh, "delivered")

    def test_order_and_limit(self) -> None:
        """The longest due comes first, and no more than asked."""
        ids = [self.database.accept(submission(), START + n).queue_id for n in range(4)]
        self.assertEqual([one.item.queue_id for one in self.database.claim("me", 2, 1 << 20, START + 9)], ids[:2])

    def test_octets(self) -> None:
        """Content is bounded, but one item always goes."""
        for _ in range(3):
            self.database.accept(submission(content=b"x" * 100), START)
        self.assertEqual(len(self.database.claim("me", 9, 1, START)), 1)
        self.assertEqual(len(self.database.claim("me", 9, 200, START)), 2)

    def test_only_waiting_targets(self) -> None:
        """A second attempt is for the targets that still wait."""
        self.database.accept(submission("b@x", "c@x"), START)
        (lease,) = self.claim()
        outcomes = [Outcome(target="b@x", result="delivered"), Outcome(target="c@x", result="retry")]
        self.database.settle(lease, Custody().settle(lease, outcomes, now=START, random=lambda: 0.5), START)
        self.assertEqual(self.claim(START + 149), ())
        (second,) = self.claim(START + 150)
        self.assertEqual([one.address for one in second.targets], ["c@x"])
        self.assertEqual(second.item.attempts, 1)

    def test_next_due(self) -> None:
        """The next due time is of what waits only."""
        self.assertIsNone(self.database.next_due(START))
        self.database.accept(submission(), START)
        self.assertEqual(self.database.next_due(START + 5), START + 5)
        (lease,) = self.claim()
        self.assertIsNone(self.database.next_due(START))
        settle(self.database, lease, "retry")
        self.assertEqual(self.database.next_due(START), START + 150)

    def test_clock_set_back(self) -> None:
        """What was scheduled before the clock was set back is due at once and expires not."""
        self.database.accept(submission(), START)
        (lease,) = self.claim()
        settle(self.database, lease, "retry")
        past = START - 5 * DAY
        self.assertEqual(self.database.next_due(past), past)
        (again,) = self.claim(past)
        settle(self.database, again, "retry", past)
        self.assertEqual(self.database.audit().waiting, 1)
        self.assertEqual(self.claim(past), ())


class Books(StepsCase):
    def deliver(self, result: Result, custody: Custody | None = None) -> str:
        queue_id = self.database.accept(submission(), START).queue_id
        (lease,) = self.database.claim("me", 1, 1, START)
        settle(self.database, lease, result, custody=custody)
        return queue_id

    def test_ledger(self) -> None:
        """Every attempt is in the ledger with its code and words."""
        queue_id = self.deliver("retry")
        (lease,) = self.database.claim("me", 1, 1, START + 300)
        settle(self.database, lease, "delivered", START + 300)
        _, ledger = self.database.show(queue_id)
        self.assertEqual([(one.at, one.result) for one in ledger], [(START, "retry"), (START + 300, "delivered")])
        self.assertEqual((ledger[0].target, ledger[0].code, ledger[0].text), ("b@example.com", 250, "words"))

    def test_balance(self) -> None:
        """Accepted is delivered, bounced, expired, removed, waiting and held together."""
        self.deliver("delivered")
        self.deliver("permanent")
        self.deliver("retry")
        self.deliver("ambiguous", Custody(ambiguous="hold"))
        self.database.remove(self.deliver("retry"), "uid:0", START)
        audit = self.database.audit()
        self.assertTrue(audit.balanced)
        self.assertEqual(
            (audit.accepted, audit.delivered, audit.bounced, audit.waiting, audit.ambiguous, audit.removed),
            (5, 1, 1, 1, 1, 1),
        )
        self.assertEqual(audit.unknown_attempts, 1)

    def test_content_dropped(self) -> None:
        """The content goes when everything is delivered, and stays when something bounced."""
        self.assertRaises(DamagedError, self.database.content, self.deliver("delivered"))
        self.assertTrue(self.database.content(self.deliver("permanent")))

    def test_purge(self) -> None:
        """A purge forgets what was finished long ago, keeps what is held, and the books still balance."""
        for result in ("delivered", "permanent", "retry"):
            self.deliver(result)  # type: ignore[arg-type]
        held = self.deliver("ambiguous", Custody(ambiguous="hold"))
        before = self.database.audit()
        self.assertEqual(self.database.purge(START), 0)
        self.assertEqual(self.database.purge(START + 1), 2)
        self.assertEqual(self.database.audit(), before)
        self.assertEqual(len(self.database.listing("", 10, done=True)), 2)
        self.assertTrue(self.database.show(held))

    def test_remove(self) -> None:
        """What is removed stands in the ledger under the operator's name and is not delivered."""
        queue_id = self.database.accept(submission("b@x", "c@x"), START).queue_id
        self.assertEqual(self.database.remove(queue_id, "uid:0", START), 2)
        summary, ledger = self.database.show(queue_id)
        self.assertEqual({one.state for one in summary.targets}, {"removed"})
        self.assertEqual({(one.result, one.text) for one in ledger}, {("removed", "by uid:0")})
        self.assertEqual(self.database.claim("me", 1, 1, START), ())

    def test_remove_refused(self) -> None:
        """What is being delivered, is finished or is unknown cannot be removed."""
        self.assertRaises(NoSuchItemError, self.database.remove, "0" * 15, "uid:0", START)
        self.assertRaises(NoSuchItemError, self.database.remove, self.deliver("delivered"), "uid:0", START)
        queue_id = self.database.accept(submission(), START).queue_id
        self.database.claim("me", 1, 1, START)
        self.assertRaises(NoSuchItemError, self.database.remove, queue_id, "uid:0", START)

    def test_requeue(self) -> None:
        """A bounced item can be tried again, in an operator's name."""
        queue_id = self.deliver("permanent")
        self.assertEqual(self.database.requeue(queue_id, "uid:0", START + 9), 1)
        (lease,) = self.database.claim("me", 1, 1, START + 9)
        self.assertEqual(lease.item.queue_id, queue_id)
        self.assertTrue(self.database.audit().balanced)

    def test_requeue_refused(self) -> None:
        """What waits already, is delivered, or is damaged cannot be requeued."""
        self.assertRaises(NoSuchItemError, self.database.requeue, self.deliver("retry"), "uid:0", START)
        self.assertRaises(NoSuchItemError, self.database.requeue, self.deliver("delivered"), "uid:0", START)
        bounced = self.deliver("permanent")
        self.database.connection.execute("UPDATE content SET octets = 'text'")
        self.assertRaises(DamagedError, self.database.requeue, bounced, "uid:0", START)

    def test_pages(self) -> None:
        """A listing comes in pages, can be of one submitter, and leaves out what is done."""
        ids = [self.database.accept(submission(), START + n).queue_id for n in range(3)]
        other = self.database.accept(submission(submitter="uid:7"), START + 9).queue_id
        self.assertEqual([one.item.queue_id for one in self.database.listing("", 2)], ids[:2])
        self.assertEqual([one.item.queue_id for one in self.database.listing(ids[1], 9)], [ids[2], other])
        self.assertEqual([one.item.queue_id for one in self.database.listing("", 9, "uid:7")], [other])
        self.database.remove(other, "uid:0", START)
        self.assertEqual(self.database.listing("", 9, "uid:7"), ())
        self.assertEqual(len(self.database.listing("", 9, "uid:7", True)), 1)

    def test_unknown_result_is_listed(self) -> None:
        """What waits for a person, as nobody knows what became of it, stands in every listing, in its place."""
        unknown = self.deliver("ambiguous", Custody(ambiguous="hold"))
        self.deliver("delivered")
        before = self.database.accept(submission(submitter="uid:7"), START - 9).queue_id
        ids = [before, unknown, self.database.accept(submission(), START + 9).queue_id]
        self.assertEqual([one.item.queue_id for one in self.database.listing("", 9)], ids)
        self.assertEqual([one.item.queue_id for one in self.database.listing("", 2)], ids[:2])
        self.assertEqual([one.item.queue_id for one in self.database.listing(before, 9)], ids[1:])
        self.assertEqual([one.item.queue_id for one in self.database.listing(ids[1], 9)], ids[2:])
        self.assertEqual([one.item.queue_id for one in self.database.listing("", 9, "uid:7")], [before])
        self.assertEqual([one.state for one in self.database.listing(before, 1)[0].open], ["ambiguous"])
        self.database.remove(unknown, "uid:0", START)
        self.assertEqual([one.item.queue_id for one in self.database.listing("", 9)], [before, ids[2]])

    def test_unknown(self) -> None:
        """An unknown id is an error."""
        self.assertRaises(NoSuchItemError, self.database.show, "0" * 15)
        self.assertRaises(NoSuchItemError, self.database._lease, "0" * 15)


class Damage(StepsCase):
    def test_damaged(self) -> None:
        """Content that changed in the store is noticed."""
        queue_id = self.database.accept(submission(), START).queue_id
        self.database.connection.execute("UPDATE content SET octets = CAST('x' AS BLOB)")
        self.assertRaises(DamagedError, self.database.content, queue_id)
        self.database.connection.execute("UPDATE content SET octets = 'text'")
        self.assertRaises(DamagedError, self.database.content, queue_id)

    def test_damaged_row(self) -> None:
        """A row with broken notes, or an address that is no text, stops neither the others nor itself."""
        first, second = (self.database.accept(submission(), START).queue_id for _ in range(2))
        self.database.connection.execute("UPDATE item SET meta = '{' WHERE id = ?", (first,))
        self.database.connection.execute("UPDATE target SET address = CAST(x'ff40' AS TEXT) WHERE item = ?", (first,))
        leases = self.database.claim("me", 9, 10**6, START)
        self.assertEqual(sorted(one.item.queue_id for one in leases), sorted((first, second)))
        summary, _ = self.database.show(first)
        self.assertEqual((dict(summary.item.meta), summary.targets[0].address), ({}, "\udcff@"))


class Opening(SynchronousTestCase):
    def test_again(self) -> None:
        """A queue that is opened again has what it had."""
        directory = temporary(self)
        database = open_database(self, directory)
        queue_id = database.accept(submission(), START).queue_id
        database.connection.close()
        self.assertTrue(open_database(self, directory).show(queue_id))

    def test_durable(self) -> None:
        """The database has a write-ahead log, full synchronisation and a private mode."""
        directory = temporary(self) / "a" / "b"
        database = open_database(self, directory)
        self.assertEqual(database.connection.execute("PRAGMA journal_mode").fetchone(), ("wal",))
        self.assertEqual(database.connection.execute("PRAGMA synchronous").fetchone(), (2,))
        self.assertEqual((directory / "queue.sqlite").stat().st_mode & 0o777, 0o600)
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)

    def test_private_from_the_start(self) -> None:
        """Others can read neither the database nor its log, also in a directory that is open to them."""
        directory = temporary(self)
        directory.chmod(0o755)
        database = open_database(self, directory)
        database.accept(submission(), START)
        modes = {one.name: one.stat().st_mode & 0o777 for one in directory.iterdir()}
        self.assertEqual(modes, {"queue.sqlite": 0o600, "queue.sqlite-wal": 0o600})

    def test_lock(self) -> None:
        """A second process is refused with the number of the first."""
        directory = temporary(self)
        descriptor = lock(directory)
        self.addCleanup(__import__("os").close, descriptor)
        code = "import sys, pathlib\nfrom netsvc.outbox.sqlite_schema import lock\nlock(pathlib.Path(sys.argv[1]))"
        child = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, text=True)
        self.assertIn(f"is in use by process {__import__('os').getpid()}", child.stderr)
        self.assertRaises(StartError, lock, directory)

    def test_lock_of_nobody_known(self) -> None:
        """A lock file without a number still names the queue."""
        directory = temporary(self)
        descriptor = lock(directory)
        self.addCleanup(__import__("os").close, descriptor)
        (directory / "lock").write_text("?")
        with self.assertRaisesRegex(StartError, "another process"):
            lock(directory)

    def test_no_database(self) -> None:
        """A file that is no database ends the start in one line."""
        directory = temporary(self)
        (directory / "queue.sqlite").write_bytes(b"rubbish" * 1000)
        with self.assertRaisesRegex(StartError, r"queue.sqlite cannot be opened: file is not a database"):
            connect(directory)

    def test_unreachable(self) -> None:
        """A database that cannot be opened ends the start in one line."""
        with self.assertRaisesRegex(StartError, "cannot be opened: No such"):
            connect(Path("/nonexistent"))

    def foreign(self, sql: str) -> Path:
        directory = temporary(self)
        make_directories(directory)
        connection = sqlite3.connect(directory / "queue.sqlite")
        connection.executescript(sql)
        connection.close()
        return directory

    def test_foreign(self) -> None:
        """Another program's database is left alone."""
        with self.assertRaisesRegex(StartError, "another program"):
            connect(self.foreign("CREATE TABLE t (x);"))

    def test_newer(self) -> None:
        """A queue of a newer netsvc is left alone."""
        sql = f"PRAGMA application_id = {sqlite_schema.APPLICATION_ID}; PRAGMA user_version = 4; CREATE TABLE t (x);"
        with self.assertRaisesRegex(StartError, "has version 4; this netsvc knows version 3"):
            connect(self.foreign(sql))

    def test_no_write_ahead_log(self) -> None:
        """A file system without a write-ahead log ends the start."""
        connection = sqlite3.connect(":memory:")
        self.addCleanup(connection.close)
        with mock.patch.object(sqlite_schema.sqlite3, "connect", return_value=connection):
            with self.assertRaisesRegex(StartError, "cannot be durable"):
                connect(temporary(self))


OF_OPERATORS = ("hold all", "release all", "flush all", "requeue all", "hold domain", "remove domain")
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["accept", "claim", "settle", "release", "recover", "remove", "requeue", "purge", *OF_OPERATORS]
        ),
        st.integers(0, 5),
        st.sampled_from(["delivered", "retry", "permanent", "ambiguous"]),
        st.booleans(),
    ),
    max_size=40,
)


class AnyHistory(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(OPERATIONS)
    def test_balance(self, operations: list[tuple[str, int, Result, bool]]) -> None:
        """After any history the books balance, what is open is what waits, and no parcel has two holders."""
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            self.live(Database(connection, random.Random(1).random), operations)

    def live(self, database: Database, operations: list[tuple[str, int, Result, bool]]) -> None:
        database.connection.executescript(sqlite_schema.SCHEMA + sqlite_schema.STROKES)
        custody = {hold: Custody(ambiguous="hold" if hold else "retry") for hold in (False, True)}
        ids: list[str] = []
        held: list[Lease] = []
        now = START
        for operation, number, result, hold in operations:
            now += number * 1000
            try:
                if operation == "accept":
                    targets = [f"{n}@{'x' if n % 3 else 'y'}" for n in range(number + 1)]
                    ways = tuple("even" if n % 2 == 0 else "odd" for n in range(number + 1)) if hold else ()
                    ids.append(database.accept(submission(*targets, destinations=ways), now).queue_id)
                elif operation == "claim":
                    held += database.claim("me", number + 1, 1 << 20, now)
                elif operation == "settle" and held:
                    settle(database, held.pop(), result, now, custody[hold])
                elif operation == "release" and held:
                    database.release(held.pop())
                elif operation == "recover":
                    for lease in database.leased():
                        settlement = custody[hold].recover(lease, now=now, random=lambda: 0.5)
                        database.settle(lease, settlement, now, recovered=True)
                    held.clear()
                elif operation in ("remove", "requeue") and ids:
                    getattr(database, operation)(ids[number % len(ids)], "uid:0", now)
                elif operation == "purge":
                    database.purge(now - 2000)
                elif " " in operation:
                    verb, _, what = operation.partition(" ")
                    chosen = Selection(everything=True) if what == "all" else Selection(domain="y")
                    database.operate(verb, chosen, "uid:0", now)  # type: ignore[arg-type]
            except (NoSuchItemError, DamagedError):
                pass
            self.assertEqual(len({(one.item.queue_id, one.parcel) for one in held}), len(held))
            earliest = database.connection.execute(
                "SELECT destination, min(next_at) FROM parcel WHERE state = 'waiting' GROUP BY destination"
            )
            named = database.connection.execute("SELECT name, next_at FROM destination")
            self.assertEqual(dict(named.fetchall()), dict(earliest.fetchall()))
            audit = database.audit()
            self.assertTrue(audit.balanced, audit)
            waiting = sum(one.state == "waiting" for item in database.listing("", 1000) for one in item.targets)
            self.assertEqual(audit.waiting, waiting)
        database.connection.close()
