"""The runner: claims, deliveries, outcomes, faults, drain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.courier import STORE_PAUSE
from netsvc.outbox.custody import Custody
from netsvc.outbox.following import PUT_OFF
from netsvc.outbox.model import (
    KeyConflictError,
    Lease,
    LeaseLostError,
    Outcome,
    Selection,
    Settlement,
    StoreFailedError,
    Submission,
)
from netsvc.outbox.retry import DAY, RetryPolicy
from netsvc.outbox.runner import LONGEST_SLEEP, Limits, Runner
from tests.fakes import FakeMetrics
from tests.outbox.kit import START, ImmediateStore, disk_full, open_database, submission


class RunnerCase(SynchronousTestCase):
    settled: Any = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.offset = START  # of the wall clock against the reactor's
        self.store = ImmediateStore(open_database(self))
        self.metrics = FakeMetrics()
        self.asked: list[tuple[Lease, bytes, Deferred[Any]]] = []
        self.answers: list[Any] = []
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.runner = self.make()

    def make(self, custody: Custody | None = None, **limits: Any) -> Runner:
        runner = Runner(
            queue="mail",
            reactor=self.clock,
            open_store=lambda: self.store,
            deliver=self.deliver,
            custody=custody or Custody(),
            metrics=self.metrics,
            random=lambda: 0.5,
            limits=Limits(**limits),
            wall_clock=lambda: self.offset + self.clock.seconds(),
            settled=self.settled,
        )
        self.addCleanup(self.end, runner)
        return runner

    def end(self, runner: Runner) -> None:
        """Leave no attempt behind that would go on when the test is over."""
        if runner.running:
            stopped = runner.stopService()
            self.clock.advance(Limits().drain_timeout)
            self.successResultOf(stopped)

    def deliver(self, lease: Lease, content: bytes) -> Deferred[Iterable[Outcome]]:
        """Answer with what is planned, or wait."""
        deferred: Deferred[Any] = Deferred()
        self.asked.append((lease, content, deferred))
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return succeed([Outcome(target=one.address, result=answer, code=250) for one in lease.targets])
        return deferred

    def answer(self, index: int, result: Any) -> None:
        lease, _, deferred = self.asked[index]
        deferred.callback([Outcome(target=one.address, result=result) for one in lease.targets])

    def accept(self, *targets: str, **more: Any) -> str:
        return str(self.successResultOf(self.runner.accept(submission(*targets, **more))).queue_id)

    def count(self, name: str, **labels: Any) -> float:
        return self.metrics.metrics[f"outbox_{name}"].values.get(tuple(sorted({"queue": "mail", **labels}.items())), 0)

    def seen(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one.get("event") == event]


class Running(RunnerCase):
    def test_delivers_at_once(self) -> None:
        """What is accepted while the runner runs is delivered at once, with its content."""
        self.answers = ["delivered"]
        self.runner.startService()
        self.accept(content=b"octets")
        self.assertEqual(self.asked[0][1], b"octets")
        self.assertEqual(self.store.database.audit().delivered, 1)
        self.assertEqual(self.count("attempts", result="delivered"), 1)
        self.assertEqual(self.count("finished", state="delivered"), 1)
        self.assertEqual(self.count("accepted"), 1)
        self.assertEqual(len(self.seen("outbox-delivered")), 1)

    def test_delivers_what_was_there(self) -> None:
        """What was accepted before is delivered at start, not before."""
        self.answers = ["delivered"]
        self.store.database.accept(submission(), START)
        self.runner.startService()
        self.assertEqual(len(self.asked), 1)

    def test_repeated(self) -> None:
        """A repeated submission is counted as such and delivered once."""
        self.answers = ["delivered"] * 2
        self.runner.startService()
        self.assertEqual(self.accept(key="k"), self.accept(key="k"))
        self.assertEqual((len(self.asked), self.count("repeated"), self.count("accepted")), (1, 1, 1))

    def test_refused(self) -> None:
        """A submission that the store refuses is refused."""
        self.runner.startService()
        self.accept(key="k")
        self.failureResultOf(self.runner.accept(submission("z@x", key="k")), KeyConflictError)

    def test_not_running(self) -> None:
        """A runner that does not run refuses."""
        self.failureResultOf(self.runner.accept(submission()), StoreFailedError)

    def test_retries(self) -> None:
        """What was refused for now is tried again when it is due, and not before."""
        self.answers = ["retry", "delivered"]
        self.runner.startService()
        self.accept()
        self.clock.pump([30] * 4)
        self.assertEqual(len(self.asked), 1)
        self.clock.pump([30])
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(self.store.database.audit().delivered, 1)

    def test_jump_ahead(self) -> None:
        """What a jump of the clock makes due is found within a minute, and does not expire."""
        self.answers = ["retry", "retry"]
        self.runner.startService()
        self.accept()
        self.offset += 6 * DAY
        self.clock.advance(LONGEST_SLEEP)
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(self.store.database.audit().waiting, 1)

    def test_concurrency(self) -> None:
        """No more attempts run at once than allowed; the next starts when one ends."""
        self.runner = self.make(concurrency=2)
        self.runner.startService()
        for _ in range(3):
            self.accept()
        self.assertEqual(len(self.asked), 2)
        self.answer(0, "delivered")
        self.assertEqual(len(self.asked), 3)

    def test_octets(self) -> None:
        """No more content is in memory than allowed, but a large item still goes, alone."""
        self.runner = self.make(octets=10)
        self.runner.startService()
        self.accept(content=b"x" * 100)
        self.accept(content=b"y")
        self.assertEqual(len(self.asked), 1)
        self.answer(0, "delivered")
        self.assertEqual(len(self.asked), 2)

    def test_accepted_during_a_claim(self) -> None:
        """What is accepted while the store is being asked is not forgotten until the next look."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["next_due"] = [slow]
        self.answers = ["delivered"]
        self.runner.startService()
        self.accept()
        self.assertEqual(self.asked, [])
        slow.callback(None)
        self.assertEqual(len(self.asked), 1)

    def test_levels(self) -> None:
        """A bounce and an expiry are errors in the log; a held one is a warning."""
        self.runner = self.make(custody=Custody(ambiguous="hold"))
        self.answers = ["permanent", "ambiguous", "retry"]
        self.runner.startService()
        self.accept("b@x")
        self.accept("c@x")
        self.store.database.accept(submission("d@x"), START)
        self.store.database.connection.execute("UPDATE parcel SET waited = ?", (6 * DAY,))
        self.runner.wake()
        self.assertEqual(self.seen("outbox-bounced")[0]["log_level"], LogLevel.error)
        self.assertEqual(self.seen("outbox-expired")[0]["log_level"], LogLevel.error)
        self.assertEqual(self.seen("outbox-held")[0]["log_level"], LogLevel.warn)

    def test_purge(self) -> None:
        """What was finished long ago is forgotten, an hour's turn at most after its time."""
        self.answers = ["delivered"]
        self.runner = self.make(keep=100)
        self.runner.startService()
        self.accept()
        self.clock.pump([3600, 3600])
        self.assertEqual(self.store.database.listing("", 9, done=True), ())


