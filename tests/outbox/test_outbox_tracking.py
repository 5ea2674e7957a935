"""What is final and redacted, in the files too; what peers tell later; when they want to be asked again."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, NoSuchItemError, Outcome, RedactedError, Target, Told
from netsvc.outbox.retry import RetryPolicy
from tests.outbox.kit import START, open_database, submission
from tests.outbox.test_outbox_rules import item
from tests.outbox.test_outbox_store import StoreCase

PATIENCE = 180.0  # seconds until a test that waits for the log fails
REDACTING = Custody(redact=True, ambiguous="hold")
CODE = b"the code is 402817"


def outcome(result: str, target: str = "b@example.com", **more: Any) -> Outcome:
    """An outcome for the usual target."""
    kind: Any = result
    return Outcome(target=target, result=kind, **more)


class Timing(SynchronousTestCase):
    def next_at(self, *not_before: float | None, waited: float = 0.0, give_up_after: float | None = None) -> float:
        """Seconds until the next attempt, after a jitter of nothing."""
        custody = Custody(retry=RetryPolicy(first=60, longest=60, give_up=3600))
        outcomes = [outcome("retry", f"{n}@example.com", not_before=one) for n, one in enumerate(not_before)]
        lease = Lease(
            item=item(waited=waited, scheduled_at=START, next_at=START, give_up_after=give_up_after),
            targets=tuple(Target(index=n, address=one.target) for n, one in enumerate(outcomes)),
            owner="me",
            fence=1,
            claimed_at=START,
        )
        settlement = custody.settle(lease, outcomes, now=START, random=lambda: 0.5)
        assert settlement.next_at is not None
        return settlement.next_at - START

    def test_what_a_peer_asks_for(self) -> None:
        """The next attempt is when the usual delay is over, or later when a peer asks for it; the latest counts."""
        self.assertEqual(self.next_at(None), 30)
        self.assertEqual(self.next_at(START + 10), 30)
        self.assertEqual(self.next_at(START + 100, None, START + 300), 300)

    def test_no_longer_than_a_life(self) -> None:
        """A peer that asks for a year gets what is left of the item's life, and is asked then once more."""
        self.assertEqual(self.next_at(START + 1e7, waited=600), 3000)
        self.assertEqual(self.next_at(START + 1e7, waited=600, give_up_after=700), 100)
        self.assertEqual(self.next_at(START - 1e7), 30)


class TrackingCase(SynchronousTestCase):
    def open(self) -> Any:
        return open_database(self)

    def setUp(self) -> None:
        self.database = self.open()
        self.database.redacts = True
        self.database.prepare()

    def settle(self, *outcomes: Outcome, content: bytes = CODE) -> str:
        """One item whose only attempt ends so."""
        database = self.database
        targets = [one.target for one in outcomes]
        queue_id = database.accept(submission(*targets, content=content), START).queue_id
        (lease,) = database.claim("me", 1, 1, START)
        settlement = REDACTING.settle(lease, outcomes, now=START, random=lambda: 0.5)
        database.settle(lease, settlement, START)
        return queue_id


class Redaction(TrackingCase):
    def test_final(self) -> None:
        """Whatever became of it, what is final has neither content nor digest, and cannot be requeued."""
        database = self.database
        for result in ("delivered", "permanent", "withdrawn"):
            queue_id = self.settle(outcome(result))
            self.assertEqual(database.show(queue_id)[0].item.sha256, "")
            self.assertRaisesRegex(RedactedError, "was redacted", database.content, queue_id)
            if result == "permanent":
                self.assertRaises(RedactedError, database.requeue, queue_id, "uid:0", START)
            else:
                self.assertRaises(NoSuchItemError, database.requeue, queue_id, "uid:0", START)
        self.assertTrue(database.audit().balanced)

    def test_not_final(self) -> None:
        """While a target waits, or nobody knows its result, the content stays; removal makes it final."""
        database = self.database
        queue_id = self.settle(outcome("delivered", "a@x"), outcome("retry", "b@x"))
        self.assertEqual(database.content(queue_id), CODE)
        queue_id = self.settle(outcome("delivered", "a@x"), outcome("ambiguous", "b@x"))
        self.assertEqual(database.content(queue_id), CODE)
        summary, _ = database.show(queue_id)
        self.assertEqual((summary.item.size, len(summary.item.sha256)), (len(CODE), 64))
        # A code of six digits could be found from its digest.
        self.assertNotEqual(summary.item.sha256, hashlib.sha256(CODE).hexdigest())
        database.remove(queue_id, "uid:0", START)
        self.assertRaises(RedactedError, database.content, queue_id)

    def test_what_was_final_before(self) -> None:
        """A queue that did not redact loses what is final when it begins to."""
        database = self.database
        database.redacts = False
        queue_id = self.settle(outcome("permanent"))
        self.assertEqual(database.content(queue_id), CODE)
        database.redacts = True
        self.assertEqual(database.content(queue_id), CODE)
        database.prepare()
        self.assertRaises(RedactedError, database.content, queue_id)


