"""The submission socket: acceptance, bounds, deadlines, flow control, who may see what."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import encode
from netsvc.net.request_socket import RequestProtocol
from netsvc.net.unix_peer import UnixPeer
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, StoreFailedError, StoreFullError
from netsvc.outbox.runner import Limits, Runner
from netsvc.services.smtp_client import queries
from netsvc.services.smtp_client.intake import Intake
from netsvc.services.smtp_client.memory import Budget
from netsvc.services.smtp_client.submission import (
    Desk,
    SubmissionFactory,
    SubmissionRules,
)
from netsvc.services.smtp_client.terms import Notice
from netsvc.services.smtp_client.wishes import to_envelope
from tests.fakes import FakeMetrics
from tests.outbox.kit import START, ImmediateStore, open_database
from tests.services.smtp_client.guides import make_guide

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def send(content: bytes = MESSAGE, **values: Any) -> bytes:
    """A whole submission."""
    head = {"v": 1, "command": "send", "sender": "a@x", "recipients": ["b@x"], "length": len(content), **values}
    return encode(head) + content


def ask(command: str, **values: Any) -> bytes:
    """A query."""
    return encode({"v": 1, "command": command, **values})


class Transport(StringTransport):
    """A transport that knows whether it is read and whether it was ended."""

    aborted = False


class SubmissionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = ImmediateStore(open_database(self))
        self.metrics = FakeMetrics()
        self.runner = Runner(
            queue="mail",
            reactor=self.clock,
            open_store=lambda: self.store,
            deliver=self.deliver,
            custody=Custody(),
            metrics=self.metrics,
            random=lambda: 0.5,
            limits=Limits(drain_timeout=0),
            wall_clock=lambda: START + self.clock.seconds(),
        )
        self.runner.startService()
        self.addCleanup(self.end)
        self.factory = self.make()

    def deliver(self, lease: Lease, content: bytes) -> Deferred[Any]:
        return Deferred()

    def end(self) -> None:
        stopped = self.runner.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)

    def make(self, **rules: Any) -> SubmissionFactory:
        values: dict[str, Any] = {"max_message": 1000, "max_recipients": 10, "deadline": 30.0, **rules}
        made = SubmissionRules(**values)
        desk = Desk(self.runner, made, Intake(self.runner, self.metrics), make_guide(self.clock))
        return SubmissionFactory(desk, made, self.clock, lambda transport: transport.peer)

    def connect(self, uid: int | None = 1000) -> tuple[RequestProtocol[Any], Transport]:
        protocol = self.factory.buildProtocol(None)
        transport = Transport()
        transport.peer = UnixPeer(uid, 4711)  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        return protocol, transport

    def replies(self, transport: Transport) -> list[dict[str, Any]]:
        self.clock.advance(0)
        found = [json.loads(line) for line in transport.value().splitlines()]
        transport.clear()
        return found

    def exchange(self, octets: bytes, uid: int | None = 1000) -> list[dict[str, Any]]:
        protocol, transport = self.connect(uid)
        protocol.dataReceived(octets)
        return self.replies(transport)


class Taking(SubmissionCase):
    def test_accepted(self) -> None:
        """A message is answered with its queue id once it is in the store, and the kernel's uid is its submitter."""
        (reply,) = self.exchange(send())
        self.assertEqual((reply["ok"], reply["repeated"]), (True, False))
        summary, _ = self.store.database.show(reply["id"])
        self.assertEqual((summary.item.submitter, summary.item.meta["pid"]), ("uid:1000", "4711"))
        self.assertEqual(self.store.database.content(reply["id"]), MESSAGE)

    def test_answered_after_the_commit(self) -> None:
        """Nothing is answered before the store has it."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.connect()
        protocol.dataReceived(send())
        self.assertEqual(self.replies(transport), [])
        slow.callback(None)
        self.assertTrue(self.replies(transport)[0]["ok"])

    def test_octet_by_octet(self) -> None:
        """A submission may come octet by octet."""
        protocol, transport = self.connect()
        for octet in send():
            protocol.dataReceived(bytes([octet]))
        self.assertTrue(self.replies(transport)[0]["ok"])

    def test_names_without_a_domain(self) -> None:
        """Where nothing gives a name its domain, the message is refused and nothing is kept."""
        for values in ({"recipients": ["b@x", "root"]}, {"sender": "root"}):
            self.assertEqual(self.exchange(send(**values))[0]["code"], "5.1.3")
        self.assertEqual(self.store.database.audit().accepted, 0)

    def test_repeated(self) -> None:
        """The same key gives the same queue id."""
        first, second = self.exchange(send(key="k") + send(key="k"))
        self.assertEqual((second["id"], second["repeated"]), (first["id"], True))

    def test_key_conflict(self) -> None:
        """A key that comes back for another message is refused, and the connection goes on."""
        replies = self.exchange(send(key="k") + send(key="k", recipients=["z@x"]) + ask("audit"))
        self.assertEqual([one["ok"] for one in replies], [True, False, True])
        self.assertEqual(replies[1]["code"], "5.5.4")

    def test_disk_full(self) -> None:
        """A store that cannot write refuses for now, and says so when the disk is full (RFC 3463, 4.3.1)."""
        self.store.failures["accept"] = [StoreFullError("full"), StoreFailedError("input/output error")]
        self.assertEqual(self.exchange(send())[0]["code"], "4.3.1")
        (reply,) = self.exchange(send())
        self.assertEqual((reply["ok"], reply["code"]), (False, "4.3.0"))
        self.assertEqual(
            self.metrics.metrics["mail_submissions_refused"].values[(("code", "4.3.0"), ("queue", "mail"))], 1
        )

    def test_bad_message(self) -> None:
        """An empty message is refused."""
        self.assertEqual(self.exchange(send(b""))[0]["code"], "5.6.0")

    def test_fault(self) -> None:
        """A fault of our own is answered and logged."""
        self.store.failures["accept"] = [ZeroDivisionError()]
        self.assertEqual(self.exchange(send())[0]["code"], "4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_malformed(self) -> None:
        """What is malformed is answered and ends the connection; nothing after it is read."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"HELO x\r\n" + send())
        self.assertEqual([one["code"] for one in self.replies(transport)], ["5.5.2"])
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(send())
        self.assertEqual(self.store.database.audit().accepted, 0)

    def test_too_large(self) -> None:
        """A message that is too large is refused at its head."""
        protocol, transport = self.connect()
        protocol.dataReceived(send(b"", length=1001))
        self.assertEqual(self.replies(transport)[0]["code"], "5.3.4")
        self.assertTrue(transport.disconnecting)


