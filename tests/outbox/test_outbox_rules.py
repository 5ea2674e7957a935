"""The outbox's pure parts: queue ids, retry, custody."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.custody import Custody, one_line
from netsvc.outbox.model import Audit, Item, Lease, Outcome, Result, Submission, Target, make_queue_id
from netsvc.outbox.retry import DAY, HOUR, MINUTE, SLACK, RetryPolicy, lived
from tests.outbox.kit import START, submission

POLICY = RetryPolicy()


def item(**more: object) -> Item:
    """An item that was just accepted, but for what is named."""
    base = Item(
        queue_id="0" * 15,
        submitter="uid:0",
        sender="a@example.com",
        key=None,
        meta={},
        size=1,
        sha256="",
        accepted_at=START,
        state="leased",
        attempts=0,
        recoveries=0,
        waited=0.0,
        scheduled_at=START,
        next_at=START,
    )
    return attrs.evolve(base, **more)  # type: ignore[arg-type]


def lease(*targets: str, **more: object) -> Lease:
    """A lease of such an item."""
    named = tuple(Target(index=n, address=one) for n, one in enumerate(targets or ("b@example.com",)))
    return Lease(item=item(**more), targets=named, owner="me", fence=1, claimed_at=START)


class QueueIds(SynchronousTestCase):
    def test_form(self) -> None:
        """A queue id has fifteen characters without i, l, o and u."""
        queue_id = make_queue_id(START, lambda: 0.999999999)
        self.assertEqual(len(queue_id), 15)
        self.assertFalse(set("ilou") & set(queue_id))

    def test_order(self) -> None:
        """Queue ids sort by the time of acceptance."""
        early, late = make_queue_id(START, lambda: 0.9), make_queue_id(START + 0.002, lambda: 0.1)
        self.assertLess(early, late)

    def test_before_the_epoch(self) -> None:
        """A clock before 1970 still gives an id."""
        self.assertEqual(make_queue_id(-5.0, lambda: 0.0), "0" * 15)


class Submissions(SynchronousTestCase):
    def test_needs_targets(self) -> None:
        """A submission without targets, or with one twice, cannot be made."""
        self.assertRaises(ValueError, submission, "b@example.com", "b@example.com")
        self.assertRaises(ValueError, lambda: Submission(submitter="", sender="", targets=(), content=b""))

    def test_repr_has_no_content(self) -> None:
        """The content is not in a submission's repr."""
        self.assertNotIn("hello", repr(submission()))


class Retry(SynchronousTestCase):
    def test_first_delay(self) -> None:
        """The first delay is anywhere below five minutes."""
        self.assertEqual(POLICY.delay(1, lambda: 0.5), 2.5 * MINUTE)
        self.assertLessEqual(POLICY.delay(1, lambda: 0.999), 5 * MINUTE)

    def test_doubles_up_to_the_longest(self) -> None:
        """The bound doubles with each attempt and ends at four hours."""
        bounds = [POLICY.delay(n, lambda: 1.0) / MINUTE for n in range(1, 9)]
        self.assertEqual(bounds, [5, 10, 20, 40, 80, 160, 240, 240])
        self.assertEqual(POLICY.delay(10_000, lambda: 1.0), 4 * HOUR)

    def test_never_at_once(self) -> None:
        """Jitter never comes out at no delay at all."""
        self.assertEqual(POLICY.delay(1, lambda: 0.0), 1.0)

    def test_expiry(self) -> None:
        """An item is given up after five lived days."""
        self.assertFalse(POLICY.expired(5 * DAY - 1))
        self.assertTrue(POLICY.expired(5 * DAY))

    def test_lived_normally(self) -> None:
        """In ordinary times lived time is wall-clock time."""
        self.assertEqual(lived(100, scheduled_at=START, next_at=START + 60, now=START + 70), 170)

    def test_jump_ahead(self) -> None:
        """A clock that jumps five days ahead adds no more than the planned delay and an attempt's time."""
        self.assertEqual(lived(0, scheduled_at=START, next_at=START + 60, now=START + 5 * DAY), 60 + SLACK)

    def test_jump_back(self) -> None:
        """A clock that jumps back takes nothing from the lived time and adds nothing."""
        self.assertEqual(lived(7, scheduled_at=START, next_at=START + 60, now=START - 5 * DAY), 7)

    @settings(derandomize=True, deadline=None)
    @given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
    def test_bounds_hold(self, attempts: int, chance: float) -> None:
        """A delay is between a second and four hours, whatever the attempt."""
        self.assertTrue(1.0 <= POLICY.delay(attempts, lambda: chance) <= 4 * HOUR)


