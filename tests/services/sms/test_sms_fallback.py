"""Mail first: a message is kept with its time, hears what becomes of its mail, goes or is withdrawn."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from netsvc.errors import NotTakenError
from netsvc.interfaces import IMailFates, ITextMessages
from netsvc.outbox.model import Lease, Outcome, StoreFailedError
from netsvc.services.sms.fallback import Fallback
from tests.outbox.kit import START
from tests.services.sms.test_sms_delivery import TAKEN, DeliveryCase
from tests.services.sms.test_sms_submission import NUMBER, TEXT, SocketCase

MAIL = "smtp_client 0123456789abcde"


@implementer(IMailFates)
class Mails:
    """A mail service: `said` is what became of every mail; an exception is raised."""

    def __init__(self) -> None:
        self.said: str | Exception = "waiting"
        self.asked: list[str] = []

    def fate(self, queue_id: str) -> Deferred[str]:
        self.asked.append(queue_id)
        return fail(self.said) if isinstance(self.said, Exception) else succeed(self.said)


class Keeping(SocketCase):
    def setUp(self) -> None:
        super().setUp()
        self.mails = Mails()
        self.fallback = self.new()

    def new(self) -> Fallback:
        """What a start makes."""
        offers: Any = {"smtp_client": self.mails}.get
        return Fallback(self.make_desk(), self.runner, offers, now=self.runner._now)

    def deliver(self, lease: Lease, content: bytes) -> Deferred[Any]:
        self.leases.append((lease, content))
        return succeed([Outcome(target=one.address, result="delivered") for one in lease.targets])

    def keep(self, text: str = TEXT) -> str:
        kept = self.fallback.keep(MAIL, (NUMBER,), text, START + 600, "uid:1000")
        return str(self.successResultOf(kept))

    def test_interface(self) -> None:
        """It keeps the interface's promise."""
        self.assertTrue(verifyObject(ITextMessages, self.fallback))

    def test_its_time(self) -> None:
        """A message waits until its time; kept twice for one mail it is one, and another for that mail is refused."""
        self.assertEqual(self.keep(), self.keep())
        kept = self.fallback.keep(MAIL, (NUMBER,), "another", START + 600, "uid:1000")
        self.assertIn("used before", str(self.failureResultOf(kept, NotTakenError).value))
        self.clock.advance(599)
        self.assertEqual(self.leases, [])
        self.clock.advance(2)
        ((lease, _),) = self.leases
        self.assertEqual(lease.item.meta["mail"], MAIL)

    def test_news(self) -> None:
        """News make it due when the mail is decided, and not before; strangers' news do nothing."""
        self.keep()
        for said in ("waiting", "unknown", StoreFailedError("away")):
            self.mails.said = said
            self.fallback.news(MAIL)
            self.clock.advance(0)
        self.fallback.news("smtp_client 0")
        self.assertEqual(self.leases, [])
        self.mails.said = "failed"
        self.fallback.news(MAIL)
        self.clock.advance(0)
        self.assertEqual(len(self.leases), 1)

    def test_after_a_start(self) -> None:
        """A start looks at every message that waits: news that were lost are made good."""
        self.keep()
        self.mails.said = "delivered"
        again = self.new()
        self.successResultOf(Deferred.fromCoroutine(again.recall()))
        self.clock.advance(0)
        self.assertEqual(len(self.leases), 1)

    def test_fates(self) -> None:
        """Of a mail whose section is not there nothing is known."""
        for section, fate in (("smtp_client", "waiting"), ("sms", "unknown")):
            found = self.successResultOf(Deferred.fromCoroutine(self.fallback.fate(f"{section} 0")))
            self.assertEqual(found, fate)

    def test_check(self) -> None:
        """What cannot be sent is said before anything is taken, without number or text."""
        self.fallback.check((NUMBER,), TEXT)
        for to, text in (((), TEXT), (("12",), TEXT), ((NUMBER,), ""), ((NUMBER,), "x" * 400)):
            with self.assertRaises(NotTakenError):
                self.fallback.check(to, text)


class Deciding(DeliveryCase):
    def decided(self, said: str | Exception) -> Deferred[Any]:
        """An attempt at a message that is kept for a mail of which this is said."""

        async def fate(mail: str) -> str:
            self.assertEqual(mail, MAIL)
            if isinstance(said, Exception):
                raise said
            return said

        self.courier.fallback = fate
        courier: Any = self.courier
        deliver = type(courier).__call__

        def with_mail(lease: Lease, content: bytes) -> Deferred[Any]:
            return deliver(courier, attrs.evolve(lease, item=attrs.evolve(lease.item, meta={"mail": MAIL})), content)

        self.courier = with_mail  # type: ignore[assignment]
        try:
            return self.attempt()
        finally:
            self.courier = courier

    def test_delivered(self) -> None:
        """Its mail was delivered: nothing leaves, and it is withdrawn."""
        outcome = self.only(self.decided("delivered"))
        self.assertEqual(outcome.result, "withdrawn")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_not_delivered(self) -> None:
        """Its mail waits, was refused, or is not known: it goes."""
        for said in ("waiting", "failed", "unknown"):
            attempt = self.decided(said)
            wire = self.connect()
            wire.protocol.dataReceived(TAKEN)
            self.assertEqual(self.only(attempt).result, "delivered")

    def test_nobody_can_say(self) -> None:
        """The mail service cannot be asked: it waits half a minute, and nothing leaves."""
        outcome = self.only(self.decided(StoreFailedError("away")))
        self.assertEqual((outcome.result, outcome.not_before), ("retry", START + 30))
        self.assertEqual(self.reactor.tcpClients, [])
