"""Parcels, destinations, operators, suppression and what follows from a settlement: steps that every database keeps."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import (
    Lease,
    LeaseLostError,
    NoSuchItemError,
    Outcome,
    Result,
    Selection,
    Submission,
    SuppressedError,
)
from netsvc.outbox.parcels import divide
from netsvc.outbox.retry import DAY
from tests.outbox.kit import START, open_database, submission

ALL = Selection(everything=True)


class Division(SynchronousTestCase):
    def test_by_hundreds(self) -> None:
        """What goes one way is divided by hundreds; what goes two ways is apart."""
        self.assertEqual([len(one.indexes) for one in divide(250, ())], [100, 100, 50])
        self.assertEqual(
            [(one.destination, one.indexes) for one in divide(3, ("a", "b", "a"))], [("a", (0, 2)), ("b", (1,))]
        )

    def test_submissions(self) -> None:
        """A submission has as many destinations as targets; a selection chooses something."""
        self.assertRaises(ValueError, lambda: submission("a@x", "b@x", destinations=("x",)))
        self.assertRaises(ValueError, Selection)


class StepsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.database = self.open()

    def open(self) -> Any:
        return open_database(self)

    def accept(self, *targets: str, now: float = START, **more: Any) -> str:
        """Accept for targets whose destination is their domain."""
        more.setdefault("destinations", tuple(one.partition("@")[2] for one in targets))
        return str(self.database.accept(submission(*targets, **more), now).queue_id)

    def claim(self, now: float = START, limit: int = 10, **allowance: Any) -> tuple[Lease, ...]:
        leases: tuple[Lease, ...] = self.database.claim(
            "me", limit, 1 << 30, now, Allowance(**{"each": limit, **allowance})
        )
        return leases

    def settle(self, lease: Lease, result: Result, now: float = START, *following: Submission) -> None:
        outcomes = [Outcome(target=one.address, result=result) for one in lease.targets]
        settlement = Custody().settle(lease, outcomes, now=now, random=lambda: 0.5)
        self.database.settle(lease, settlement, now, following)

    def domains(self, leases: tuple[Lease, ...]) -> list[str]:
        return [one.destination for one in leases]


class Parcels(StepsCase):
    def test_apart(self) -> None:
        """The parcels of an item are leased, settled and scheduled each for itself; the item is done with the last."""
        queue_id = self.accept("a@x", "b@y", "c@x")
        x, y = sorted(self.claim(), key=lambda one: one.destination)
        self.assertEqual([one.address for one in x.targets], ["a@x", "c@x"])
        self.settle(x, "delivered")
        self.settle(y, "retry")
        (summary,) = self.database.listing("", 5)
        self.assertEqual((summary.item.state, summary.item.next_at), ("waiting", START + 150))
        self.assertEqual([one.state for one in summary.parcels], ["done", "waiting"])
        self.assertEqual(self.claim(START + 149), ())
        (y,) = self.claim(START + 150)
        self.assertEqual((y.item.attempts, y.parcel, [one.index for one in y.targets]), (1, 1, [1]))
        self.settle(y, "delivered", START + 150)
        self.assertEqual(self.database.listing("", 5), ())
        self.assertEqual(self.database.show(queue_id)[0].item.state, "done")

    def test_a_thousand(self) -> None:
        """A message to a thousand recipients of one destination goes in ten parcels of a hundred."""
        self.accept(*(f"r{n}@x" for n in range(1000)))
        leases = self.claim(limit=20)
        self.assertEqual([len(one.targets) for one in leases], [100] * 10)
        self.assertEqual(len({one.address for lease in leases for one in lease.targets}), 1000)

    def test_fenced_apart(self) -> None:
        """A stale lease of one parcel is refused while the other parcel's lease is good."""
        self.accept("a@x", "b@y")
        x, y = self.claim()
        self.database.release(x)
        self.claim()
        self.assertRaises(LeaseLostError, self.settle, x, "delivered")
        self.settle(y, "delivered")
        self.assertEqual(self.database.audit().delivered, 1)

    def test_not_before(self) -> None:
        """What is scheduled is not due earlier, and does not grow old until then; not even if the clock is set back."""
        self.accept("a@x", not_before=START + 50 * DAY)
        self.assertEqual(self.database.next_due(START), START + 50 * DAY)
        self.assertEqual(self.claim(START + 49 * DAY), ())
        self.assertEqual(self.claim(START - 5 * DAY), ())
        (lease,) = self.claim(START + 50 * DAY)
        self.settle(lease, "retry", START + 50 * DAY)
        self.assertEqual(self.database.audit().waiting, 1)

    def test_deadline_of_its_own(self) -> None:
        """An item's own deadline holds instead of the queue's."""
        self.accept("a@x", give_up_after=100.0)
        self.accept("b@x", give_up_after=90 * DAY)
        for lease in self.claim():
            self.settle(lease, "retry")
        for lease in self.claim(START + 200):
            self.settle(lease, "retry", START + 200)
        audit = self.database.audit()
        self.assertEqual((audit.expired, audit.waiting), (1, 1))


