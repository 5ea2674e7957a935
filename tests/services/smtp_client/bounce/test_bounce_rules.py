"""Facts about which notices are owed, which are counted, and what is a dead letter."""

from __future__ import annotations

import re
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.model import TargetState
from netsvc.services.smtp_client.bounce.bouncer import Aftermath, Bouncer, FollowUp
from netsvc.services.smtp_client.bounce.collapse import MAX_KEYS, Collapse
from netsvc.services.smtp_client.bounce.dead_letter import keep_dead
from netsvc.services.smtp_client.terms import Envelope, Notice, Wish
from netsvc.services.smtp_client.wishes import to_meta
from tests.outbox.kit import open_database, submission
from tests.services.smtp_client.bounce.kit import CONTENT, HOUR, NOW, ORIGIN, Report, item, lease, settlement, target

BOB = "bob@y.example"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.bouncer = Bouncer(
            ORIGIN, Collapse(HOUR), delay_after=4 * HOUR, give_up_after=120 * HOUR, queue="smtp_client"
        )
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def settle(
        self,
        state: TargetState,
        *wishes: Wish,
        sender: str = "ann@x.example",
        before: float = 0.0,
        waited: float = 0.0,
        now: float = NOW,
        queue_id: str = "q1",
        notified: tuple[str, ...] = (),
        **outcome: Any,
    ) -> Aftermath:
        """One attempt for one recipient."""
        envelope = Envelope(sender=sender, recipients=(BOB,), notices={BOB: Notice(notify=wishes)})
        held = lease(sender, before, queue_id=queue_id)
        made = settlement((BOB, state), waited=waited, **outcome)
        return self.bouncer.on_settled(held, made, CONTENT, envelope, now=now, notified=notified)

    def action(self, made: Aftermath) -> str | None:
        """The action that the one notice tells; None when there is none."""
        if not made.submissions:
            return None
        [submission] = made.submissions
        return str(Report(submission.content).groups[1]["Action"])