class AtOnce(RunnerCase):
    def calls(self) -> list[str]:
        """What the store was asked since the last look."""
        calls, self.store.calls[:] = list(self.store.calls), []
        return calls

    def test_two_steps(self) -> None:
        """A message alone asks the store twice: to accept and lease it, and to record its delivery."""
        self.answers = ["delivered"] * 2
        self.runner.startService()
        self.calls()
        self.accept()
        self.accept()
        self.assertEqual(self.calls(), ["accept", "settle"] * 2)

    def test_looks_behind_the_record(self) -> None:
        """When something waits for a place, it is claimed behind the record of what had it, not after its answer."""
        self.runner = self.make(concurrency=1)
        self.runner.startService()
        self.accept()
        self.accept()
        self.calls()
        answered: Deferred[Any] = Deferred()
        self.store.failures["settle"] = [answered]
        self.answer(0, "delivered")
        self.assertEqual(self.calls(), ["settle", "claim"])
        answered.callback(None)
        self.assertEqual(self.calls(), [])
        self.answer(1, "delivered")
        self.assertEqual(self.store.database.audit().delivered, 2)

    def test_not_before_others(self) -> None:
        """What is accepted while others are due waits for its turn."""
        self.runner = self.make(concurrency=1)
        self.runner.startService()
        first = []
        for _ in range(3):
            first.append(self.accept("b@x"))
            self.offset += 1
        for n in range(3):
            self.answer(n, "delivered")
        self.assertEqual([one[0].item.queue_id for one in self.asked], first)

    def test_retry_is_looked_for(self) -> None:
        """What is to be tried again after an attempt that came with the acceptance is tried when it is due."""
        self.answers = ["retry", "delivered"]
        self.runner.startService()
        self.accept()
        self.clock.pump([60] * 6)
        self.assertEqual(self.store.database.audit().delivered, 1)

    def test_promised(self) -> None:
        """What is being accepted has its place already, and its destination knows of it."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        self.runner = self.make(concurrency=1)
        self.runner.startService()
        first = self.runner.accept(submission())
        self.assertEqual(self.runner.destinations.standing("").in_flight, 1)
        self.accept()
        self.assertEqual(len(self.asked), 0)
        slow.callback(None)
        self.successResultOf(first)
        self.assertEqual(len(self.asked), 1)
        self.answer(0, "delivered")
        self.assertEqual(len(self.asked), 2)

    def test_refused(self) -> None:
        """What is not accepted leaves its place."""
        self.store.failures["accept"] = [disk_full()]
        self.runner.startService()
        self.failureResultOf(self.runner.accept(submission()), StoreFailedError)
        self.assertEqual(self.runner.destinations.standing("").in_flight, 0)
        self.accept()
        self.assertEqual(self.runner.destinations.standing("").in_flight, 1)

    def test_moment(self) -> None:
        """First attempts wait a moment together, each in its place; a stop gives their leases back."""
        self.runner = self.make(concurrency=2, moment=0.5)
        self.runner.startService()
        self.accept()
        self.clock.advance(0.4)
        self.accept()
        self.accept()
        self.assertEqual(self.asked, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.asked), 2)
        self.answer(0, "delivered")
        self.answer(1, "delivered")
        self.assertEqual(len(self.asked), 3)
        self.answer(2, "delivered")
        self.accept()
        self.successResultOf(self.runner.stopService())
        self.assertEqual((len(self.asked), self.store.database.leased()), (3, ()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_meanwhile(self) -> None:
        """What was leased with its acceptance when the runner stopped goes back without an attempt."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        self.runner.startService()
        accepted = self.runner.accept(submission())
        stopped = self.runner.stopService()
        slow.callback(None)
        self.successResultOf(accepted)
        self.successResultOf(stopped)
        self.assertEqual((self.asked, self.store.database.leased()), ([], ()))