class CustodyRules(SynchronousTestCase):
    def settle(self, result: Result, custody: Custody | None = None, **more: object) -> tuple[str, float | None]:
        settlement = (custody or Custody()).settle(
            lease(**more), [Outcome(target="b@example.com", result=result)], now=START, random=lambda: 0.5
        )
        return settlement.outcomes[0][1], settlement.next_at

    def test_delivered(self) -> None:
        """A delivered target is done."""
        self.assertEqual(self.settle("delivered"), ("delivered", None))

    def test_permanent(self) -> None:
        """A target refused for good is bounced."""
        self.assertEqual(self.settle("permanent"), ("bounced", None))

    def test_retry(self) -> None:
        """A target refused for now waits for the delay."""
        self.assertEqual(self.settle("retry"), ("waiting", START + 150))

    def test_expired(self) -> None:
        """A target refused for now after five lived days is expired."""
        self.assertEqual(self.settle("retry", waited=5 * DAY), ("expired", None))

    def test_delivered_late(self) -> None:
        """Age alone expires nothing: an old item that is delivered is delivered."""
        self.assertEqual(self.settle("delivered", waited=50 * DAY), ("delivered", None))

    def test_clock_jump_expires_nothing(self) -> None:
        """A new item whose first attempt fails five days ahead by a jump of the clock goes on waiting."""
        settlement = Custody().settle(
            lease(), [Outcome(target="b@example.com", result="retry")], now=START + 6 * DAY, random=lambda: 0.5
        )
        self.assertEqual(settlement.outcomes[0][1], "waiting")

    def test_ambiguous_retried(self) -> None:
        """An unknown result is tried again by default."""
        self.assertEqual(self.settle("ambiguous")[0], "waiting")

    def test_ambiguous_held(self) -> None:
        """An unknown result is held when the policy says so."""
        self.assertEqual(self.settle("ambiguous", Custody(ambiguous="hold")), ("ambiguous", None))

    def test_missing_outcome(self) -> None:
        """A target of which the delivery says nothing has an unknown result; one it invents is ignored."""
        outcomes = [Outcome(target="b@x", result="delivered"), Outcome(target="stranger@x", result="delivered")]
        settlement = Custody().settle(lease("b@x", "c@x"), outcomes, now=START, random=lambda: 0.5)
        self.assertEqual(
            [(one.target, one.result, state) for one, state in settlement.outcomes],
            [("b@x", "delivered", "delivered"), ("c@x", "ambiguous", "waiting")],
        )

    def test_our_end(self) -> None:
        """An attempt that we ended is made again at once, but not before a peer wants to be asked."""
        for asked_for, expected in ((None, START), (START + 40, START + 40)):
            outcomes = [Outcome(target="b@example.com", result="retry", not_before=asked_for)]
            settlement = Custody().settle(lease(), outcomes, now=START, random=lambda: 0.5, ours=True)
            self.assertEqual(settlement.next_at, expected)

    def test_recovered_at_once(self) -> None:
        """An attempt that died with the daemon is made again at once."""
        settlement = Custody().recover(lease(), now=START, random=lambda: 0.5)
        self.assertEqual((settlement.outcomes[0][0].result, settlement.next_at), ("ambiguous", START))

    def test_recovered_often(self) -> None:
        """An item that was there at three deaths in a row backs off."""
        settlement = Custody().recover(lease(recoveries=3, attempts=3), now=START, random=lambda: 0.5)
        self.assertEqual(settlement.next_at, START + 20 * MINUTE)

    def test_recovered_held(self) -> None:
        """With the policy to hold, an attempt that died with the daemon is held."""
        settlement = Custody(ambiguous="hold").recover(lease(), now=START, random=lambda: 0.5)
        self.assertEqual((settlement.outcomes[0][1], settlement.next_at), ("ambiguous", None))

    def test_text(self) -> None:
        """A peer's words are cut at a bound and lose control characters."""
        self.assertEqual(one_line("ok"), "ok")
        self.assertEqual(one_line("a\r\nb\x1b[31m\u202e"), "a  b [31m ")
        self.assertEqual(len(one_line("x" * 5000)), 1024)

    def test_books(self) -> None:
        """The books balance when every accepted target is somewhere, once."""
        parts = {"waiting": 1, "delivered": 2, "bounced": 3, "expired": 4, "removed": 5, "ambiguous": 6}
        self.assertTrue(Audit(accepted=21, unknown_attempts=9, **parts).balanced)
        self.assertFalse(Audit(accepted=20, unknown_attempts=9, **parts).balanced)