class Owed(Case):
    def test_wishes(self) -> None:
        """Failure and delay are told unless the sender said otherwise, success only when he asked (RFC 3461 4.1)."""
        late = {"before": 3 * HOUR, "waited": 5 * HOUR}
        for state, wishes, action in (
            ("bounced", (), "failed"),
            ("bounced", ("failure",), "failed"),
            ("bounced", ("never",), None),
            ("bounced", ("success", "delay"), None),
            ("expired", (), "failed"),
            ("waiting", (), "delayed"),
            ("waiting", ("delay",), "delayed"),
            ("waiting", ("never",), None),
            ("waiting", ("failure", "success"), None),
            ("delivered", (), None),
            ("delivered", ("success",), "relayed"),
            ("delivered", ("never",), None),
            ("delivered", ("failure", "delay"), None),
            ("ambiguous", (), None),
            ("removed", (), None),
        ):
            self.setUp()
            self.assertEqual(self.action(self.settle(state, *wishes, **late)), action, (state, wishes))  # type: ignore[arg-type]

    def test_success(self) -> None:
        """Success is not told when the next server took over to tell it; a Maildir is delivery, not relaying."""
        self.assertEqual(self.settle("delivered", "success", notified=(BOB,)), Aftermath())
        self.assertEqual(self.action(self.settle("delivered", "success", via="maildir:mail")), "delivered")

    def test_who_refused(self) -> None:
        """The server that refused is named, without its port and what protected the way to it."""
        for via in ("smtp:[::1]:25", "smtps:[::1]:465 TLSv1.3 X verified"):
            [notice] = self.settle("bounced", via=via).submissions
            self.assertEqual(Report(notice.content).groups[1]["Remote-MTA"], "dns; [IPv6:::1]")

    def test_delay_once(self) -> None:
        """A delay is told at the first attempt after four hours, and never again."""
        ages = [0, 1, 3.9, 4, 4.1, 8, 100]
        told = [
            bool(self.settle("waiting", before=before * HOUR, waited=after * HOUR)) for before, after in pairwise(ages)
        ]
        self.assertEqual(told, [False, False, True, False, False, False])
        silent = Bouncer(ORIGIN, Collapse(0), delay_after=None, give_up_after=1, queue="q")
        envelope = Envelope(sender="a@x", recipients=(BOB,))
        made = silent.on_settled(lease(), settlement((BOB, "waiting"), waited=1e9), CONTENT, envelope, now=NOW)
        self.assertFalse(made)

    def test_delay_until(self) -> None:
        """A delay says when we shall give up: what is left of the five days."""
        [submission] = self.settle("waiting", before=0, waited=20 * HOUR).submissions
        self.assertEqual(Report(submission.content).groups[1]["Will-Retry-Until"], "Sun, 19 Nov 2023 02:13:20 +0000")

    def test_status(self) -> None:
        """The status has the class of the action; what was given up on says that its time is over."""
        for state, said, status in (
            ("bounced", "5.7.1", "5.7.1"),
            ("bounced", "4.7.1", "5.0.0"),
            ("bounced", None, "5.0.0"),
            ("expired", "4.4.1", "4.4.7"),
            ("waiting", "4.4.1", "4.4.1"),
            ("waiting", None, "4.0.0"),
        ):
            self.setUp()
            [submission] = self.settle(state, waited=5 * HOUR, enhanced=said).submissions  # type: ignore[arg-type]
            self.assertEqual(Report(submission.content).groups[1]["Status"], status)

    def test_submission(self) -> None:
        """A notice goes from the null sender to the sender, wants no notice itself, and has a key of its attempt."""
        [submission] = self.settle("bounced").submissions
        self.assertEqual((submission.sender, submission.targets), ("", ("ann@x.example",)))
        self.assertEqual(submission.key, "dsn:q1:0:1:failed")
        self.assertEqual(submission.meta, {"notices": '{"ann@x.example":[["never"],""]}'})
        self.assertNotEqual(self.settle("waiting", waited=5 * HOUR).submissions[0].key, submission.key)

    def test_several(self) -> None:
        """Recipients that failed share one notice; those delayed have another; those delivered are in none."""
        addresses = ("a@y", "b@y", "c@y", "d@y")
        made = self.bouncer.on_settled(
            lease(targets=addresses),
            settlement(
                ("a@y", "bounced"), ("b@y", "delivered"), ("c@y", "waiting"), ("d@y", "expired"), waited=5 * HOUR
            ),
            CONTENT,
            Envelope(sender="ann@x.example", recipients=addresses),
            now=NOW,
        )
        told = [[group["Final-Recipient"] for group in Report(one.content).groups[1:]] for one in made.submissions]
        self.assertEqual(told, [["rfc822; a@y", "rfc822; d@y"], ["rfc822; c@y"]])


class FollowingUp(Case):
    def follow_up(self, **changed: Any) -> FollowUp:
        self.buried: list[tuple[str, ...]] = []
        return FollowUp(
            **{
                "bouncer": self.bouncer,
                "now": lambda: NOW,
                "bury": lambda held, dead, content: self.buried.append((held.item.queue_id, dead[0].address, content)),
                **changed,
            }
        )

    def test_wishes_of_the_item(self) -> None:
        """What the sender wants to hear is what the outbox kept of it."""
        held = lease()
        meta = {**to_meta("hdrs", "env", {BOB: Notice(notify=("failure",), orcpt="rfc822;old@y")}), "helo": "client.x"}
        held = evolve(held, item=evolve(held.item, meta=meta))
        [submission] = self.follow_up()(held, settlement((BOB, "bounced")), CONTENT)
        made = Report(submission.content)
        self.assertEqual(made.groups[0]["Original-Envelope-Id"], "env")
        self.assertEqual(made.groups[0]["Received-From-MTA"], "dns; client.x")
        self.assertEqual(made.groups[1]["Original-Recipient"], "rfc822; old@y")
        self.assertEqual(made.parts[2].get_content_type(), "text/rfc822-headers")
        meta = to_meta("", "", {BOB: Notice(notify=("success",))})
        held = evolve(held, item=evolve(held.item, meta=meta))
        told = self.follow_up(notified=lambda _: {BOB})
        self.assertEqual(told(held, settlement((BOB, "delivered")), CONTENT), ())
        self.assertEqual(len(self.follow_up()(held, settlement((BOB, "delivered")), CONTENT)), 1)

    def test_dead(self) -> None:
        """A dead letter is handed on with its lease and content."""
        self.assertEqual(self.follow_up()(lease(sender=""), settlement((BOB, "bounced")), CONTENT), ())
        self.assertEqual(self.buried, [("q1", BOB, CONTENT)])

    def test_lost_content(self) -> None:
        """A message whose content is lost is told of without it."""
        [submission] = self.follow_up()(lease(), settlement((BOB, "bounced")), b"")
        self.assertEqual(len(Report(submission.content).parts), 2)


