"""The submission socket: what is taken, what is refused, who may see what; nothing secret in records and logs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.values import Rate
from netsvc.net.json_lines import MalformedError, Refusal, encode
from netsvc.net.request_socket import RequestProtocol
from netsvc.net.unix_peer import UnixPeer, unix_peer
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, StoreFailedError, StoreFullError
from netsvc.outbox.runner import Limits as RunnerLimits
from netsvc.outbox.runner import Runner
from netsvc.services.sms.desk import Desk, Rules
from netsvc.services.sms.limits import Limits
from netsvc.services.sms.marks import Marks
from netsvc.services.sms.message import MessageError, TextMessage, decode
from netsvc.services.sms.numbers import Numbering
from netsvc.services.sms.submission import SubmissionFactory
from netsvc.services.sms.wire import MAX_LINE, Query, Send, make_reader, parse_request
from tests.fakes import FakeMetrics
from tests.outbox.kit import START, ImmediateStore, open_database

NUMBER = "+8613800138000"
TEXT = "Your code is 402817"


def ask(command: str = "send", **values: Any) -> bytes:
    """A request; a good message when nothing else is said."""
    usual = {"to": [NUMBER], "text": TEXT} if command == "send" else {}
    return encode({"v": 1, "command": command, **usual, **values})


class WireTests(SynchronousTestCase):
    def test_requests(self) -> None:
        """What is whole is understood; a message's repr shows nothing."""
        sent = parse_request(ask(key="k", template="login").rstrip())
        self.assertEqual(sent, Send((NUMBER,), TEXT, "k", "login"))
        self.assertEqual(repr(sent), "<Send to 1>")
        self.assertEqual(parse_request(ask("show", id="0a")), Query("show", id="0a"))

    def test_malformed(self) -> None:
        """What is against the form ends the connection."""
        for line in (
            b"",
            b"x",
            b"[]",
            b"{}",
            b'{"v":2,"command":"audit"}',
            b'{"v":true,"command":"audit"}',
            b'{"v":1,"v":1,"command":"audit"}',
            b"[" * 10_000,
            ask("nothing"),
            ask("audit", id="0a"),
            ask("show", id="../x"),
            ask("show"),
            ask("queue", limit=0),
            ask("queue", limit=True),
            ask(to="x"),
            ask(to=[1]),
            ask(text=None),
            ask(more=1),
        ):
            with self.assertRaises(MalformedError, msg=repr(line)):
                parse_request(line)

    def test_refused(self) -> None:
        """What is well-formed and cannot be sent is refused, with a code."""
        for values, code in (
            ({"to": []}, "5.5.4"),
            ({"to": ["1"] * 1001}, "5.5.3"),
            ({"to": ["1" * 41]}, "5.1.3"),
            ({"text": ""}, "5.6.0"),
            ({"text": "\0"}, "5.6.0"),
            ({"text": "\ud800"}, "5.6.0"),
            ({"text": "x" * 40_000}, "5.3.4"),
            ({"key": ""}, "5.5.4"),
            ({"template": "a b"}, "5.5.4"),
        ):
            with self.assertRaises(Refusal) as raised:
                parse_request(ask(**values))
            self.assertEqual(raised.exception.code, code, values)

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=60))
    def test_any_line(self, line: bytes) -> None:
        """A line that was not written as a request is refused."""
        with self.assertRaises(Refusal):
            parse_request(line)

    def test_endless_line(self) -> None:
        """A line without an end is refused at its bound."""
        reader = make_reader()
        reader.feed(b"x" * MAX_LINE)
        self.assertIsNone(reader.next())
        reader.feed(b"x")
        self.assertRaises(MalformedError, reader.next)

    def test_message(self) -> None:
        """A message survives the queue; what is none is told apart."""
        message = TextMessage((NUMBER,), TEXT)
        self.assertEqual(decode(message.encode()), message)
        self.assertNotIn("402817", repr(message))
        for wrong in (b"", b"{}", b"[]", b'{"v":2,"to":[],"text":""}', b'{"v":1,"to":1,"text":""}'):
            self.assertRaises(MessageError, decode, wrong)


class SocketCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = ImmediateStore(open_database(self))
        self.leases: list[tuple[Lease, bytes]] = []
        self.metrics = FakeMetrics()
        self.runner = Runner(
            queue="sms",
            reactor=self.clock,
            open_store=lambda: self.store,
            deliver=self.deliver,
            custody=Custody(ambiguous="hold"),
            metrics=self.metrics,
            random=lambda: 0.5,
            limits=RunnerLimits(drain_timeout=0),
            wall_clock=lambda: START + self.clock.seconds(),
        )
        self.runner.startService()
        self.addCleanup(self.end)
        self.factory = self.make()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def deliver(self, lease: Lease, content: bytes) -> Deferred[Any]:
        self.leases.append((lease, content))
        return Deferred()

    def end(self) -> None:
        stopped = self.runner.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)

    def make_desk(self, *, per_number: tuple[Rate, ...] = (), **rules: Any) -> Desk:
        values: dict[str, Any] = {
            "numbering": Numbering("86"),
            "national_only": False,
            "max_segments": 2,
            "max_recipients": 3,
            "destination": "gw.example",
            **rules,
        }
        limits = Limits(per_number=per_number, per_template=(), total=())
        return Desk(
            self.runner, Rules(**values), limits, self.clock, self.metrics, lambda: Marks(b"key"), now=self.runner._now
        )

    def make(self, **values: Any) -> SubmissionFactory:
        desk = self.make_desk(**values)
        return SubmissionFactory(desk, timeout=30.0, reactor=self.clock, peer=lambda transport: transport.peer)

    def connect(self, uid: int | None = 1000) -> tuple[RequestProtocol[Any], StringTransport]:
        protocol = self.factory.buildProtocol(None)
        transport = StringTransport()
        transport.peer = UnixPeer(uid, 4711)  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        return protocol, transport

    def exchange(self, octets: bytes, uid: int | None = 1000, step: int = 0) -> list[dict[str, Any]]:
        protocol, transport = self.connect(uid)
        for at in range(0, len(octets), step or len(octets)):
            protocol.dataReceived(octets[at : at + (step or len(octets))])
        self.clock.advance(0)
        self.clock.advance(0)
        return [json.loads(line) for line in transport.value().splitlines()]