class Faults(RunnerCase):
    def test_delivery_raises(self) -> None:
        """A delivery that breaks is an unknown result, logged, and tried again."""
        self.answers = [RuntimeError("a bug"), "delivered"]
        self.runner.startService()
        queue_id = self.accept()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.seen("outbox-ambiguous")[0]["log_level"], LogLevel.warn)
        self.clock.pump([60] * 3)
        _, ledger = self.store.database.show(queue_id)
        self.assertEqual([one.result for one in ledger], ["ambiguous", "delivered"])

    def test_damaged(self) -> None:
        """Content that is damaged in the store is never sent; its targets bounce, loudly."""
        self.store.database.accept(submission(), START)
        self.store.database.connection.execute("UPDATE content SET octets = CAST('x' AS BLOB)")
        self.runner.startService()
        self.assertEqual(self.asked, [])
        self.assertIn("SHA-256", self.seen("outbox-bounced")[0]["reason"])

    def test_claim_fails(self) -> None:
        """A store that cannot be asked is asked again after a pause."""
        self.answers = ["delivered"]
        self.store.failures["claim"] = [disk_full()]
        self.store.database.accept(submission(), START)
        self.runner.startService()
        self.assertEqual(self.count("store_faults"), 1)
        self.clock.advance(STORE_PAUSE)
        self.assertEqual(self.store.database.audit().delivered, 1)

    def test_content_fails(self) -> None:
        """Content that cannot be read for now is no attempt: the lease goes back."""
        self.answers = ["delivered"]
        self.store.failures["content"] = [disk_full()]
        queue_id = self.store.database.accept(submission(), START).queue_id
        self.runner.startService()
        self.clock.advance(STORE_PAUSE)
        self.assertEqual([one.result for one in self.store.database.show(queue_id)[1]], ["delivered"])

    def test_outcome_is_written_until_it_is(self) -> None:
        """An outcome that the store cannot take is kept and written when it can; nothing is sent twice."""
        self.answers = ["delivered"]
        self.store.failures["settle"] = [disk_full(), disk_full()]
        self.runner.startService()
        self.accept()
        self.assertEqual(self.store.database.audit().delivered, 0)
        self.clock.pump([STORE_PAUSE, STORE_PAUSE, STORE_PAUSE])
        self.assertEqual(self.store.database.audit().delivered, 1)
        self.assertEqual(len(self.asked), 1)

    def test_lease_lost(self) -> None:
        """An outcome under a lost lease is not written, and that is logged."""
        self.answers = ["delivered"]
        self.store.failures["settle"] = [LeaseLostError("gone")]
        self.runner.startService()
        self.accept()
        self.assertEqual(len(self.seen("outbox-lease-lost")), 1)
        self.assertEqual(self.seen("outbox-delivered"), [])

    def test_purge_fails(self) -> None:
        """A purge that fails is only counted."""
        self.store.failures["purge"] = [disk_full()]
        self.runner.startService()
        self.assertEqual(self.count("store_faults"), 1)

    def test_fault_of_our_own(self) -> None:
        """A fault in a claim or a purge of the runner is logged and ends nothing else."""
        self.store.failures = {"next_due": [ZeroDivisionError()], "purge": [KeyError()]}
        self.answers = ["delivered"]
        self.runner.startService()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.store.database.accept(submission(), START)
        self.clock.advance(STORE_PAUSE)
        self.assertEqual(len(self.asked), 1)


