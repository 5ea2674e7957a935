"""One request fed in every way: whole, octet by octet, and with another request behind it."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import http_date
from tests.services.http.http_rig import NOW, Answer, Peer, Rig, hello, read_answers

NEXT = b"GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"


class Sponge:
    """Takes a body and answers with it."""

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange
        self.data = b""

    def body_received(self, data: bytes) -> None:
        self.data += data

    def body_finished(self) -> None:
        self.exchange.answer(200, ((b"Content-Type", b"text/plain"),), self.data)

    def body_lost(self) -> None:
        """The connection answers."""


def mirror(exchange: Any) -> None:
    """A route that answers with the method, the host, path and query, and the body."""
    head = exchange.head
    line = f"{head.method} {head.host} {head.path.decode()}?{head.query.decode()} "
    sponge = Sponge(exchange)
    sponge.data = line.encode("latin-1")
    exchange.receive_body(sponge)


class FeedCase(SynchronousTestCase):
    """Judges requests by their answers, however they are fed."""

    route: Any = staticmethod(hello)
    options: ClassVar[dict[str, Any]] = {}

    def rig(self) -> Rig:
        return Rig(route=self.route, access_log=False, **self.options)

    def feed(self, pieces: list[bytes], *, half: bool = False) -> Peer:
        peer = self.rig().connect()
        for piece in pieces:
            peer.send(piece)
        if half:
            peer.half_close()
        return peer

    def ways(self, data: bytes) -> dict[str, Peer]:
        """The connections on which these octets came, by way of feeding; the last has a request behind them."""
        octets = [data[at : at + 1] for at in range(len(data))]
        return {
            "whole": self.feed([data]),
            "octets": self.feed(octets),
            "then half-closed": self.feed([data], half=True),
            "octets and more": self.feed([*octets, NEXT]),
            "and more": self.feed([data + NEXT]),
        }

    def refused(self, data: bytes, status: int, method: str = "GET") -> Answer:
        """One answer with that status, that says it is the last; then nothing is read. The answer."""
        found: Answer | None = None
        for way, peer in self.ways(data).items():
            answers = read_answers(peer.received, [method])
            self.assertEqual([one.status for one in answers], [status], (data[:200], way, peer.received[:300]))
            (found,) = answers
            self.assertEqual(found.headers[b"connection"], b"close", (data[:200], way))
            self.assertTrue(peer.transport.closed, (data[:200], way))
            self.check_error(found, head=method == "HEAD")
        assert found is not None
        return found

    def check_error(self, answer: Answer, *, head: bool = False) -> None:
        """Every error has a date, a type, a length and a small page."""
        self.assertEqual(answer.headers[b"date"], http_date(NOW))
        self.assertEqual(answer.headers[b"content-type"], b"text/html; charset=utf-8")
        self.assertGreater(int(answer.headers[b"content-length"]), 100)
        if not head:
            self.assertIn(str(answer.status).encode(), answer.body)
            self.assertLess(len(answer.body), 4096)

    def accepted(self, data: bytes, *, keeps: bool = True, method: str = "GET", status: int = 200) -> Answer:
        """One answer; if the connection is kept, the request behind it is answered as well. The first answer."""
        found: Answer | None = None
        for way, peer in self.ways(data).items():
            more = keeps and way.endswith("more")
            answers = read_answers(peer.received, [method, "GET"])
            self.assertEqual([one.status for one in answers], [status, 200] if more else [status], (data[:200], way))
            if more:
                self.assertIn(b"/next", answers[1].body)
            found = answers[0]
            self.assertEqual(found.headers.get(b"connection") == b"close", not keeps and found.status < 500, data[:200])
            self.assertIs(peer.transport.closed, not keeps or way == "then half-closed", (data[:200], way))
        assert found is not None
        return found


def head(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request by its lines."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


def get(target: str = "/", *fields: str, version: str = "1.1", host: str | None = "a.example") -> bytes:
    """A GET, with a Host unless that is None."""
    return head(f"GET {target} HTTP/{version}", *([f"Host: {host}"] if host is not None else []), *fields)


def post(*fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """A POST with a Host."""
    return head(f"POST / HTTP/{version}", "Host: a.example", *fields, body=body)