class Receipts(TrackingCase):
    def test_told(self) -> None:
        """What a peer tells by its own name stands in the ledger once; the state of the target stays."""
        database = self.database
        queue_id = self.settle(outcome("delivered", reference="SM1"))
        (found,) = database.tracked("SM1")
        self.assertEqual((found.queue_id, found.index, found.sent_at, found.told), (queue_id, 0, START, ""))
        self.assertEqual(database.tracked("SM2"), ())
        self.assertTrue(database.tell(queue_id, 0, Told(result="failed", text="30003"), START + 5))
        self.assertFalse(database.tell(queue_id, 0, Told(result="failed", text="again"), START + 6))
        self.assertTrue(database.tell(queue_id, 0, Told(result="delivered"), START + 7))
        self.assertFalse(database.tell("0", 0, Told(result="delivered"), START + 7))
        summary, ledger = database.show(queue_id)
        self.assertEqual(summary.targets[0].state, "delivered")
        self.assertEqual([one.result for one in ledger], ["delivered", "receipt-failed", "receipt-delivered"])
        self.assertEqual(ledger[1].text, "30003")
        self.assertEqual(database.purge(START + 10), 1)
        self.assertEqual(database.tracked("SM1"), ())

    def test_asking(self) -> None:
        """What shall be asked for comes when it is due, until it is told of or given up; again after a requeue."""
        database = self.database
        first = self.settle(outcome("delivered", reference="SM1", ask_at=START + 10))
        second = self.settle(outcome("delivered", reference="SM2", ask_at=START + 20))
        self.settle(outcome("delivered", reference="SM3"))
        self.assertEqual(database.to_ask(START + 9, 5), ())
        self.assertEqual([one.queue_id for one in database.to_ask(START + 20, 5)], [first, second])
        database.ask_later(first, 0, START + 40)
        database.tell(second, 0, Told(result="delivered"), START)
        self.assertEqual(database.to_ask(START + 20, 5), ())
        (again,) = database.to_ask(START + 40, 5)
        self.assertEqual((again.queue_id, again.asked), (first, 1))
        database.ask_later(first, 0, None)
        self.assertEqual(database.to_ask(START + 1e6, 5), ())

    def test_not_prepared(self) -> None:
        """A queue that nobody prepared takes no notice of names."""
        database = open_database(self)
        database.accept(submission(), START)
        (lease,) = database.claim("me", 1, 1, START)
        named = [outcome("delivered", reference="x")]
        database.settle(lease, Custody().settle(lease, named, now=START, random=lambda: 0.5), START)
        self.assertEqual(database.purge(START + 1), 1)


class Files(StoreCase):
    def octets(self) -> bytes:
        """All that is in the directory."""
        return b"".join(path.read_bytes() for path in sorted(Path(self.directory).iterdir()))

    def found(self, secrets: Iterable[bytes]) -> list[bytes]:
        octets = self.octets()
        return [one for one in secrets if one in octets]

    def test_nothing_is_left(self) -> None:
        """Of hundreds of messages of all lengths no text and no digest is in the database or its log when they are
        final, while those that wait are there.
        """
        wait, rolls = self.reactor.wait, random.Random(7)
        store = self.open(REDACTING)
        wait(store.prepare())
        kept, gone = [], []
        for n in range(300):
            content = b"%08d secret" % rolls.randrange(10**8) + b"-" * rolls.choice((0, 5, 200, 900, 5000))
            (gone if n % 10 else kept).append(content)
            wait(store.accept(submission(content=content), START))
        for lease in wait(store.claim("me", 400, 1 << 30, START)):
            content = wait(store.content(lease.item.queue_id))
            result = outcome("retry" if content in kept else rolls.choice(("delivered", "permanent", "withdrawn")))
            wait(store.settle(lease, REDACTING.settle(lease, [result], now=START, random=lambda: 0.5), START))
        secrets = [one[:15] for one in gone] + [hashlib.sha256(one).hexdigest().encode() for one in gone]
        end = time.monotonic() + PATIENCE
        while found := self.found(secrets):
            self.assertLess(time.monotonic(), end, f"{len(found)} of {len(secrets)} are left")
            wait(store.audit())
        self.assertEqual(len(self.found([one[:15] for one in kept])), len(kept))

    def test_after_death(self) -> None:
        """What a process that died left in its log is gone when the next has begun."""
        wait = self.reactor.wait
        store = self.open(REDACTING)
        wait(store.prepare())
        wait(store.accept(submission(content=CODE), START))
        (lease,) = wait(store.claim("me", 1, 1, START))
        done = REDACTING.settle(lease, [outcome("delivered")], now=START, random=lambda: 0.5)
        wait(store.settle(lease, done, START))
        wait(store.close())
        self.assertEqual(self.found([CODE]), [])
        self.open(REDACTING)
        self.assertEqual(self.found([CODE]), [])
