"""When an answer leaves: at once, piece by piece, or in one piece."""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.reply import Reply
from tests.services.http.cgi.rig import FakeExchange, request_head

PAGE = b"Content-Type: a/b\n\nhello"


class ReplyTest(SynchronousTestCase):
    """A script's output, and what the exchange gets of it."""

    def reply(self, exchange: FakeExchange) -> Reply:
        reply = Reply(
            exchange,
            "/cgi-bin/script",
            nph=False,
            producer=cast("IPushProducer", self),
            announce=lambda _: False,
            redirect=None,
            whole=lambda: reply.finish(),  # noqa: PLW0108 - not bound yet
        )
        return reply

    def test_cgi_05_whole(self) -> None:
        """An answer that is all there waits for the script's exit, and then has a length."""
        exchange = FakeExchange()
        reply = self.reply(exchange)
        reply.feed(PAGE, last=True)
        self.assertEqual((reply.begun, exchange.status), (True, None))
        reply.finish()
        self.assertEqual((exchange.length, exchange.body, exchange.end), (5, b"hello", "finished"))

    def test_cgi_05_let_go(self) -> None:
        """It does not wait for a script that goes on."""
        exchange = FakeExchange()
        reply = self.reply(exchange)
        reply.feed(PAGE, last=True)
        reply.let_go()
        reply.let_go()
        self.assertEqual((exchange.status, exchange.length, exchange.body, exchange.end), (200, None, b"hello", ""))
        self.assertIs(exchange.producer, self)
        reply.finish()
        self.assertEqual((exchange.body, exchange.end), (b"hello", "finished"))

    def test_cgi_07_held_and_broken(self) -> None:
        """One that is held when the script crashes is broken off visibly, like any that has begun."""
        exchange = FakeExchange()
        reply = self.reply(exchange)
        reply.feed(PAGE, last=True)
        reply.abort()
        self.assertEqual((exchange.status, exchange.body, exchange.end), (200, b"hello", "aborted"))

    def test_cgi_05_length_in_one_piece(self) -> None:
        """One that has all of its Content-Length waits for nothing; an empty one, too."""
        for body in (b"hello", b""):
            exchange = FakeExchange()
            self.reply(exchange).feed(b"Content-Type: a/b\nContent-Length: %d\n\n%s" % (len(body), body), last=False)
            self.assertEqual((exchange.length, exchange.body, exchange.end), (len(body), body, "finished"))

    def test_cgi_05_never_held(self) -> None:
        """What has no body, or none for HEAD, gets no length that its script did not give."""
        for head, octets in (
            (request_head("HEAD"), PAGE),
            (request_head(), b"Status: 204\n\n"),
            (request_head(), b"Status: 304\n\n"),
        ):
            exchange = FakeExchange(head)
            self.reply(exchange).feed(octets, last=True)
            self.assertIsNotNone(exchange.status)
            self.assertIsNone(exchange.length)