class Fairness(StepsCase):
    def test_closed_destination_starves_nobody(self) -> None:
        """Of a destination without room nothing is claimed, however much waits there; what waits for others goes."""
        for n in range(50):
            self.accept("a@down", now=START + n)
        self.accept("b@up", now=START + 99)
        self.assertEqual(self.domains(self.claim(START + 100, limit=2, room={"down": 0})), ["up"])
        self.assertEqual(self.database.next_due(START + 100, ["down"]), None)
        self.assertEqual(self.database.next_due(START + 100, ["up"]), START + 100)

    def test_least_busy_first(self) -> None:
        """A destination with much under way comes behind one with nothing, though its parcels are older."""
        for n in range(9):
            self.accept("a@busy", now=START + n)
        self.accept("b@idle", now=START + 50)
        leases = self.claim(START + 60, limit=2, room={"busy": 10}, busy={"busy": 5})
        self.assertIn("idle", self.domains(leases))

    def test_room(self) -> None:
        """No destination is given more than its room, by name or else the common one."""
        for _ in range(9):
            self.accept("a@x", "b@y")
        domains = self.domains(self.claim(limit=20, each=3, room={"y": 1}))
        self.assertEqual((domains.count("x"), domains.count("y")), (3, 1))

    def test_overdue(self) -> None:
        """What has long been due to a destination can be claimed to share its failure."""
        self.accept("a@x")
        self.accept("b@x", now=START + 50)
        self.accept("c@y")
        (lease,) = self.database.claim_overdue("me", "x", START + 10, 5, START + 60)
        self.assertEqual(lease.targets[0].address, "a@x")

    def test_clock_set_back(self) -> None:
        """After the clock was set back what was scheduled later is due at once, once, whatever its destination."""
        self.accept("a@x", "b@y")
        past = START - 5 * DAY
        self.assertEqual(self.database.next_due(past), past)
        leases = self.claim(past)
        self.assertEqual(sorted(self.domains(leases)), ["x", "y"])
        for lease in leases:
            self.settle(lease, "retry", past)
        self.assertEqual(self.claim(past), ())


class Operators(StepsCase):
    def operate(self, operation: Any, chosen: Selection = ALL, now: float = START) -> int:
        return int(self.database.operate(operation, chosen, "uid:0", now).targets)

    def last(self, queue_id: str) -> tuple[str, str]:
        attempt = self.database.show(queue_id)[1][-1]
        return attempt.result, attempt.text

    def test_hold_and_release(self) -> None:
        """What is held is not claimed, is listed, and does not finish; released it is due as before."""
        queue_id = self.accept("a@x")
        self.assertEqual(self.operate("hold", Selection(queue_id=queue_id)), 1)
        self.assertEqual(self.last(queue_id), ("held", "by uid:0"))
        self.assertEqual((self.claim(), self.database.next_due(START)), ((), None))
        self.assertEqual(self.database.listing("", 5)[0].item.state, "held")
        self.assertEqual(self.operate("release", Selection(queue_id=queue_id)), 1)
        self.assertEqual(self.last(queue_id), ("released", "by uid:0"))
        self.assertEqual(len(self.claim()), 1)

    def test_by_domain(self) -> None:
        """An operation on a domain takes its recipients only, out of a parcel that they share with others."""
        queue_id = self.accept("a@one.example", "b@Two.example", "c@two.example", destinations=("smarthost",) * 3)
        self.assertEqual(self.operate("hold", Selection(domain="two.EXAMPLE")), 2)
        (lease,) = self.claim()
        self.assertEqual([one.address for one in lease.targets], ["a@one.example"])
        self.settle(lease, "delivered")
        summary, _ = self.database.show(queue_id)
        self.assertEqual(summary.item.state, "held")
        self.assertEqual(self.operate("release", Selection(domain="two.example")), 2)
        (lease,) = self.claim()
        self.assertEqual((len(lease.targets), lease.destination), (2, "smarthost"))
        self.assertTrue(self.database.audit().balanced)

    def test_by_destination(self) -> None:
        """The word of a destination chooses what goes there."""
        self.accept("a@x", "b@y", destinations=("smarthost", ""))
        self.assertEqual(self.operate("remove", Selection(domain="smarthost")), 1)
        self.assertEqual(self.domains(self.claim()), [""])

    def test_flush(self) -> None:
        """A flush makes due now what waits, keeps its age, and leaves what was scheduled unless it is named."""
        self.accept("a@x")
        self.settle(self.claim()[0], "retry")
        later = self.accept("b@x", not_before=START + DAY)
        self.assertEqual(self.operate("flush", ALL, START + 100), 1)
        (lease,) = self.claim(START + 100)
        self.assertEqual((lease.targets[0].address, lease.item.waited), ("a@x", 100))
        self.assertEqual(self.operate("flush", Selection(queue_id=later), START + 100), 1)
        self.assertEqual(len(self.claim(START + 100)), 1)

    def test_remove_all(self) -> None:
        """Everything that waits or is held can be removed; what is being delivered stays."""
        self.accept("a@x")
        self.claim()
        self.accept("b@x")
        self.operate("hold", Selection(queue_id=self.accept("c@x", "d@y")))
        self.assertEqual(self.operate("remove"), 3)
        audit = self.database.audit()
        self.assertEqual((audit.removed, audit.waiting, audit.balanced), (3, 1, True))

    def test_requeue_all(self) -> None:
        """Everything that bounced can be tried again, as if it were new."""
        ids = [self.accept("a@x"), self.accept("b@y")]
        for lease in self.claim():
            self.settle(lease, "permanent")
        self.assertEqual(self.operate("requeue"), 2)
        self.assertEqual(self.last(ids[0]), ("requeued", "by uid:0"))
        self.assertEqual([one.item.waited for one in self.claim()], [0, 0])

    def test_steps(self) -> None:
        """An operation on much goes in steps, none of which misses or repeats anything."""
        for _ in range(450):
            self.accept("a@x")
        chosen, total, steps = ALL, 0, 0
        while True:
            step = self.database.operate("hold", chosen, "uid:0", START)
            total, steps = total + step.targets, steps + 1
            if step.after is None:
                break
            chosen = Selection(everything=True, after=step.after)
        self.assertEqual((total, steps), (450, 3))
        self.assertEqual(self.claim(), ())

    def test_refused(self) -> None:
        """One item that cannot be changed so is an error that says why; among many it is passed over."""
        with self.assertRaisesRegex(NoSuchItemError, "there is no message"):
            self.operate("hold", Selection(queue_id="nothing"))
        queue_id = self.accept("a@x")
        with self.assertRaisesRegex(NoSuchItemError, "no recipient of .* can be released"):
            self.operate("release", Selection(queue_id=queue_id))
        self.claim()
        with self.assertRaisesRegex(NoSuchItemError, "is being delivered right now"):
            self.operate("hold", Selection(queue_id=queue_id))
        self.assertEqual(self.operate("hold"), 0)