class SocketTests(SocketCase):
    def test_taken(self) -> None:
        """A message is answered with its queue id once it is stored, whole or octet by octet, one after the other."""
        for step in (0, 1):
            first, second = self.exchange(ask() + ask("audit"), step=step)
            self.assertEqual((first["ok"], first["segments"], first["alphabet"]), (True, 1, "gsm7"))
            self.assertTrue(second["audit"]["balanced"])

    def test_only_the_content_knows(self) -> None:
        """Number, text and code stand in the content, and nowhere in lease, listing, ledger or log."""
        (reply,) = self.exchange(ask(to=["138 0013 8000", "13900139000"], template="login"))
        (lease, content) = self.leases[0]
        self.assertEqual(decode(content), TextMessage((NUMBER, "+8613900139000"), TEXT))
        self.assertEqual([one.address for one in lease.targets], ["+86*********00", "+86*********00#2"])
        seen = [lease, *self.exchange(ask("show", id=reply["id"])), *self.exchange(ask("queue")), *self.events]
        for secret in ("13800138000", "13900139000", TEXT, "402817"):
            self.assertNotIn(secret, repr(seen))

    def test_numbers_once(self) -> None:
        """A number that is written twice, in whatever way, gets one message."""
        self.exchange(ask(to=[NUMBER, "013800138000", "0086 138 0013 8000"]))
        self.assertEqual(decode(self.leases[0][1]).numbers, (NUMBER,))

    def test_refusals(self) -> None:
        """Too many segments or numbers, a foreign number where only national ones go, no number: each has its code."""
        self.factory = self.make(national_only=True)
        for values, code in (
            ({"text": "验" * 135}, "5.3.4"),
            ({"to": [f"1380013800{n}" for n in range(4)]}, "5.5.3"),
            ({"to": ["+491711234567"]}, "5.1.3"),
            ({"to": ["12 34 x"]}, "5.1.3"),
            ({"text": ""}, "5.6.0"),
        ):
            first, second = self.exchange(ask(**values) + ask("audit"))
            self.assertEqual((first["code"], second["ok"]), (code, True), values)
        self.assertEqual(self.leases, [])

    def test_keys(self) -> None:
        """A repetition gets the first receipt; the key of another text or number, even one that looks alike, is bad."""
        first, again = self.exchange(ask(key="k") * 2)
        self.assertEqual((again["id"], again["repeated"]), (first["id"], True))
        for other in ({"text": "another"}, {"to": ["13900139000"]}, {"to": ["13900139001"]}):
            (reply,) = self.exchange(ask(key="k", **other))
            self.assertEqual(reply["code"], "5.5.4", other)
        self.assertEqual(len(self.leases), 1)

    def test_limits_outlive_a_restart(self) -> None:
        """The daemon that follows knows what went to a number, and which keys it has seen, from the records alone."""
        rates = (Rate(1, 3600.0),)
        self.factory = self.make(per_number=rates)
        (first,) = self.exchange(ask(key="k"))
        self.assertEqual(self.exchange(ask())[0]["code"], "4.7.1")
        self.clock.advance(1000)
        self.factory = self.make(per_number=rates)
        (refused,) = self.exchange(ask())
        self.assertEqual(refused["text"], "limit_per_number is reached; again in 2600 s")
        (again,) = self.exchange(ask(key="k"))
        self.assertEqual((again["id"], again["repeated"]), (first["id"], True))
        self.assertTrue(self.exchange(ask(to=["+8613900139000"]))[0]["ok"])
        self.clock.advance(2601)
        self.factory = self.make(per_number=rates)
        self.assertTrue(self.exchange(ask())[0]["ok"])

    def test_records_that_cannot_be_read(self) -> None:
        """While nobody knows what was sent before, nothing is taken; then it is."""
        self.factory = self.make(per_number=(Rate(1, 3600.0),))
        self.store.failures["listing"] = [StoreFailedError("broken")]
        self.assertEqual(self.exchange(ask())[0]["code"], "4.3.0")
        self.assertTrue(self.exchange(ask())[0]["ok"])

    def test_limits(self) -> None:
        """Beyond a limit a message is for later; repetitions and refusals do not count; later it goes."""
        self.factory = self.make(per_number=(Rate(1, 60.0),))
        self.store.failures["accept"] = [StoreFullError("full")]
        full, taken, repeated, over = self.exchange(ask(key="k") * 3 + ask())
        self.assertEqual(
            (full["code"], taken["ok"], repeated["repeated"], over["code"]), ("4.3.1", True, True, "4.7.1")
        )
        self.clock.advance(60)
        (reply,) = self.exchange(ask())
        self.assertTrue(reply["ok"])

    def test_who_sees_what(self) -> None:
        """A user sees his own; only operators remove and requeue."""
        (mine,) = self.exchange(ask())
        for uid, found in ((1000, True), (1001, False), (0, True)):
            show, queue = self.exchange(ask("show", id=mine["id"]) + ask("queue"), uid)
            self.assertEqual((show["ok"], len(queue["items"])), (found, int(found)), uid)
        (refused,) = self.exchange(ask("remove", id=mine["id"]))
        self.assertEqual(refused["code"], "5.7.1")
        removed, queue = self.exchange(ask("requeue", id=mine["id"]) + ask("queue"), 0)
        self.assertEqual((removed["ok"], len(queue["items"])), (False, 1))  # it is being attempted
        unknown, _ = self.exchange(ask("requeue", id="0a") + ask("audit"), 0)
        self.assertFalse(unknown["ok"])

    def test_operators_of_now(self) -> None:
        """Who is an operator is asked with each request: the daemon may have become another user meanwhile."""
        operators = {7}
        self.factory = self.make(operators=lambda: frozenset(operators))
        (mine,) = self.exchange(ask())
        for uid, found in ((7, True), (8, False)):
            self.assertEqual(self.exchange(ask("show", id=mine["id"]), uid)[0]["ok"], found)
        operators = {8}
        self.assertTrue(self.exchange(ask("show", id=mine["id"]), 8)[0]["ok"])

    def test_slow_and_malformed(self) -> None:
        """A request that does not arrive in time, or is none, is answered and ends the connection."""
        protocol, transport = self.connect()
        protocol.dataReceived(ask()[:-1])
        self.clock.advance(30)
        self.assertEqual((json.loads(transport.value())["code"], transport.disconnecting), ("4.4.2", True))
        protocol, transport = self.connect()
        protocol.dataReceived(b"EHLO x\r\n" + ask())
        self.assertEqual((json.loads(transport.value())["code"], transport.disconnecting), ("5.5.2", True))

    def test_leaving(self) -> None:
        """A peer that sends no more still gets its answer; one that does not read gets none until it does."""
        protocol, transport = self.connect()
        protocol.dataReceived(ask("audit"))
        protocol.readConnectionLost()
        self.assertTrue(transport.value().endswith(b"\n"))
        self.assertTrue(transport.disconnecting)
        protocol, transport = self.connect()
        protocol.pauseProducing()
        protocol.dataReceived(ask("audit"))
        self.assertEqual(transport.value(), b"")
        protocol.resumeProducing()
        self.assertNotEqual(transport.value(), b"")

    def test_drain(self) -> None:
        """A drain ends idle connections at once, and others after the answer that is under way."""
        _, idle_transport = self.connect()
        busy, busy_transport = self.connect()
        held: Deferred[None] = Deferred()
        self.store.failures["accept"] = [held]
        busy.dataReceived(ask())
        self.factory.drain()
        self.assertEqual((idle_transport.disconnecting, busy_transport.disconnecting), (True, False))
        held.callback(None)
        self.assertTrue(json.loads(busy_transport.value())["ok"])
        self.assertTrue(busy_transport.disconnecting)

    def test_fault(self) -> None:
        """A fault of ours costs one answer, and the log has it without the message."""
        self.store.failures["accept"] = [RuntimeError("broken")]
        (reply,) = self.exchange(ask())
        self.assertEqual(reply["code"], "4.3.0")
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertNotIn("402817", failure.getTraceback())

    def test_unknown_peer(self) -> None:
        """What is no UNIX socket has no known peer."""
        self.assertEqual(str(unix_peer(StringTransport())), "unknown")