class DeadLetters(Case):
    def test_mail_fault_65_bounce_of_a_bounce(self) -> None:
        """Mail of the null sender that fails makes no notice: it is a dead letter, logged, and on the disk once."""
        for state, dead in (("bounced", 1), ("expired", 1), ("delivered", 0), ("waiting", 0)):
            # Whatever it asks for: a notice of ours asks for none.
            for wishes in ((), ("never",), ("success", "failure", "delay")):
                made = self.settle(state, *wishes, sender="", waited=5 * HOUR)  # type: ignore[arg-type]
                self.assertEqual((made.submissions, len(made.dead)), ((), dead), (state, wishes))
        logged = [one for one in self.events if one.get("event") == "mail-dead-letter"]
        self.assertEqual(len(logged), 6)
        self.assertEqual((logged[0]["queue_id"], logged[0]["target"]), ("q1", BOB))
        with tempfile.TemporaryDirectory(prefix="netsvc-dead-") as directory:
            root = Path(directory) / "dead"
            for _ in range(2):
                outcomes = keep_dead(
                    root, [target(text="ü"), target(address="c@z", index=1)], CONTENT, unique="1.q1.here"
                )
                self.assertEqual([one.result for one in outcomes], ["delivered", "delivered"])
            files = sorted((root / "new").iterdir())
            self.assertEqual([one.name for one in files], ["1.q1.hereR0", "1.q1.hereR1"])
            self.assertEqual(
                files[1].read_bytes(),
                b"Return-Path: <>\nDelivered-To: c@z\nX-Netsvc-Dead-Letter: 550 5.1.1 no such user\n"
                + CONTENT.replace(b"\r\n", b"\n"),
            )

    def test_mail_fault_65_disk_full(self) -> None:
        """A dead letter that cannot be written is not called written."""
        with tempfile.TemporaryDirectory(prefix="netsvc-dead-") as directory:
            file = Path(directory, "file")
            file.write_text("")
            [outcome] = keep_dead(file / "dead", [target()], CONTENT, unique="1")
            self.assertEqual(outcome.result, "retry")


