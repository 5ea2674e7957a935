"""The gateway's way to us: who may tell of receipts, what is answered, what is written down; and asking it."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, Outcome, StoreFailedError
from netsvc.outbox.runner import Limits, Runner
from netsvc.services.sms.gateway import Gateway, Request, parse_entries
from netsvc.services.sms.http_client import UnknownError
from netsvc.services.sms.receipts.book import BETWEEN, LOOKS, Book
from netsvc.services.sms.receipts.meaning import ReceiptRules, parse_table
from netsvc.services.sms.receipts.polling import LOOK, Polling, PollRules
from netsvc.services.sms.receipts.protocol import CallRules, ReceiptFactory, ReceiptProtocol
from netsvc.services.sms.receipts.wire import MAX_BODY, MAX_HEAD, BadRequestError, Connection
from netsvc.services.sms.reply import Reply, Rules, parse_condition, parse_path
from netsvc.services.sms.template import parse_template
from tests.fakes import FakeMetrics
from tests.outbox.kit import START, ImmediateStore, open_database, submission
from tests.services.sms.test_sms_template import VALUES

TOKEN = "/receipts/0123456789abcdef"
TABLE = parse_table("delivered -> delivered\nfailed -> failed")
RULES = ReceiptRules(id=parse_path("$.id"), status=parse_path("$.status"), reason=parse_path("$.err"), table=TABLE)


def get(query: str, path: str = TOKEN) -> bytes:
    """A receipt by GET."""
    return f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class Wire(StringTransport):
    """A transport whose own direction can be closed."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class Case(SynchronousTestCase):
    ask_at: float | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.now = START
        database = open_database(self)
        database.prepare()
        self.store = ImmediateStore(database)
        self.runner = Runner(
            queue="sms",
            reactor=self.clock,
            open_store=lambda: self.store,
            deliver=self.deliver,
            custody=Custody(),
            metrics=FakeMetrics(),
            random=random.Random(3).random,
            limits=Limits(),
            wall_clock=lambda: START,
        )
        self.runner.startService()
        self.addCleanup(lambda: self.successResultOf(self.runner.stopService()))
        self.book = Book(
            runner=self.runner, metrics=FakeMetrics(), reactor=self.clock, via="https:x", now=lambda: self.now
        )
        self.queue_id = self.successResultOf(self.runner.accept(submission("+86*"))).queue_id
        self.clock.advance(0)

    def deliver(self, lease: Lease, content: bytes) -> Deferred[Any]:
        del content
        return succeed([Outcome(target="+86*", result="delivered", reference="SM1", ask_at=self.ask_at)])

    def ledger(self) -> list[tuple[str, str]]:
        """Results and words of what was told."""
        _, lines = self.successResultOf(self.store.show(self.queue_id))
        return [(one.result, one.text) for one in lines[1:]]