class Connections(SubmissionCase):
    def test_not_read_meanwhile(self) -> None:
        """While a request is worked on its peer is not read; afterwards it is."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.connect()
        protocol.dataReceived(send() + ask("audit"))
        self.assertEqual(transport.producerState, "paused")
        slow.callback(None)
        self.assertEqual(len(self.replies(transport)), 2)
        self.assertEqual(transport.producerState, "producing")

    def test_peer_does_not_read(self) -> None:
        """A peer that asks and does not read is answered no further until it does."""
        protocol, transport = self.connect()
        protocol.pauseProducing()
        protocol.dataReceived(ask("audit") * 3)
        self.assertEqual(self.replies(transport), [])
        protocol.resumeProducing()
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual(len(self.replies(transport)), 3)

    def test_deadline(self) -> None:
        """A request that does not arrive in time ends its connection, with a reason."""
        protocol, transport = self.connect()
        protocol.dataReceived(send()[:20])
        self.clock.advance(29)
        protocol.dataReceived(send()[20:-1])
        self.assertEqual(self.replies(transport), [])
        self.clock.advance(1)
        self.assertEqual(self.replies(transport)[0]["code"], "4.4.2")
        self.assertTrue(transport.disconnecting)

    def test_no_deadline_at_rest(self) -> None:
        """A connection at rest has no deadline of ours."""
        protocol, transport = self.connect()
        protocol.dataReceived(send())
        self.clock.pump([1000, 1000])
        self.assertFalse(transport.disconnecting)

    def test_half_close(self) -> None:
        """A peer that says its piece and half-closes still gets its answer, then the end."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.connect()
        protocol.dataReceived(send())
        protocol.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        slow.callback(None)
        self.assertTrue(self.replies(transport)[0]["ok"])
        self.assertTrue(transport.disconnecting)

    def test_half_close_at_rest(self) -> None:
        """A peer that half-closes with nothing owed, or in the middle of a request, is let go."""
        for octets in (b"", send()[:-1]):
            protocol, transport = self.connect()
            protocol.dataReceived(octets)
            protocol.readConnectionLost()
            self.assertTrue(transport.disconnecting)

    def test_peer_reads_no_more(self) -> None:
        """A peer that closes its reading half is let go."""
        protocol, transport = self.connect()
        protocol.writeConnectionLost()
        self.assertTrue(transport.disconnecting)
        protocol.drain()

    def test_lost_while_working(self) -> None:
        """A peer that leaves before its answer has its message accepted all the same."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.connect()
        protocol.dataReceived(send())
        protocol.stopProducing()
        protocol.connectionLost()
        slow.callback(None)
        self.assertEqual(self.store.database.audit().accepted, 1)
        self.assertEqual(self.replies(transport), [])
        self.assertEqual(self.factory.connections, set())

    def test_memory(self) -> None:
        """A message that finds no room in memory waits unread until another is done."""
        self.factory = self.make(memory=30)
        first, _ = self.connect()
        second, transport = self.connect()
        third, _ = self.connect()
        first.dataReceived(send()[:-1])
        second.dataReceived(send()[:-1])
        third.dataReceived(send()[:-1])
        self.assertEqual(transport.producerState, "paused")
        third.connectionLost()
        first.connectionLost()
        self.assertEqual(transport.producerState, "producing")
        second.dataReceived(send()[-1:])
        self.assertTrue(self.replies(transport)[0]["ok"])

    def test_drain(self) -> None:
        """A drain ends connections at rest, and the others after their request."""
        resting, at_rest = self.connect()
        working, at_work = self.connect()
        arriving, on_the_way = self.connect()
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        working.dataReceived(send() + ask("audit"))
        arriving.dataReceived(send()[:-1])
        self.factory.drain()
        self.assertEqual([one.disconnecting for one in (at_rest, at_work, on_the_way)], [True, False, False])
        slow.callback(None)
        arriving.dataReceived(send()[-1:])
        self.assertEqual([one.disconnecting for one in (at_work, on_the_way)], [True, True])
        self.assertEqual([len(self.replies(one)) for one in (at_work, on_the_way)], [1, 1])
        del resting

    def test_budget_order(self) -> None:
        """Shares are granted in order, and one larger than all goes alone."""
        budget, told = Budget(10), []
        first = budget.take(8, lambda: told.append("first"))
        large = budget.take(99, lambda: told.append("large"))
        last = budget.take(1, lambda: told.append("last"))
        self.assertEqual((first.granted, large.granted, last.granted), (True, False, False))
        first.give_back()
        self.assertEqual(told, ["large"])
        large.give_back()
        self.assertEqual(told, ["large", "last"])


class Wishes(SubmissionCase):
    def test_kept(self) -> None:
        """What a sender wants to hear is kept for those who deliver."""
        notices = {"b@x": [["success", "delay"], "rfc822;b@x"]}
        (reply,) = self.exchange(send(ret="hdrs", envid="id", notices=notices))
        envelope = to_envelope("a@x", ["b@x"], self.store.database.show(reply["id"])[0].item.meta)
        self.assertEqual((envelope.ret, envelope.envid), ("hdrs", "id"))
        self.assertEqual(envelope.notices["b@x"], Notice(notify=("success", "delay"), orcpt="rfc822;b@x"))
        self.assertFalse(envelope.require_tls)

    def test_domain(self) -> None:
        """A name is completed with the domain that the sender's command says, where nothing else does it."""
        (reply,) = self.exchange(send(recipients=["jo", "b@x"], domain="box.example"))
        targets = self.store.database.show(reply["id"])[0].targets
        self.assertEqual([one.address for one in targets], ["jo@box.example", "b@x"])
        (reply,) = self.exchange(send(recipients=["jo"]))
        self.assertEqual(reply["code"], "5.1.3")

    def test_require_tls(self) -> None:
        """Who asks for verified TLS all the way gets back no more than the header (RFC 8689 5)."""
        (reply,) = self.exchange(send(ret="full", require_tls=True))
        envelope = to_envelope("a@x", ["b@x"], self.store.database.show(reply["id"])[0].item.meta)
        self.assertEqual((envelope.require_tls, envelope.ret), (True, "hdrs"))

    def test_refused(self) -> None:
        """What RFC 3461 has no words for is refused, and nothing is kept."""
        for values in (
            {"ret": "all"},
            {"envid": "\n"},
            {"notices": {"b@x": [["often"], ""]}},
            {"notices": {"b@x": [["never", "delay"], ""]}},
            {"notices": {"b@x": [[], "nonsense"]}},
        ):
            self.assertEqual(self.exchange(send(**values))[0]["code"], "5.5.4", values)
        self.assertEqual(self.store.database.audit().accepted, 0)