class Collapsing(Case):
    def test_identical(self) -> None:
        """Of identical bounces within an hour the first is mailed, the others are told by one notice at its end."""
        self.assertEqual(self.action(self.settle("bounced", queue_id="q1")), "failed")
        for number in range(2, 6):
            [told] = self.settle("bounced", queue_id=f"q{number}", now=NOW + number).submissions
            self.assertEqual((told.key, told.edition), ("dsn:more:q1:0:failed:5.1.1", number - 1))
            self.assertEqual((told.targets, told.not_before), (("ann@x.example",), NOW + HOUR))
        self.assertEqual(len([one for one in self.events if one.get("event") == "mail-bounce-counted"]), 4)
        made = Report(told.content)
        self.assertIn("3 more messages", " ".join(made.words.split()))
        self.assertEqual(made.groups[0]["X-Netsvc-Queue-Id"], "q5")
        [first] = self.settle("bounced", queue_id="q9", now=NOW + HOUR).submissions
        self.assertEqual((first.not_before, first.edition), (None, None))

    def test_killed(self) -> None:
        """Whenever the daemon is killed, the queue that it leaves tells of every bounce that was settled, once."""
        database = open_database(self)
        for kills in (frozenset(), {2}, {1, 2, 3, 4, 5}, {4, 9}):
            told = 0
            for number in range(10):
                if number in kills:
                    self.setUp()
                database.accept(submission(BOB, sender="ann@x.example"), NOW)
                [held] = database.claim("me", 1, 1 << 20, NOW)
                made = settlement((BOB, "bounced"))
                envelope = Envelope(sender="ann@x.example", recipients=(BOB,))
                after = self.bouncer.on_settled(held, made, CONTENT, envelope, now=NOW + number)
                database.settle(held, made, NOW, after.submissions)
                for notice in database.claim("me", 9, 1 << 20, NOW):  # those that go at once
                    told += self.bounces(database.content(notice.item.queue_id))
                    database.settle(notice, settlement(("ann@x.example", "delivered")), NOW)
            later = database.claim("me", 99, 1 << 20, NOW + 2 * HOUR)
            for notice in later:
                told += self.bounces(database.content(notice.item.queue_id))
                database.settle(notice, settlement(("ann@x.example", "delivered")), NOW + 2 * HOUR)
            self.assertEqual((told, len(later) <= len(kills) + 1), (10, True))
            self.setUp()

    def bounces(self, content: bytes) -> int:
        """Of how many a notice tells."""
        more = re.search(r"to (one|[0-9]+) more message", " ".join(Report(content).words.split()))
        return 1 + (int(more[1].replace("one", "1")) if more else 0)

    def test_different(self) -> None:
        """Another sender, recipient, status or action is another bounce; success is always told."""
        collapse = Collapse(HOUR)
        facts = [
            (item(queue_id=f"q{number}", sender=sender), target(address=address, status=status, action=action))
            for number, (sender, address, status, action) in enumerate(
                (
                    ("a@x", "b@y", "5.1.1", "failed"),
                    ("c@x", "b@y", "5.1.1", "failed"),
                    ("a@x", "c@y", "5.1.1", "failed"),
                    ("a@x", "b@y", "5.2.2", "failed"),
                    ("a@x", "b@y", "5.1.1", "delayed"),
                    ("a@x", "b@y", "2.0.0", "delivered"),
                    ("a@x", "b@y", "2.0.0", "delivered"),
                )
            )
        ]
        self.assertFalse(any(collapse.count(one, other, NOW) for one, other in facts))

    def test_same_attempt_again(self) -> None:
        """An attempt that is settled a second time is told again: its key tells the outbox that it has it."""
        self.assertEqual(self.settle("bounced").submissions, self.settle("bounced").submissions)

    def test_none(self) -> None:
        """A window of nothing collapses nothing."""
        collapse = Collapse(0)
        self.assertFalse(any(collapse.count(item(queue_id=str(one)), target(), NOW) for one in range(3)))

    def test_bounded(self) -> None:
        """When there is no room for another window, mail goes as if nothing were collapsed."""
        collapse = Collapse(HOUR)
        for number in range(MAX_KEYS):
            collapse.count(item(), target(address=f"{number}@y"), NOW)
        for queue_id in ("q1", "q2"):
            self.assertIsNone(collapse.count(item(queue_id=queue_id), target(address="new@y"), NOW))
        self.assertIsNotNone(collapse.count(item(queue_id="q1"), target(address="1@y"), NOW))

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3)), max_size=60))
    def test_nothing_is_lost(self, bounces: list[tuple[int, int]]) -> None:
        """Every bounce is mailed or counted, once."""
        collapse = Collapse(HOUR)
        mailed, counts, now = 0, {}, NOW
        for number, (pause, whom) in enumerate(bounces):
            now += pause
            counted = collapse.count(item(queue_id=f"q{number}"), target(address=f"{whom}@y"), now)
            if counted is None:
                mailed += 1
            else:
                self.assertGreater(counted.ends, now)
                self.assertEqual(counted.count, counts.get(counted.name, 0) + 1)
                counts[counted.name] = counted.count
        self.assertEqual(mailed + sum(counts.values()), len(bounces))
