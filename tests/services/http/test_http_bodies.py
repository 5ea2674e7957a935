"""Bodies of requests: delivered, dropped, refused, with back-pressure."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.services.http.http_rig import Rig, Sink, hello, request, wait


class BodyTests(SynchronousTestCase):
    def test_body_is_delivered(self) -> None:
        """A body comes decoded, as it arrives, whatever its framing, then its end; then the next request."""
        for data in (
            request("/", "Content-Length: 5", method="POST", body=b"hello"),
            request("/", "Transfer-Encoding: chunked", method="POST", body=b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ):
            sink = Sink()
            rig = Rig(route=lambda exchange, sink=sink: exchange.receive_body(sink))
            peer = rig.connect()
            for at in range(len(data)):
                peer.send(data[at : at + 1])
            self.assertEqual((sink.data, sink.said), (b"hello", ["finished"]))
            hello(rig.exchanges[0])
            peer.send(request())
            self.assertEqual(len(rig.exchanges), 2)

    def test_no_body(self) -> None:
        """Without a body its end comes at once."""
        sink = Sink()
        Rig(route=lambda exchange: exchange.receive_body(sink)).ask(request())
        self.assertEqual(sink.said, ["finished"])

    def test_core_06_unread_body_is_drained(self) -> None:
        """A short body that nobody wants is dropped and the connection kept, early answer or late."""
        rig = Rig(route=hello)
        peer = rig.connect()
        peer.send(request("/1", "Content-Length: 5", method="POST", body=b"he"))
        peer.send(b"llo" + request("/2"))
        self.assertEqual([one.body for one in peer.answers()], [b"/1", b"/2"])

    def test_core_06_long_unread_body_closes(self) -> None:
        """A long body, or one of unknown length, that nobody wants closes the connection; what comes is dropped."""
        for field in ("Content-Length: 100000", "Transfer-Encoding: chunked"):
            rig = Rig(route=hello)
            peer = rig.connect()
            peer.send(request("/", field, method="POST", body=b"5\r\nhello\r\n"))
            self.assertEqual(peer.answers()[0].headers[b"connection"], b"close")
            self.assertTrue(peer.transport.closed)
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(len(rig.exchanges), 1)

    def test_core_06_answer_before_the_body_is_read(self) -> None:
        """A route that took some of a body and answers: the short rest is dropped, a long rest closes."""
        for length, closed in ((50, False), (200_000, True)):
            sink = Sink()
            rig = Rig(route=lambda exchange, sink=sink: exchange.receive_body(sink))
            peer = rig.connect()
            peer.send(request("/", f"Content-Length: {length}", method="POST", body=b"x"))
            hello(rig.exchanges[0])
            self.assertIs(peer.transport.closed, closed)
            peer.send(b"x" * (length - 1))
            self.assertEqual((sink.data, sink.said), (b"x", []))
            peer.send(request())
            self.assertEqual(len(rig.exchanges), 1 if closed else 2)

    def test_core_06_half_close_in_a_dropped_body(self) -> None:
        """A peer that half-closes in a body that nobody wants has its answer, and the connection ends."""
        peer = Rig(route=hello).connect()
        peer.send(request("/", "Content-Length: 5", method="POST", body=b"he"))
        peer.half_close()
        self.assertEqual(peer.statuses, [200])
        self.assertTrue(peer.transport.disconnecting)

    def test_body_too_large(self) -> None:
        """A declared body past max_body is 413 at once; a chunked one as soon as it is past it."""
        rig = Rig(route=hello, max_body=10)
        self.assertEqual(rig.ask(request("/", "Content-Length: 11", method="POST"))[0].status, 413)
        sink = Sink()
        rig = Rig(route=lambda exchange: exchange.receive_body(sink), max_body=10)
        peer = rig.connect()
        peer.send(request("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n6\r\nworld!\r\n"))
        self.assertEqual(peer.statuses, [413])
        self.assertEqual((sink.data, sink.said), (b"hello", ["lost"]))
        self.assertTrue(peer.transport.closed)

    def test_broken_body_after_the_answer_began(self) -> None:
        """A body that breaks a rule while its answer is under way cuts the answer; after it, the connection."""
        sink = Sink()

        def begin(exchange: Any) -> None:
            exchange.receive_body(sink)
            exchange.begin(200, ())
            exchange.write(b"x")

        rig = Rig(route=begin)
        peer = rig.connect()
        peer.send(request("/", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n"))
        self.assertTrue(peer.transport.closed)
        self.assertEqual(sink.said, ["lost"])
        self.assertFalse(peer.received.endswith(b"0\r\n\r\n"))
        rig = Rig(route=lambda exchange: None)
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", "Connection: keep-alive", method="POST"))
        rig.exchanges[0].begin(200, ())
        rig.exchanges[0].lost.addCallback(lambda _: sink.said.append("gone"))
        peer.half_close()
        self.assertTrue(peer.transport.closed)
        self.assertEqual(sink.said, ["lost", "gone"])

    def test_core_07_continue(self) -> None:
        """100 Continue is sent once, when the body is asked for, unless it already comes."""
        sink = Sink()
        rig = Rig(route=lambda exchange: exchange.receive_body(sink))
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        self.assertEqual(peer.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        rig.exchanges[0].send_continue()
        peer.send(b"hello")
        hello(rig.exchanges[0])
        self.assertEqual(peer.statuses, [200])
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST", body=b"h"))
        self.assertEqual(peer.received, b"")

    def test_core_07_final_status_instead_of_continue(self) -> None:
        """A request that is refused gets its final status and no 100, and the connection is closed."""
        rig = Rig(route=lambda exchange: exchange.refuse(405))
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        self.assertTrue(peer.received.startswith(b"HTTP/1.1 405 "))
        self.assertNotIn(b"100 Continue", peer.received)
        self.assertTrue(peer.transport.closed)

    def test_core_07_no_continue_to_1_0(self) -> None:
        """A peer of 1.0 gets no 100."""
        rig = Rig(route=lambda exchange: exchange.receive_body(Sink()))
        peer = rig.connect()
        peer.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(peer.received, b"")

    def test_back_pressure_on_the_body(self) -> None:
        """A paused body is not read on; what was read is kept, and comes when it is resumed."""
        sink = Sink()
        rig = Rig(route=lambda exchange: exchange.receive_body(sink))
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 10", method="POST", body=b"he"))
        exchange = rig.exchanges[0]
        exchange.pause_body()
        self.assertEqual(peer.transport.producerState, "paused")
        peer.send(b"llo")
        self.assertEqual(sink.data, b"he")
        exchange.resume_body()
        exchange.resume_body()
        self.assertEqual(sink.data, b"hello")
        self.assertEqual(peer.transport.producerState, "producing")

    def test_pause_while_it_is_delivered(self) -> None:
        """A receiver may pause the body from within."""

        class Slow(Sink):
            def body_received(self, data: bytes) -> None:
                super().body_received(data)
                rig.exchanges[0].pause_body()

        sink = Slow()
        rig = Rig(route=lambda exchange: exchange.receive_body(sink))
        peer = rig.connect()
        body = b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
        peer.send(request("/", "Transfer-Encoding: chunked", method="POST"))
        for at in range(len(body)):
            peer.send(body[at : at + 1])
        self.assertEqual(sink.data, b"a")
        rig.exchanges[0].resume_body()
        self.assertEqual(sink.data, b"ab")
        rig.exchanges[0].resume_body()
        self.assertEqual(sink.said, ["finished"])

    def test_unclaimed_input_is_bounded(self) -> None:
        """While a request is being answered the peer is read up to a bound, then not."""
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request() + b"x" * 60_000)
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(b"x" * 60_000)
        self.assertEqual(peer.transport.producerState, "paused")
