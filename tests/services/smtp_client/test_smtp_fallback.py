"""The mail side of a text message that goes if a mail does not: what is asked, what became of mails, who is told."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from netsvc.errors import NotTakenError
from netsvc.interfaces import IMailFates, ITextMessages
from netsvc.net.json_lines import MalformedError, Refusal, encode
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, Outcome, Result
from netsvc.outbox.runner import Limits, Runner
from netsvc.services.smtp_client.fallback import META, Fallback, Fates
from netsvc.services.smtp_client.submission_wire import MAX_AFTER, Send, Sms, parse_head
from tests.fakes import FakeMetrics, FakeRuntime
from tests.outbox.kit import START, ImmediateStore, open_database, submission

ASKED = {"to": ["+49171"], "text": "call", "after": 60}


class Wire(SynchronousTestCase):
    def head(self, sms: Any) -> Any:
        request = {"v": 1, "command": "send", "sender": "", "recipients": ["b@x"], "length": 0, "sms": sms}
        return parse_head(encode(request)[:-1])

    def test_asked_for(self) -> None:
        """A text message goes along, and its repr shows neither number nor text."""
        found = self.head(ASKED)
        assert isinstance(found, Send)
        self.assertEqual(found.sms, Sms(("+49171",), "call", 60.0))
        self.assertEqual(repr(found.sms), "<Sms to 1>")

    def test_malformed(self) -> None:
        """What is against the form ends the connection."""
        for change in (
            {"to": "x"},
            {"to": [1]},
            {"text": 1},
            {"after": "1m"},
            {"after": True},
            {"after": MAX_AFTER + 1},
        ):
            with self.assertRaises(MalformedError, msg=repr(change)):
                self.head({**ASKED, **change})
        for sms in (None, [], {"to": []}, {**ASKED, "more": 1}):
            with self.assertRaises(MalformedError, msg=repr(sms)):
                self.head(sms)


@implementer(ITextMessages)
class Messages:
    """A text message service that remembers what it is asked."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.kept: list[Any] = []
        self.wrong: NotTakenError | None = None

    def check(self, to: tuple[str, ...], text: str) -> None:
        if self.wrong:
            raise self.wrong

    def keep(self, mail: str, to: tuple[str, ...], text: str, not_before: float, submitter: str) -> Deferred[str]:
        self.kept.append((mail, to, text, not_before, submitter))
        return fail(self.wrong) if self.wrong else succeed("0a")

    def news(self, mail: str) -> None:
        self.told.append(mail)


class MailsSide(SynchronousTestCase):
    def setUp(self) -> None:
        self.runtime: Any = FakeRuntime(name="smtp_client")
        self.runtime.reactor.callFromThread = lambda call, *words: self.runtime.reactor.callLater(0, call, *words)
        self.messages = self.runtime.offers["sms"] = Messages()
        self.fallback = Fallback(self.runtime, "sms", now=lambda: START)
        self.result: Result = "delivered"
        clock = Clock()
        self.runner = Runner(
            queue="smtp_client",
            reactor=clock,
            open_store=lambda: ImmediateStore(open_database(self)),
            deliver=self.deliver,
            custody=Custody(),
            metrics=FakeMetrics(),
            random=random.Random(2).random,
            limits=Limits(),
            wall_clock=lambda: START,
            settled=self.fallback.telling(lambda *_: ()),
        )
        self.clock = clock
        self.runner.startService()
        self.addCleanup(lambda: self.successResultOf(self.runner.stopService()))

    def deliver(self, lease: Lease, content: bytes) -> Deferred[Any]:
        del content
        return succeed([Outcome(target=one.address, result=self.result) for one in lease.targets])

    def sent(self, result: Result, **meta: str) -> str:
        """The queue id of a mail whose first attempt ended so."""
        self.result = result
        accepted = self.successResultOf(self.runner.accept(submission(meta=meta)))
        self.clock.advance(0)
        self.runtime.reactor.advance(0)
        return str(accepted.queue_id)

    def test_fates(self) -> None:
        """Delivered, waiting, failed, unknown; what an operator took out counts as delivered."""
        fates = Fates(self.runner)
        self.assertTrue(verifyObject(IMailFates, fates))
        results: tuple[tuple[Result, str], ...] = (
            ("delivered", "delivered"),
            ("retry", "waiting"),
            ("permanent", "failed"),
        )
        for result, fate in results:
            queue_id = self.sent(result)
            self.assertEqual(self.successResultOf(fates.fate(queue_id)), fate)
        waiting = self.sent("retry")
        self.runner.store.remove(waiting, "uid:0", START)
        self.assertEqual(self.successResultOf(fates.fate(waiting)), "delivered")
        self.assertEqual(self.successResultOf(fates.fate("0")), "unknown")

    def test_who_is_told(self) -> None:
        """Whoever keeps a message for a mail hears when that is decided, and nobody of other mails."""
        self.sent("retry", **{META: "sms"})
        self.sent("delivered")
        self.sent("delivered", **{META: "elsewhere"})
        self.assertEqual(self.messages.told, [])
        told = [self.sent("delivered", **{META: "sms"}), self.sent("permanent", **{META: "sms"})]
        self.assertEqual(self.messages.told, [f"smtp_client {one}" for one in told])

    def test_kept(self) -> None:
        """The message is handed over with its time; what is wrong with it is said before, or comes back."""
        sms = Sms(("+49171",), "call", 60.0)
        self.fallback.check(sms)
        keep = Deferred.fromCoroutine(self.fallback.keep("0a", sms, "uid:7"))
        self.assertIsNone(self.successResultOf(keep))
        self.assertEqual(self.messages.kept, [("smtp_client 0a", ("+49171",), "call", START + 60, "uid:7")])
        self.messages.wrong = NotTakenError("4.7.1", "too many")
        self.assertRaises(Refusal, self.fallback.check, sms)
        keep = Deferred.fromCoroutine(self.fallback.keep("0a", sms, "uid:7"))
        self.assertEqual(self.successResultOf(keep), "4.7.1 too many")
        self.runtime.offers.clear()
        with self.assertRaisesRegex(Refusal, r"there is no \[sms\]"):
            self.fallback.check(sms)
