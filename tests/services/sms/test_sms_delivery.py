"""One attempt: requests over a transport that the test plays the gateway on; what left, and what it means."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote, quote_plus

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.outbox.model import Lease, Outcome, Target
from netsvc.services.sms.delivery import Account, Courier
from netsvc.services.sms.gateway import Gateway, parse_entries
from netsvc.services.sms.http_client import MAX_RECEIVED, Phases
from netsvc.services.sms.message import TextMessage
from netsvc.services.sms.numbers import Numbering, labels
from netsvc.services.sms.reply import Rules, parse_codes, parse_condition, parse_path
from netsvc.services.sms.template import parse_template
from tests.outbox.kit import START
from tests.outbox.test_outbox_rules import item

NUMBERS = ("+8613800138000", "+8613900139000")
TEXT = "Your code is 402817"
PASSWORD = "geheim-9"
GATEWAY = Gateway(
    url=parse_template("http://127.0.0.1:8106/send"),
    method="POST",
    encoding="form",
    parameters=parse_entries("to = {national}\ntext = {text}\npassword = {password}\nid = {id}"),
    rules=Rules(
        success=parse_condition("$.code == 2"),
        code=parse_path("$.code"),
        message_id=parse_path("$.id"),
        reason=parse_path("$.msg"),
        codes=parse_codes("7 -> retry"),
    ),
)


def reply(content: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """An HTTP reply, whole."""
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields))
    return head.encode() + b"\r\n\r\n" + content


TAKEN = reply(b'{"code": 2, "id": "16236519862951234567", "msg": "fine"}')


class Wire(StringTransport):
    """A transport whose end is heard."""

    protocol: Any = None
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        if self.protocol is not None:
            protocol, self.protocol = self.protocol, None
            protocol.connectionLost(Failure(ConnectionLost()))

    def loseConnection(self) -> None:
        self.abortConnection()


class DeliveryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.courier = Courier(
            gateway=GATEWAY,
            account=Account(name="me", password=Secret("literal", PASSWORD), numbering=Numbering("86")),
            phases=Phases(connect=5.0, reply=10.0),
            reactor=self.reactor,
            now=lambda: START,
            random=random.Random(1),
        )

    def attempt(self, *numbers: str, text: str = TEXT) -> Deferred[Any]:
        numbers = numbers or NUMBERS[:1]
        targets = tuple(Target(index=n, address=one) for n, one in enumerate(labels(numbers)))
        lease = Lease(item=item(), targets=targets, owner="me", fence=1, claimed_at=START)
        return self.courier(lease, TextMessage(numbers, text).encode())

    def connect(self, n: int = -1) -> Wire:
        """The gateway accepts the connection."""
        factory = self.reactor.tcpClients[n][2]
        protocol = factory.buildProtocol(None)
        wire = Wire()
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return wire

    def refuse(self) -> None:
        """Nobody listens."""
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(Refused()))
        self.reactor.advance(1)  # the endpoint looks a moment for another address

    def only(self, attempt: Deferred[Any]) -> Outcome:
        (outcome,) = self.successResultOf(attempt)
        assert isinstance(outcome, Outcome)
        for secret in (*NUMBERS, NUMBERS[0][3:], TEXT, "402817", PASSWORD):
            self.assertNotIn(secret, repr(outcome))
        return outcome

    def answered(self, octets: bytes, step: int = 0) -> Outcome:
        attempt = self.attempt()
        wire = self.connect()
        for at in range(0, len(octets), step or len(octets)):
            if wire.protocol is not None:
                wire.protocol.dataReceived(octets[at : at + (step or len(octets))])
        return self.only(attempt)


class DeliveryTests(DeliveryCase):
    def test_request(self) -> None:
        """One request, on a connection of its own, that asks for nothing but the reply."""
        attempt = self.attempt()
        host, port, *_ = self.reactor.tcpClients[0]
        self.assertEqual((host, port), ("127.0.0.1", 8106))
        wire = self.connect()
        head, _, body = wire.value().partition(b"\r\n\r\n")
        self.assertEqual(
            body, f"to=13800138000&text=Your+code+is+402817&password={PASSWORD}&id={item().queue_id}-0".encode()
        )
        first, *fields = head.decode().lower().split("\r\n")
        self.assertEqual(first, "post /send http/1.1")
        self.assertIn("connection: close", fields)
        self.assertIn("accept-encoding: identity", fields)
        self.assertIn(f"content-length: {len(body)}", fields)
        wire.protocol.dataReceived(TAKEN)
        outcome = self.only(attempt)
        self.assertEqual((outcome.result, outcome.code, outcome.via), ("delivered", 200, "http:127.0.0.1"))
        self.assertIn("as 16236519862951234567", outcome.text)
        self.assertTrue(wire.aborted)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_octet_by_octet(self) -> None:
        """However the reply comes, with whatever behind it, it is the same."""
        self.assertEqual(self.answered(TAKEN, 1).result, "delivered")
        self.assertEqual(self.answered(TAKEN + b"HTTP/1.1 500 no\r\n\r\n").result, "delivered")
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n" + b'{"code": 2}' + b"\r\n0\r\n\r\n"
        self.assertEqual(self.answered(chunked, 1).result, "delivered")

    def test_verdicts(self) -> None:
        """Refusals are permanent or for later; the gateway's words lose number, text and code."""
        words = f"bad number {NUMBERS[0][3:]}: {TEXT}"
        for octets, result in (
            (reply(b'{"code": 7}'), "retry"),
            (reply(f'{{"code": 406, "msg": "{words}"}}'.encode()), "permanent"),
            (reply(b"", "503 busy"), "retry"),
            (reply(b"", "302 Found", "Location: http://127.0.0.1:1/"), "permanent"),
            (reply(b"<html>", "200 OK"), "ambiguous"),
            (reply(b"oops", "500 no"), "ambiguous"),
        ):
            self.assertEqual(self.answered(octets).result, result, octets)
        self.assertEqual(self.answered(reply(b'{"code": 7, "msg": "busy"}')).text, "code 7, busy")

    def test_echoed_request(self) -> None:
        """A gateway that repeats the request in its complaint shows nobody the text or a password, nor half of one."""
        attempt = self.attempt()
        wire = self.connect()
        echo = "x" * 190 + PASSWORD + " " + wire.value().decode().replace("\r\n", " ")
        wire.protocol.dataReceived(reply(json.dumps({"code": echo, "msg": echo}).encode()))
        outcome = self.only(attempt)
        self.assertEqual(outcome.result, "permanent")
        for secret in (quote(TEXT), quote_plus(TEXT), PASSWORD[:8]):
            self.assertNotIn(secret, outcome.text)

    def test_nothing_left(self) -> None:
        """A connection that is refused, or takes too long, has taken nothing: later."""
        attempt = self.attempt()
        self.refuse()
        self.assertEqual((self.only(attempt).result), "retry")
        attempt = self.attempt()
        self.reactor.advance(5)
        outcome = self.only(attempt)
        self.assertEqual(outcome.result, "retry")
        self.assertRegex(outcome.text, "too long|longer than 5 s")

    def test_what_left_is_ambiguous(self) -> None:
        """Silence, a connection that is lost, half a reply, rubbish, an endless one: nobody knows."""

        def silent(wire: Wire) -> None:
            self.reactor.advance(9.9)
            self.reactor.advance(0.2)

        def lost(wire: Wire) -> None:
            wire.protocol.connectionLost(Failure(ConnectionDone()))

        def half(wire: Wire) -> None:
            wire.protocol.dataReceived(TAKEN[:-1])
            lost(wire)

        def drips(wire: Wire) -> None:
            wire.protocol.dataReceived(TAKEN[:-5])
            silent(wire)

        def rubbish(wire: Wire) -> None:
            wire.protocol.dataReceived(b"\0\xff" * 100 + b"\r\n\r\n")

        def endless(wire: Wire) -> None:
            wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(MAX_RECEIVED // 4096 + 1):
                if wire.protocol is not None:
                    wire.protocol.dataReceived(b"x" * 4096)

        for play in (silent, lost, half, drips, rubbish, endless):
            attempt = self.attempt()
            wire = self.connect()
            play(wire)
            self.assertEqual(self.only(attempt).result, "ambiguous", play.__name__)
            self.assertEqual(self.reactor.getDelayedCalls(), [], play.__name__)
        self.flushLoggedErrors()

    def test_others_wait(self) -> None:
        """When the gateway is not there, or silent, the message's other numbers are for later, unasked."""
        attempt = self.attempt(*NUMBERS)
        self.refuse()
        outcomes = self.successResultOf(attempt)
        self.assertEqual([(one.result, one.unreachable) for one in outcomes], [("retry", True), ("retry", True)])
        attempt = self.attempt(*NUMBERS)
        self.connect()
        self.reactor.advance(10)
        self.assertEqual([one.result for one in self.successResultOf(attempt)], ["ambiguous", "retry"])
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_every_number(self) -> None:
        """A request for each number, one after the other."""
        attempt = self.attempt(*NUMBERS)
        for n in range(2):
            wire = self.connect()
            self.assertIn(f"to={NUMBERS[n][3:]}".encode(), wire.value())
            wire.protocol.dataReceived(TAKEN)
        self.assertEqual([one.result for one in self.successResultOf(attempt)], ["delivered", "delivered"])

    def test_not_before(self) -> None:
        """A number waits for as long as the gateway asks, in seconds or until a date; the whole gateway for an hour."""
        for value in ("86400", "Wed, 15 Nov 2023 22:13:20 GMT"):
            self.assertEqual(self.answered(reply(b"", "503 busy", f"Retry-After: {value}")).not_before, START + 86400)
            outcome = self.only(self.attempt())
            self.assertEqual((outcome.result, outcome.not_before), ("retry", START + 3600))
            self.reactor.advance(3600)
        self.assertIsNone(self.answered(TAKEN).not_before)

    def test_names_for_receipts(self) -> None:
        """Where receipts come, the gateway's name for what it took is remembered, or ours; elsewhere nothing is."""
        self.assertEqual(self.answered(TAKEN).reference, "")
        self.courier.tracks, self.courier.poll_interval = True, 60.0
        taken = self.answered(TAKEN)
        self.assertEqual((taken.reference, taken.ask_at), ("16236519862951234567", START + 60))
        self.courier.poll_interval = None
        ours = self.answered(reply(b'{"code": 2}'))
        self.assertEqual((ours.reference, ours.ask_at), (f"{item().queue_id}-0", None))
        self.assertEqual(self.answered(reply(b'{"code": 9}')).reference, "")

    def test_pause(self) -> None:
        """Retry-After keeps every message away for so long, and no longer."""
        self.assertEqual(self.answered(reply(b"", "429 slowly", "Retry-After: 30")).result, "retry")
        outcome = self.only(self.attempt())
        self.assertEqual((outcome.result, outcome.text), ("retry", "the gateway asked for a pause; 30 s are left"))
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.reactor.advance(30)
        self.assertEqual(self.answered(TAKEN).result, "delivered")

    def test_stop(self) -> None:
        """A stop in the middle: what was under way is ambiguous, what never left or had not begun is for later."""
        attempt = self.attempt(*NUMBERS)
        self.connect()
        attempt.cancel()
        self.assertEqual([one.result for one in self.successResultOf(attempt)], ["ambiguous", "retry"])
        attempt = self.attempt(*NUMBERS)
        attempt.cancel()
        self.assertEqual([one.result for one in self.successResultOf(attempt)], ["retry", "retry"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_get_is_sent_once(self) -> None:
        """A GET whose connection is lost is not sent again."""
        self.courier.gateway = attrs.evolve(GATEWAY, method="GET", encoding="query")
        attempt = self.attempt()
        wire = self.connect()
        self.assertTrue(wire.value().startswith(b"GET /send?to=13800138000&"))
        wire.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.only(attempt).result, "ambiguous")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_unsendable(self) -> None:
        """What cannot be put into a request, and what is no message, is refused without a connection."""
        self.courier.gateway = attrs.evolve(GATEWAY, headers=parse_entries("X-Text = {text}", headers=True))
        self.assertEqual(self.only(self.attempt(text="a\nb")).result, "permanent")
        lease = Lease(item=item(), targets=(Target(index=0, address="x"),), owner="me", fence=1, claimed_at=START)
        self.assertEqual(self.only(self.courier(lease, b"Subject: mail")).result, "permanent")  # type: ignore[arg-type]
        self.assertEqual(self.reactor.tcpClients, [])