class Calls(Case):
    def setUp(self) -> None:
        super().setUp()
        self.rules = CallRules(
            path=Secret("x", TOKEN), url=Secret("x", "https://x" + TOKEN), rules=RULES, thanks="ACK", now=lambda: START
        )

    def connect(self) -> tuple[ReceiptProtocol, Wire]:
        protocol = ReceiptFactory(self.book, self.rules, self.clock).buildProtocol(None)
        transport = Wire()
        protocol.makeConnection(transport)
        return protocol, transport

    def said(self, octets: bytes, step: int = 0) -> bytes:
        """What is answered to octets, in pieces of some length."""
        protocol, transport = self.connect()
        for at in range(0, len(octets), step or len(octets)):
            protocol.dataReceived(octets[at : at + (step or len(octets))])
        return transport.value()

    def status(self, octets: bytes) -> int:
        return int(self.said(octets).split()[1])

    def test_told(self) -> None:
        """A receipt is written down once however it is cut, and the gateway hears what it wants; more is not read."""
        body = b"id=SM1&status=delivered"
        post = (
            f"POST {TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        for octets in (get("id=SM1&status=delivered"), post, post + post):
            for step in (0, 1):
                answer = self.said(octets, step)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
                self.assertEqual(answer.count(b"HTTP/1.1"), 1)
                self.assertTrue(answer.endswith(b"\r\n\r\nACK"))
        self.assertEqual(self.ledger(), [("receipt-delivered", "delivered")])

    def test_words(self) -> None:
        """What it says loses what looks like a number; what it says of no end is not written."""
        self.assertEqual(self.status(get("id=SM1&status=sent")), 200)
        self.assertEqual(self.status(get("id=SM1&status=failed&err=no+%2B8613800138000")), 200)
        self.assertEqual(self.ledger(), [("receipt-failed", "failed no ********")])

    def test_who_may_not(self) -> None:
        """Another path is nothing, another method neither; a body that is too large, or no HTTP, ends it."""
        for octets, status in (
            (get("id=SM1&status=delivered", TOKEN[:-1] + "0"), 404),
            (get("id=SM1&status=delivered", "/receipts"), 404),
            (f"DELETE {TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 405),
            (f"POST {TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n".encode() + b"x" * 300_000, 413),
            (b"x" * (MAX_HEAD + 1), 431),
            (b"hello\r\n\r\n", 400),
        ):
            self.assertEqual(self.status(octets), status)
        self.assertEqual(self.ledger(), [])

    def test_signed(self) -> None:
        """Where it is to be signed, the token alone does not do."""
        self.rules = CallRules(
            path=Secret("x", TOKEN),
            url=Secret("x", "https://x" + TOKEN),
            rules=RULES,
            signature="twilio",
            key=Secret("x", "k"),
        )
        self.assertEqual(self.status(get("id=SM1&status=delivered")), 403)
        self.assertEqual(self.ledger(), [])

    def test_unknown(self) -> None:
        """A receipt that comes before its message is written down waits for that; of a stranger's, we are silent."""
        protocol, transport = self.connect()
        protocol.dataReceived(get("id=SM9&status=delivered"))
        for _ in range(LOOKS - 1):
            self.assertEqual(transport.value(), b"")
            self.clock.advance(BETWEEN)
        self.assertIn(b"200", transport.value())
        self.assertEqual(self.ledger(), [])

    def test_store_fails(self) -> None:
        """What cannot be written is refused for now."""
        self.store.failures["tracked"] = [StoreFailedError("disk full")]
        self.assertEqual(self.status(get("id=SM1&status=delivered")), 503)

    def test_too_slow(self) -> None:
        """A request that does not come whole within its time is told so, and the connection ends."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"GET ")
        self.clock.advance(30)
        self.assertIn(b"408", transport.value())
        self.assertTrue(transport.half_closed)
        self.clock.advance(30)
        self.assertTrue(transport.disconnecting)

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_anything(self, octets: bytes) -> None:
        """Whatever comes is a request, or is refused, or waits for more."""
        wire = Connection()
        try:
            wire.receive(b"GET / HTTP/1.1\r\n" + octets)
        except BadRequestError as error:
            self.assertIn(error.status, range(400, 506))
        self.assertGreater(MAX_BODY, MAX_HEAD)


class Asking(Case):
    ask_at = START + 60

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Request] = []
        self.replies: list[Reply | Exception] = []
        case = self

        class Exchange:
            async def run(self, request: Request) -> Reply:
                case.asked.append(request)
                answer = case.replies.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        made: Any = Exchange
        self.polling = Polling(
            self.book,
            PollRules(
                request=Gateway(
                    url=parse_template("https://x/{message_id}"),
                    method="GET",
                    encoding="query",
                    parameters=parse_entries("key = {account}"),
                    rules=Rules(success=parse_condition("http == 200")),
                ),
                rules=RULES,
                interval=60.0,
                end=600.0,
            ),
            values=lambda name: VALUES,
            exchange=made,
            reactor=self.clock,
            now=lambda: self.now,
        )
        self.polling.startService()
        self.addCleanup(lambda: self.polling.running and self.polling.stopService())

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.clock.advance(LOOK)

    def test_until_it_is_told(self) -> None:
        """It is asked when the interval is over, again while nothing is decided, and no more when it is."""
        self.replies = [Reply(200, b'{"status": "sent"}'), UnknownError("lost"), Reply(200, b'{"status": "delivered"}')]
        self.pass_time(59)
        self.assertEqual(self.asked, [])
        for count in (1, 2, 3):
            self.pass_time(60)
            self.assertEqual(len(self.asked), count)
        self.assertTrue(self.asked[0].url.startswith("https://x/SM1?key="))
        self.assertEqual(self.ledger(), [("receipt-delivered", "delivered")])
        self.pass_time(600)
        self.assertEqual(len(self.asked), 3)

    def test_a_pause(self) -> None:
        """A gateway that asks for a longer pause gets it."""
        self.replies = [Reply(429, b"", 300), Reply(200, b'{"status": "failed", "err": 7}')]
        self.pass_time(60)
        self.pass_time(299)
        self.assertEqual(len(self.asked), 1)
        self.pass_time(1)
        self.assertEqual(self.ledger(), [("receipt-failed", "failed 7")])

    def test_end(self) -> None:
        """When its time is over nobody is asked any more, and the receipt is unknown."""
        self.replies = [Reply(503, b"")] * 20
        for _ in range(11):
            self.pass_time(60)
        self.assertEqual([result for result, _ in self.ledger()], ["receipt-unknown"])
        count = len(self.asked)
        self.pass_time(600)
        self.assertEqual(len(self.asked), count)