class Drain(RunnerCase):
    def test_idle(self) -> None:
        """An idle runner stops at once, closes the store and leaves no timer."""
        self.runner.startService()
        self.successResultOf(self.runner.stopService())
        self.assertTrue(self.store.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_never_started(self) -> None:
        """A runner that was never started stops too."""
        self.successResultOf(self.runner.stopService())
        self.assertFalse(self.store.closed)

    def test_finishes_what_is_in_flight(self) -> None:
        """The stop waits for the attempt in flight, records it, and claims nothing more."""
        self.runner = self.make(concurrency=1)
        self.runner.startService()
        self.accept("b@x")
        self.accept("c@x")
        stopped = self.runner.stopService()
        self.assertNoResult(stopped)
        self.answer(0, "delivered")
        self.successResultOf(stopped)
        audit = self.store.database.audit()
        self.assertEqual((audit.delivered, audit.waiting, len(self.asked)), (1, 1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cut(self) -> None:
        """An attempt that outlasts the drain is cut, recorded as unknown, and due at once at the next start."""
        self.runner.startService()
        queue_id = self.accept()
        stopped = self.runner.stopService()
        self.clock.advance(Limits().drain_timeout)
        self.successResultOf(stopped)
        (attempt,) = self.store.database.show(queue_id)[1]
        self.assertEqual((attempt.result, attempt.text), ("ambiguous", "the daemon stopped during the attempt"))
        self.assertEqual(self.store.database.show(queue_id)[0].item.next_at, self.offset + self.clock.seconds())
        self.assertEqual(len(self.seen("outbox-drain-cut")), 1)

    def test_store_fails_to_the_end(self) -> None:
        """An outcome that cannot be written by the end of the drain leaves its lease to the next start."""
        self.answers = ["delivered"]
        self.store.failures["settle"] = [disk_full()] * 9
        self.runner.startService()
        self.accept()
        stopped = self.runner.stopService()
        self.clock.advance(Limits().drain_timeout)
        self.successResultOf(stopped)
        self.assertEqual(len(self.store.database.leased()), 1)

    def test_content_fails_to_the_end(self) -> None:
        """A pause for a store that fails ends with the drain."""
        self.store.failures["content"] = [disk_full()]
        self.runner = self.make(drain_timeout=1.0)
        self.store.database.accept(submission(), START)
        self.runner.startService()
        stopped = self.runner.stopService()
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.store.database.leased(), ())

    def test_content_fails_after_the_cut(self) -> None:
        """After the cut nothing pauses any more."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["content"] = [slow]
        self.store.database.accept(submission(), START)
        self.runner.startService()
        stopped = self.runner.stopService()
        self.clock.advance(Limits().drain_timeout)
        slow.errback(disk_full())
        self.successResultOf(stopped)

    def test_claimed_while_stopping(self) -> None:
        """What the store leases after the stop goes back without an attempt."""
        slow: Deferred[Any] = Deferred()
        self.store.database.accept(submission(), START)
        self.store.failures["claim"] = [slow]
        self.runner.startService()
        stopped = self.runner.stopService()
        slow.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.asked, [])
        self.assertEqual(self.store.database.leased(), ())


class Destinations(RunnerCase):
    def down(self, index: int) -> None:
        """Answer an attempt: the destination could not be reached."""
        lease, _, deferred = self.asked[index]
        deferred.callback(
            [
                Outcome(target=one.address, result="retry", text="connection refused", unreachable=True)
                for one in lease.targets
            ]
        )

    def close(self, count: int = 5) -> None:
        """Let three attempts of many fail, so that the destination is left alone."""
        self.runner = self.make(concurrency=1)
        for n in range(count):
            self.store.database.accept(submission("b@down", destinations=("down",)), START - count + n)
        self.runner.startService()
        for n in range(3):
            self.down(n)

    def test_left_alone(self) -> None:
        """After three failures what is down is not tried until its time, and then once; others go on at once."""
        self.close(100)
        self.assertEqual(len(self.asked), 3)
        self.assertEqual(self.seen("outbox-destination-closed")[0]["seconds"], 60)
        self.accept("c@up", destinations=("up",))
        self.assertEqual(self.asked[3][0].destination, "up")
        self.answer(3, "delivered")
        self.clock.advance(59)
        self.assertEqual(len(self.asked), 4)
        self.clock.advance(1)
        self.assertEqual((len(self.asked), self.asked[4][0].destination), (5, "down"))
        self.down(4)
        self.clock.advance(119)
        self.assertEqual(len(self.asked), 5)

    def test_returns(self) -> None:
        """When it is reached again everything that waits flows, and that is said."""
        self.close()
        self.clock.advance(60)
        self.answers = ["delivered"] * 9
        self.answer(3, "delivered")
        self.assertEqual(len(self.seen("outbox-destination-reached")), 1)
        self.assertEqual(self.store.database.audit().delivered, 2)

    def test_ages_without_attempts(self) -> None:
        """What waits for a destination that stays down grows old and expires, though it was never tried itself."""
        self.runner = self.make(custody=Custody(retry=RetryPolicy(give_up=2 * 3600.0)), concurrency=1)
        queue_ids = [
            self.store.database.accept(submission("b@down", destinations=("down",)), START).queue_id for _ in range(30)
        ]
        self.runner.startService()
        for _ in range(12 * 60):
            while len(self.asked) and not self.asked[-1][2].called:
                self.down(len(self.asked) - 1)
            self.clock.advance(60)
        audit = self.store.database.audit()
        self.assertEqual((audit.expired, audit.waiting), (30, 0))
        self.assertLess(len(self.asked), 40)
        ledgers = [self.store.database.show(one)[1] for one in queue_ids]
        self.assertTrue(any("not tried" in line.text for ledger in ledgers for line in ledger))

    def test_flush_opens(self) -> None:
        """An operator's flush tries what is left alone at once."""
        self.close()
        operated = self.successResultOf(self.runner.operate("flush", Selection(everything=True), "uid:0"))
        self.assertEqual((operated.targets, len(self.asked)), (5, 4))
        self.assertEqual(self.seen("outbox-operated")[0]["operator"], "uid:0")

    def test_partly_reached(self) -> None:
        """A destination that answered for one target was reached."""
        self.runner.startService()
        for _ in range(4):
            self.accept("b@x", "c@x")
            _, _, deferred = self.asked[-1]
            deferred.callback(
                [
                    Outcome(target="b@x", result="retry", unreachable=True),
                    Outcome(target="c@x", result="delivered"),
                ]
            )
        self.assertEqual(self.runner.destinations.standing("").failures, 0)


class Following(RunnerCase):
    def settled(self, lease: Lease, settlement: Settlement, content: bytes) -> list[Submission]:
        """A bounce for what bounced."""
        if content == b"bug":
            raise ZeroDivisionError
        gone = [one.target for one, state in settlement.outcomes if state == "bounced"]
        return [submission("a@example.com", sender="", content=content + b" bounced")] if gone else []

    def test_bounce(self) -> None:
        """What the observer makes of a settlement is accepted with it and delivered."""
        self.answers = ["permanent", "delivered"]
        self.runner.startService()
        self.accept(content=b"octets")
        self.assertEqual([one[1] for one in self.asked], [b"octets", b"octets bounced"])
        self.assertEqual(self.count("accepted"), 2)
        self.assertEqual(self.seen("outbox-follow-up")[0]["targets"], "a@example.com")

    def test_written_once(self) -> None:
        """A settlement that had to be written twice brings forth one bounce."""
        self.answers = ["permanent", "delivered"]
        self.store.failures["settle"] = [disk_full()]
        self.runner.startService()
        self.accept()
        self.clock.advance(STORE_PAUSE)
        self.assertEqual(self.store.database.audit().accepted, 2)

    def test_fault(self) -> None:
        """An observer that breaks is logged; what bounced waits again, and is attempted again when there is time."""
        self.answers = ["permanent", "delivered"]
        self.runner.startService()
        self.accept(content=b"bug")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        audit = self.store.database.audit()
        self.assertEqual((audit.bounced, audit.waiting), (0, 1))
        self.clock.advance(PUT_OFF)
        self.assertEqual(self.store.database.audit().delivered, 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Lapse(RunnerCase):
    def test_cut(self) -> None:
        """When the store cannot answer for the leases the attempts end; the runner goes on."""
        self.runner.startService()
        queue_id = self.accept()
        self.store.lapsed()
        (attempt,) = self.store.database.show(queue_id)[1]
        self.assertEqual((attempt.result, attempt.text), ("ambiguous", "the attempt was cut"))
        self.assertEqual(len(self.seen("outbox-leases-lapsed")), 1)
        self.answers = ["delivered"]
        self.accept()
        self.assertEqual(self.store.database.audit().delivered, 1)

    def test_behind_the_drain(self) -> None:
        """Leases that lapse when the drain is over change nothing: nothing waits for the store any more."""
        self.runner.startService()
        self.accept()
        held: Deferred[None] = Deferred()
        self.store.failures["settle"] = [held]
        stopped = self.runner.stopService()
        self.clock.advance(30)
        self.store.lapsed()
        held.errback(disk_full())
        self.successResultOf(stopped)
        self.assertTrue(self.store.closed)

    def test_cut_before_it_began(self) -> None:
        """An attempt whose content comes when the lease may be another's is not made; the lease is given back."""
        self.runner.startService()
        held: Deferred[None] = Deferred()
        self.store.failures["content"] = [held]
        self.store.database.accept(submission(), START)
        self.store.hint()
        self.store.lapsed()
        self.answers = ["delivered"]
        held.callback(None)
        self.assertEqual(self.store.calls.count("release"), 1)
        self.assertEqual(len(self.asked), 1)  # by a lease of its own
        self.assertEqual(self.store.database.audit().unknown_attempts, 0)

    def test_hint(self) -> None:
        """What another process put there is looked for when the store says so."""
        self.answers = ["delivered"]
        self.runner.startService()
        self.store.database.accept(submission(), START)
        self.store.hint()
        self.assertEqual(len(self.asked), 1)
