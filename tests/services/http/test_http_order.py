"""One connection: requests and answers in order, what persists, what half-closes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import http_date
from tests.services.http.http_rig import NOW, Rig, Sink, hello, request, wait
from tests.services.http.test_http_wire import FRAGMENTS


class OrderTests(SynchronousTestCase):
    def test_core_06_pipelined_answers_in_order(self) -> None:
        """Pipelined requests are answered in order; a later one does not begin before the one before is answered."""
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request("/1") + request("/2") + request("/3"))
        self.assertEqual(len(rig.exchanges), 1)
        for at in range(3):
            hello(rig.exchanges[at])
        self.assertEqual([one.body for one in peer.answers()], [b"/1", b"/2", b"/3"])
        self.assertFalse(peer.transport.closed)

    def test_core_06_many_pipelined(self) -> None:
        """A thousand pipelined requests take no thousand frames of the stack."""
        rig = Rig(route=hello)
        peer = rig.connect()
        peer.send(request("/") * 1000)
        self.assertEqual(len(peer.answers()), 1000)

    def test_core_06_close(self) -> None:
        """After Connection: close nothing more is read; HTTP/1.0 closes unless it asks to be kept."""
        rig = Rig(route=hello)
        peer = rig.connect()
        peer.send(request("/1", "Connection: foo, close") + request("/2"))
        (answer,) = peer.answers()
        self.assertEqual(answer.headers[b"connection"], b"close")
        self.assertTrue(peer.transport.closed)
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(peer.transport.closed)
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertEqual(peer.answers()[0].headers[b"connection"], b"keep-alive")
        self.assertFalse(peer.transport.closed)

    def test_core_06_unknown_length(self) -> None:
        """An answer of unknown length is chunked in 1.1 and ended by closing in 1.0."""

        def stream(exchange: Any) -> None:
            exchange.begin(200, ())
            exchange.write(b"a")
            exchange.write(b"")
            exchange.write(b"bc")
            exchange.finish()

        rig = Rig(route=stream)
        peer = rig.connect()
        peer.send(request())
        self.assertTrue(peer.received.endswith(b"\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"))
        self.assertFalse(peer.transport.closed)
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertTrue(peer.received.endswith(b"\r\n\r\nabc"))
        self.assertEqual(peer.answers()[0].headers[b"connection"], b"close")
        self.assertTrue(peer.transport.closed)
        self.assertEqual(rig.ask(request(method="HEAD"), "HEAD")[0].headers[b"transfer-encoding"], b"chunked")

    def test_core_06_half_closed_peer_gets_its_answers(self) -> None:
        """A peer that half-closes after its requests gets every answer, whole; then the connection ends."""
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request("/1") + request("/2"))
        peer.half_close()
        self.assertFalse(peer.transport.closed)
        rig.exchanges[0].begin(200, ())
        rig.exchanges[0].write(b"1")
        self.assertFalse(peer.transport.closed)
        rig.exchanges[0].finish()
        hello(rig.exchanges[1])
        self.assertEqual([one.body for one in peer.answers()], [b"1", b"/2"])
        self.assertTrue(peer.transport.disconnecting)

    def test_core_06_half_closed_early(self) -> None:
        """A half-close before or within a head ends the connection; within a body the answer is 400."""
        rig = Rig(route=hello)
        for data in (b"", b"GET / HT"):
            peer = rig.connect()
            peer.send(data) if data else None
            peer.half_close()
            self.assertTrue(peer.transport.disconnecting)
            self.assertEqual(peer.received, b"")
        sink = Sink()
        rig = Rig(route=lambda exchange: exchange.receive_body(sink))
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", method="POST", body=b"ab"))
        peer.half_close()
        self.assertEqual(peer.statuses, [400])
        self.assertEqual((sink.data, sink.said), (b"ab", ["lost"]))
        self.assertTrue(peer.transport.disconnecting)

    def test_core_08_head_equals_get(self) -> None:
        """HEAD has the header fields of GET and no body."""

        def both(exchange: Any) -> None:
            exchange.begin(200, ((b"A", b"b"),), 5)
            exchange.write(b"hello")
            self.assertIsNone(
                self.successResultOf(exchange.send_file(0, 0, 5)) if exchange.head.method == "HEAD" else None
            )
            exchange.finish()

        for route in (both, hello):
            rig = Rig(route=route)
            get = rig.get("/")
            head = rig.get("/", method="HEAD")
            self.assertEqual(get.headers, head.headers)
            self.assertEqual(head.body, b"")

    def test_core_08_date_and_server(self) -> None:
        """Every answer has a Date, errors too; Server says what it is told to, or is absent."""
        rig = Rig(route=hello, server="x/1")
        for answer in rig.ask(request()) + rig.ask(b"nonsense\r\n"):
            self.assertEqual(answer.headers[b"date"], http_date(NOW))
            self.assertEqual(answer.headers[b"server"], b"x/1")
        self.assertNotIn(b"server", Rig(route=hello, server="").get("/").headers)

    def test_core_08_errors_have_pages(self) -> None:
        """Every error answer has header fields and a small page with the request's id; none answers a HEAD with one."""
        rig = Rig(route=hello)
        (answer,) = rig.ask(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.headers[b"content-type"], b"text/html; charset=utf-8")
        self.assertEqual(answer.headers[b"x-content-type-options"], b"nosniff")
        self.assertEqual(answer.headers[b"connection"], b"close")
        self.assertIn(b"Request ", answer.body)
        self.assertEqual(rig.ask(b"HEAD / HTTP/1.1\r\n\r\n", "HEAD")[0].status, 400)


class PropertyTests(SynchronousTestCase):
    @given(st.lists(FRAGMENTS, max_size=24), st.integers(1, 60), st.booleans())
    @settings(derandomize=True, deadline=None, max_examples=400)
    def test_any_octets(self, parts: list[bytes], size: int, half: bool) -> None:
        """Any octets, however cut: answers that can be read, and no error of ours."""
        data = b"".join(parts)
        found = []
        for step in (size, len(data) or 1):
            peer = Rig(route=hello).connect()
            for at in range(0, len(data), step):
                peer.send(data[at : at + step])
            if half:
                peer.half_close()
                self.assertTrue(peer.transport.closed)
            peer.wait(100.0)
            self.assertTrue(peer.transport.closed)
            found.append([line[:12] for line in peer.received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")])
            peer.leave()
        self.assertEqual(found[0], found[1])
        self.assertEqual(self.flushLoggedErrors(), [])