class Asking(SubmissionCase):
    def setUp(self) -> None:
        super().setUp()
        self.mine = self.exchange(send(recipients=["b@x", "c@x", "d@x", "e@x"]))[0]["id"]
        self.theirs = self.exchange(send(), uid=7)[0]["id"]

    def test_queue(self) -> None:
        """A person sees his own mail; root sees all, in pages."""
        (reply,) = self.exchange(ask("queue"))
        self.assertEqual([one["id"] for one in reply["items"]], [self.mine])
        self.assertEqual((reply["items"][0]["recipients"], reply["items"][0]["some"]), (4, ["b@x", "c@x", "d@x"]))
        (reply,) = self.exchange(ask("queue", limit=1), uid=0)
        self.assertTrue(reply["more"])
        (reply,) = self.exchange(ask("queue", after=reply["items"][0]["id"]), uid=0)
        self.assertEqual((len(reply["items"]), reply["more"]), (1, False))

    def test_show(self) -> None:
        """A person sees his own message; another's is not there for him."""
        (reply,) = self.exchange(ask("show", id=self.mine))
        self.assertEqual([one["address"] for one in reply["item"]["targets"]], ["b@x", "c@x", "d@x", "e@x"])
        (reply,) = self.exchange(ask("show", id=self.theirs))
        self.assertEqual((reply["ok"], reply["text"]), (False, f"there is no message {self.theirs}"))
        self.assertTrue(self.exchange(ask("show", id=self.theirs), uid=0)[0]["ok"])

    def test_whole(self) -> None:
        """A whole listing has every recipient; a page ends after some thousands of them."""
        (reply,) = self.exchange(ask("queue", whole=True), uid=0)
        self.assertEqual([len(one["targets"]) for one in reply["items"]], [4, 1])
        self.patch(queries, "PAGE_TARGETS", 4)
        (reply,) = self.exchange(ask("queue", whole=True), uid=0)
        self.assertEqual(([len(one["targets"]) for one in reply["items"]], reply["more"]), ([4], True))

    def test_explain(self) -> None:
        """Why a message waits is told with how its destinations stand and how mail goes there."""
        (reply,) = self.exchange(ask("explain", id=self.mine))
        (way,) = reply["item"]["ways"]
        words = {"rule": ["relay: maildir:m"], "kept in": ["maildir:m"]}
        self.assertEqual((way["in_flight"], way["closed"], way["way"]), (2, False, words))
        self.assertFalse(self.exchange(ask("explain", id=self.theirs))[0]["ok"])

    def test_route(self) -> None:
        """What would become of a message: aliases are followed, the suppressed are named; anybody may ask."""
        self.exchange(ask("suppress", address="jo@far.example", reason="gone"), uid=0)
        (reply,) = self.exchange(ask("route", address="root", sender="me"))
        one, two = reply["recipients"]
        self.assertEqual((one["address"], one["result"]), ("jo@far.example", "suppressed"))
        self.assertIn("gone", one["text"])
        self.assertEqual(
            (two["address"], two["result"], two["hosts"]), ("ed@here.example", "deliverable", ["maildir:m"])
        )
        self.assertEqual(self.exchange(ask("route", address="a b"))[0]["code"], "5.1.3")
        self.assertEqual(self.exchange(ask("route", address="a", sender="b@-"))[0]["code"], "5.1.3")

    def test_operate_on_many(self) -> None:
        """What goes to a domain, or everything, is held, released and flushed; only by operators."""
        self.store.database.connection.execute("UPDATE parcel SET state = 'waiting', next_at = 9e9")
        for command, values, count in (
            ("hold", {"domain": "x"}, 5),
            ("hold", {"domain": "y"}, 0),
            ("release", {"all": True}, 5),
            ("flush", {"id": self.mine}, 4),
        ):
            self.assertEqual(self.exchange(ask(command, **values))[0]["code"], "5.7.1")
            self.assertEqual(self.exchange(ask(command, **values), uid=0)[0]["count"], count, command)

    def test_suppress(self) -> None:
        """Nothing more is taken for a suppressed address; who sends to others as well is told."""
        self.assertEqual(self.exchange(ask("suppress", address="b@x", reason="gone"), uid=7)[0]["code"], "5.7.1")
        self.assertTrue(self.exchange(ask("suppress", address="B@x", reason="gone"), uid=0)[0]["ok"])
        (reply,) = self.exchange(ask("suppressed"), uid=0)
        (one,) = reply["addresses"]
        self.assertEqual(
            (one["address"], one["reason"], one["operator"], reply["more"]), ("b@x", "gone", "uid:0", False)
        )
        (reply,) = self.exchange(send())
        self.assertEqual((reply["code"], "gone" in reply["text"]), ("5.7.1", True))
        (reply,) = self.exchange(send(recipients=["b@x", "c@x"]))
        self.assertEqual(list(reply["refused"]), ["b@x"])
        self.assertTrue(self.exchange(ask("unsuppress", address="b@x"), uid=0)[0]["found"])
        self.assertFalse(self.exchange(ask("unsuppress", address="b@x"), uid=0)[0]["found"])

    def test_audit(self) -> None:
        """The books are for everybody."""
        (reply,) = self.exchange(ask("audit"), uid=None)
        self.assertEqual((reply["audit"]["accepted"], reply["audit"]["balanced"]), (5, True))

    def test_operate(self) -> None:
        """Only root and the daemon's user remove and requeue; the ledger says who did."""
        self.assertEqual(self.exchange(ask("remove", id=self.mine))[0]["code"], "5.7.1")
        self.assertEqual(
            self.exchange(ask("remove", id=self.mine), uid=0)[0]["text"], f"{self.mine} is being delivered right now"
        )
        self.store.database.connection.execute("UPDATE parcel SET state = 'waiting', next_at = 9e9")
        self.assertEqual(self.exchange(ask("remove", id=self.mine), uid=0)[0]["count"], 4)
        self.store.database.connection.execute("UPDATE target SET state = 'bounced'")
        self.assertEqual(self.exchange(ask("requeue", id=self.theirs), uid=0)[0]["count"], 1)
        self.assertEqual(self.store.database.show(self.theirs)[1][-1].text, "by uid:0")
