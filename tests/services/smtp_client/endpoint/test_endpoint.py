"""The HTTP endpoint without a network: who may post what, answers, bounds, flow."""

from __future__ import annotations

import base64
import json
from email import message_from_bytes, policy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.outbox.model import StoreFullError
from netsvc.services.smtp_client.endpoint import protocol as module
from netsvc.services.smtp_client.endpoint.problem import Problem
from netsvc.services.smtp_client.endpoint.protocol import EndpointFactory, EndpointProtocol, EndpointRules
from netsvc.services.smtp_client.endpoint.wire import Connection
from netsvc.services.smtp_client.intake import Intake
from tests.outbox.kit import START
from tests.services.smtp_client.test_smtp_submission import SubmissionCase, Transport

TOKEN = "correct-horse-battery"
MESSAGE = {"from": "Ann <a@example.com>", "to": ["b@example.com"], "subject": "x", "text": "hello\n"}
RAW = b"Subject: x\r\n\r\nhello\r\n"


class HalfTransport(Transport):
    """A transport that can be closed in one direction."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True


def post(body: Any = None, *fields: str, target: str = "/v1/messages", kind: str = "application/json") -> bytes:
    """A whole request."""
    octets = body if isinstance(body, bytes) else json.dumps(MESSAGE if body is None else body).encode()
    head = [f"POST {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", f"Content-Type: {kind}"]
    head += [f"Content-Length: {len(octets)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + octets


class EndpointCase(SubmissionCase):
    def setUp(self) -> None:
        super().setUp()
        self.endpoint = self.made()

    def made(self, **values: Any) -> EndpointFactory:
        given: dict[str, Any] = {"max_message": 5000, "max_recipients": 3, "deadline": 30.0, **values}
        rules = EndpointRules(
            token=Secret("literal", TOKEN), in_thread=maybeDeferred, wall_clock=lambda: START, **given
        )
        return EndpointFactory(Intake(self.runner, self.metrics), rules, self.clock)

    def open(self) -> tuple[EndpointProtocol, HalfTransport]:
        protocol = self.endpoint.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4711))
        transport = HalfTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def answers(self, transport: HalfTransport) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
        """What was answered: (status, fields, JSON) each."""
        self.clock.advance(0)
        found, octets = [], transport.value()
        transport.clear()
        while octets:
            head, _, octets = octets.partition(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines)
            length = int(fields.get("content-length", "0"))
            found.append((int(status.split()[1]), fields, json.loads(octets[:length]) if length else {}))
            octets = octets[length:]
        return found

    def ask(self, *pieces: bytes) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
        protocol, transport = self.open()
        for piece in pieces:
            protocol.dataReceived(piece)
        return self.answers(transport)

    def status(self, octets: bytes) -> tuple[int, str]:
        """(status, code) of the only answer."""
        ((status, _, said),) = self.ask(octets)
        return status, said.get("code", "")

    def kept(self, said: dict[str, Any]) -> Any:
        content = self.store.database.content(said["id"])
        return message_from_bytes(content, policy=policy.default)


class Posting(EndpointCase):
    def test_json(self) -> None:
        """A message in JSON is built, kept, and answered 202 with its queue id."""
        message = {
            **MESSAGE,
            "cc": "汤众 <c@example.com>",
            "bcc": ["d@example.com"],
            "html": "<p>hello</p>",
            "headers": {"X-A": "1"},
            "attachments": [
                {"name": "汇总.bin", "type": "image/png", "content": base64.b64encode(b"\0\1").decode()},
                {"name": "a.txt", "content": "aGk="},
            ],
        }
        ((status, fields, said),) = self.ask(post(message))
        self.assertEqual((status, fields["content-type"], said["repeated"]), (202, "application/json", False))
        summary, _ = self.store.database.show(said["id"])
        self.assertEqual((summary.item.submitter, summary.item.sender), ("http:127.0.0.1", "a@example.com"))
        self.assertEqual([one.address for one in summary.targets], ["b@example.com", "c@example.com", "d@example.com"])
        kept = self.kept(said)
        self.assertEqual((kept["X-A"], kept["Bcc"]), ("1", None))
        first, second = kept.iter_attachments()
        self.assertEqual(
            (first.get_filename(), first.get_content_type(), first.get_content()), ("汇总.bin", "image/png", b"\0\1")
        )
        self.assertEqual(second.get_content_type(), "text/plain")

    def test_require_tls(self) -> None:
        """A message in JSON may ask for verified TLS all the way."""
        ((_, _, said),) = self.ask(post({**MESSAGE, "require_tls": True}))
        meta = self.store.database.show(said["id"])[0].item.meta
        self.assertEqual((meta["require_tls"], meta["ret"]), ("yes", "hdrs"))
        ((_, _, said),) = self.ask(post({**MESSAGE, "require_tls": False}))
        self.assertNotIn("require_tls", self.store.database.show(said["id"])[0].item.meta)

    def test_raw(self) -> None:
        """A raw message has its envelope in the query; an empty from is the null sender; its key field is taken out."""
        target = "/v1/messages?from=&to=b@example.com&to=c%40example.com&to=b@example.com"
        octets = b"Netsvc-Idempotency-Key: k1\r\n" + RAW
        ((status, _, said),) = self.ask(post(octets, target=target, kind="message/rfc822; x=y"))
        self.assertEqual(status, 202)
        summary, _ = self.store.database.show(said["id"])
        self.assertEqual((summary.item.sender, summary.item.key, len(summary.targets)), ("", "k1", 2))
        self.assertEqual(self.store.database.content(said["id"]), RAW)

    def test_octet_by_octet(self) -> None:
        """Octet by octet, chunked, and two at once: it is all the same."""
        ((status, _, _),) = self.ask(*[bytes([one]) for one in post()])
        self.assertEqual(status, 202)
        body = json.dumps(MESSAGE).encode()
        chunked = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        self.assertEqual(self.status(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))[0], 202)
        self.assertEqual([one[0] for one in self.ask(post() + post())], [202, 202])

    def test_key(self) -> None:
        """The same key gives the same queue id, wherever it stands; for something else it is a conflict."""
        quoted, bare, inside = self.ask(
            post(None, 'Idempotency-Key: "k"') + post(None, "Idempotency-Key: k") + post({**MESSAGE, "key": "k"})
        )
        self.assertEqual({one[2]["id"] for one in (quoted, bare, inside)}, {quoted[2]["id"]})
        self.assertEqual([one[2]["repeated"] for one in (quoted, bare, inside)], [False, True, True])
        self.assertEqual(self.status(post({**MESSAGE, "to": "z@example.com", "key": "k"})), (409, "5.5.4"))
        self.assertEqual(self.status(post({**MESSAGE, "key": "k"}, "Idempotency-Key: l")), (400, "5.5.4"))
        self.assertEqual(self.status(post(None, "Idempotency-Key: " + "x" * 201)), (400, "5.5.4"))

    def test_answered_after_the_commit(self) -> None:
        """Nothing is answered before the store has it, and nothing more is read meanwhile."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.open()
        protocol.dataReceived(post())
        self.assertEqual((self.answers(transport), transport.producerState), ([], "paused"))
        slow.callback(None)
        self.assertEqual(self.answers(transport)[0][0], 202)

    def test_who_may_post(self) -> None:
        """Without the token nothing goes, and what is said does not tell more."""
        for old, new in ((TOKEN, "wrong"), ("Bearer", "Basic"), ("Authorization", "X-Other")):
            ((status, fields, said),) = self.ask(post().replace(old.encode(), new.encode()))
            self.assertEqual((status, fields["content-type"]), (401, "application/problem+json"))
            self.assertTrue(fields["www-authenticate"].startswith("bearer"))
            self.assertEqual((said["status"], said["code"], said["type"]), (401, "5.7.8", "about:blank"))
        self.assertNotIn(TOKEN, repr(self.endpoint.rules))

    def test_what_may_be_posted(self) -> None:
        """Elsewhere is 404, other methods 405, other types 415, and each says what would do."""
        self.assertEqual(self.status(post(target="/v1/other"))[0], 404)
        ((status, fields, _),) = self.ask(post().replace(b"POST", b"PUT"))
        self.assertEqual((status, fields["allow"]), (405, "post"))
        ((status, fields, _),) = self.ask(post(kind="text/plain"))
        self.assertEqual((status, fields["accept-post"]), (415, "application/json, message/rfc822"))
        self.assertEqual(self.status(post(None, "Content-Encoding: gzip"))[0], 415)
        protocol, transport = self.open()
        protocol.dataReceived(post(b"").replace(b"POST", b"HEAD"))
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 405"))
        self.assertTrue(transport.value().endswith(b"\r\n\r\n"))

    def test_wrong_json(self) -> None:
        """What is no JSON is 400; what is no message is 422, with the field that is wrong."""
        for body in (b"{", b"\xff", b'{"from": 1, "from": 2}', b"[" * 90000):
            self.assertIn(self.status(post(body))[0], (400, 413))
        wrong: list[Any] = [[], 1, {}, {**MESSAGE, "x": 1}, {**MESSAGE, "to": 1}, {**MESSAGE, "to": [1]}]
        wrong += [{**MESSAGE, "from": "a@x, b@x"}, {**MESSAGE, "to": []}, {**MESSAGE, "subject": None}]
        wrong += [{**MESSAGE, "headers": {"A": 1}}, {**MESSAGE, "headers": {"Bcc": "x"}}, {**MESSAGE, "key": ""}]
        wrong += [{**MESSAGE, "subject": "a\nb"}, {**MESSAGE, "text": "\ud800"}, {**MESSAGE, "to": ["a b@x"]}]
        wrong += [{**MESSAGE, "to": ["a@x", "b@x", "c@x", "d@x"]}, {**MESSAGE, "attachments": {}}]
        wrong += [{**MESSAGE, "require_tls": "yes"}, {**MESSAGE, "require_tls": None}]
        right = {"name": "a", "content": "aGk="}
        parts: list[Any] = [1, {"name": "a"}, {**right, "x": "y"}, {**right, "content": "?"}, {**right, "type": "a"}]
        wrong += [{**MESSAGE, "attachments": [one]} for one in (*parts, {**right, "type": "message/rfc822"})]
        for one in wrong:
            self.assertEqual(self.status(post(one))[0], 422, one)
        self.assertEqual(self.store.database.audit().accepted, 0)

    def test_wrong_query(self) -> None:
        """A raw message needs its envelope, all of it and nothing else."""
        for query, status in (
            ("", 422),
            ("?to=b@x", 422),
            ("?from=a@x", 422),
            ("?from=a@x&to=b@x&cc=c@x", 422),
            ("?from", 400),
        ):
            target = "/v1/messages" + query
            self.assertEqual(self.status(post(RAW, target=target, kind="message/rfc822"))[0], status, query)
        target = "/v1/messages?from=a@x&to=b"
        self.assertEqual(self.status(post(RAW, target=target, kind="message/rfc822")), (422, "5.1.3"))

    def test_refused(self) -> None:
        """A full queue is 503 with Retry-After, a bad message 422; nothing is kept."""
        self.store.failures["accept"] = [StoreFullError("full")]
        ((status, fields, said),) = self.ask(post())
        self.assertEqual((status, fields["retry-after"], said["code"]), (503, "30", "4.3.1"))
        target = "/v1/messages?from=a@x&to=b@x"
        self.assertEqual(self.status(post(b"", target=target, kind="message/rfc822")), (422, "5.6.0"))
        self.store.failures["accept"] = [ZeroDivisionError()]
        self.assertEqual(self.status(post()), (503, "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Bounds(EndpointCase):
    def test_too_large(self) -> None:
        """A body that is too large is refused at its head, a message when it is built, chunks when they are many."""
        ((status, fields, _),) = self.ask(post(b"", "").replace(b"Content-Length: 0", b"Content-Length: 9999999"))
        self.assertEqual((status, fields["connection"]), (413, "close"))
        self.assertEqual(self.status(post({**MESSAGE, "text": "x" * 6000})), (413, "5.3.4"))
        chunked = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        self.assertEqual(self.ask(chunked, *[piece] * 20)[0][0], 413)

    def test_continue(self) -> None:
        """100 comes only when the body is wanted."""
        head, _, body = post(None, "Expect: 100-continue").partition(b"\r\n\r\n")
        protocol, transport = self.open()
        protocol.dataReceived(head + b"\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 100"))
        transport.clear()
        protocol.dataReceived(body)
        self.assertEqual(self.answers(transport)[0][0], 202)
        self.assertEqual(self.ask(head.replace(TOKEN.encode(), b"no") + b"\r\n\r\n")[0][0], 401)

    def test_malformed(self) -> None:
        """What is no request, or could be read in two ways, is answered and ends the connection."""
        for octets in (
            b"EHLO x\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\n\r\n",
            post(None, "Transfer-Encoding: chunked"),
            post(None, "Content-Length: 1"),
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000,
        ):
            protocol, transport = self.open()
            protocol.dataReceived(octets)
            self.assertIn(self.answers(transport)[0][0], (400, 431))
            self.assertTrue(transport.half_closed)
            protocol.dataReceived(post())
            self.assertEqual(self.answers(transport), [])
            self.clock.advance(module.LINGER)
            self.assertTrue(transport.disconnecting)

    def test_http_1_0(self) -> None:
        """A client of HTTP/1.0 is answered, and its connection closed."""
        protocol, transport = self.open()
        protocol.dataReceived(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertEqual(self.answers(transport)[0][0], 202)
        self.assertTrue(transport.half_closed)

    def test_half_close(self) -> None:
        """A client that half-closes after its request gets its answer, then the end."""
        protocol, transport = self.open()
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol.dataReceived(post())
        protocol.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        slow.callback(None)
        self.assertEqual(self.answers(transport)[0][0], 202)
        self.assertTrue(transport.disconnecting)

    def test_deadlines(self) -> None:
        """A request that does not arrive in time is 408; an idle connection closes without a word."""
        protocol, transport = self.open()
        protocol.dataReceived(post()[:-1])
        self.clock.advance(30)
        self.assertEqual(self.answers(transport)[0][0], 408)
        protocol, transport = self.open()
        self.clock.advance(module.IDLE)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.answers(transport), [])

    def test_memory(self) -> None:
        """A body for which there is no memory waits until another is handed in."""
        self.endpoint = self.made(memory=400)
        first, one = self.open()
        second, other = self.open()
        first.dataReceived(post()[:-1])
        second.dataReceived(post()[:-1])
        self.assertEqual((one.producerState, other.producerState), ("producing", "paused"))
        first.dataReceived(post()[-1:])
        self.assertEqual(self.answers(one)[0][0], 202)
        self.assertEqual(other.producerState, "producing")
        second.dataReceived(post()[-1:])
        self.assertEqual(self.answers(other)[0][0], 202)

    def test_drain(self) -> None:
        """A service that stops closes idle connections and answers what is under way."""
        _, one = self.open()
        busy, other = self.open()
        busy.dataReceived(post()[:-1])
        self.endpoint.drain()
        self.assertEqual((one.disconnecting, other.disconnecting), (True, False))
        busy.dataReceived(post()[-1:])
        ((status, fields, _),) = self.answers(other)
        self.assertEqual((status, fields["connection"]), (202, "close"))

    def test_peer_does_not_read(self) -> None:
        """A peer that does not read its answers is answered no further."""
        protocol, transport = self.open()
        protocol.pauseProducing()
        protocol.dataReceived(post())
        self.assertEqual(self.answers(transport), [])
        protocol.resumeProducing()
        self.assertEqual(self.answers(transport)[0][0], 202)


class Anything(SynchronousTestCase):
    @given(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([post(), post()[:60], b"\r\n"])), max_size=6))
    @settings(deadline=None)
    def test_never_raises(self, pieces: list[bytes]) -> None:
        """Whatever comes, it is a request or a problem."""
        wire = Connection()
        try:
            for piece in filter(None, pieces):
                wire.receive(piece)
                while wire.next() is not None:
                    pass
        except Problem as problem:
            self.assertTrue(wire.refuse(problem, close=True).startswith(b"HTTP/1.1 4"))
