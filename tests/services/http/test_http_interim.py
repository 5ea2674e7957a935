"""Interim answers (1xx) before the answer, over HTTP/1 and HTTP/2."""

from __future__ import annotations

from typing import Any

from h2.events import InformationalResponseReceived
from twisted.trial.unittest import SynchronousTestCase

from tests.services.http.http2.h2_rig import GET, Peer2
from tests.services.http.http_rig import Rig, request

FIELDS = ((b"Link", b"</style.css>; rel=preload"),)


def twice(exchange: Any) -> None:
    """Says something before the answer, twice, and once when it is too late."""
    exchange.inform(103, FIELDS, None)
    exchange.inform(104, (), "Something New")
    exchange.answer(200, (), b"done")
    exchange.inform(103, FIELDS, None)


class InterimTests(SynchronousTestCase):
    def test_http_1_1(self) -> None:
        """They stand before the answer as they were said; after it there are none."""
        peer = Rig(route=twice).connect()
        peer.send(request())
        expected = (
            b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
            b"HTTP/1.1 104 Something New\r\n\r\nHTTP/1.1 200 OK\r\n"
        )
        self.assertTrue(peer.received.startswith(expected), peer.received)
        self.assertTrue(peer.received.endswith(b"\r\n\r\ndone"), peer.received)

    def test_http_1_0(self) -> None:
        """A peer of HTTP/1.0 gets none."""
        peer = Rig(route=twice).connect()
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(peer.received.count(b"HTTP/1.1 "), 1)

    def test_http_2(self) -> None:
        """They come as heads of their own on the stream of the answer."""
        peer = Peer2(Rig(route=twice))
        answer = peer.ask((*GET, (":path", "/")))
        self.assertEqual((answer.status, answer.informational, answer.body), (200, [103, 104], b"done"))
        first = next(one for one in peer.events if isinstance(one, InformationalResponseReceived))
        self.assertEqual(dict(first.headers or ())[b"link"], FIELDS[0][1])

    def test_one_that_cannot_be_sent(self) -> None:
        """A field that would break the message is an error of ours, and nothing of it is sent."""
        said: list[Exception] = []

        def route(exchange: Any) -> None:
            try:
                exchange.inform(103, ((b"A", b"b\r\nc"),), None)
            except ValueError as error:
                said.append(error)
            exchange.answer(204, (), b"")

        self.assertEqual(Rig(route=route).get("/").status, 204)
        self.assertEqual(len(said), 1)