class Suppression(StepsCase):
    def setUp(self) -> None:
        super().setUp()
        self.database.suppress("Bad@X", "complained", "uid:0", START)

    def test_list(self) -> None:
        """The list has address, reason, operator and time, in pages; an address can be taken off."""
        self.database.suppress("also@x", "unknown", "uid:7", START)
        (also, bad) = self.database.suppressions("", 9)
        self.assertEqual((bad.address, bad.reason, bad.operator, bad.since), ("bad@x", "complained", "uid:0", START))
        self.assertEqual(self.database.suppressions(also.address, 9), (bad,))
        self.assertTrue(self.database.unsuppress("BAD@x"))
        self.assertFalse(self.database.unsuppress("bad@x"))

    def test_target_refused(self) -> None:
        """A suppressed target is refused in the receipt, also in a repeated one, and bounced in the books."""
        item = submission("a@x", "bad@x", key="k")
        accepted = self.database.accept(item, START)
        self.assertEqual(dict(accepted.refused), {"bad@x": "the address is suppressed: complained"})
        self.assertEqual(dict(self.database.accept(item, START).refused), dict(accepted.refused))
        (lease,) = self.claim()
        self.assertEqual([one.address for one in lease.targets], ["a@x"])
        self.settle(lease, "delivered")
        audit = self.database.audit()
        self.assertEqual((audit.bounced, audit.delivered, audit.balanced), (1, 1, True))
        self.assertEqual(self.database.listing("", 5), ())

    def test_all_refused(self) -> None:
        """A submission for suppressed targets only is refused whole, and nothing of it is kept."""
        with self.assertRaisesRegex(SuppressedError, "bad@x: the address is suppressed: complained"):
            self.database.accept(submission("bad@x"), START)
        self.assertEqual(self.database.audit().accepted, 0)


class Following(StepsCase):
    def test_with_the_settlement(self) -> None:
        """What follows from a settlement is accepted with it, and under a lost lease neither is written."""
        self.accept("a@x")
        (lease,) = self.claim()
        bounce = submission("a@example.com", sender="")
        self.settle(lease, "permanent", START, bounce)
        self.assertRaises(LeaseLostError, self.settle, lease, "permanent", START, bounce)
        self.assertEqual(self.database.audit().accepted, 2)
        (following,) = self.claim()
        self.assertEqual((following.item.sender, following.targets[0].address), ("", "a@example.com"))

    def test_suppressed(self) -> None:
        """A bounce to a suppressed address ends bounced, and the settlement stands."""
        self.database.suppress("a@example.com", "gone", "uid:0", START)
        self.accept("a@x")
        (lease,) = self.claim()
        self.settle(lease, "permanent", START, submission("a@example.com", sender=""))
        audit = self.database.audit()
        self.assertEqual((audit.bounced, audit.waiting, audit.balanced), (2, 0, True))
        self.assertEqual(self.database.listing("", 5), ())
