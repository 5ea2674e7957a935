"""What a route may do with an exchange, and what is recorded of it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.protocol import host_and_port
from netsvc.services.http.site.style import AnswerStyle
from tests.services.http.http_rig import Rig, Sink, Transport, hello, request, wait


class AnswerTests(SynchronousTestCase):
    def test_length_is_kept(self) -> None:
        """Never more than the length is sent; less breaks the connection."""

        def too_much(exchange: Any) -> None:
            exchange.begin(200, (), 3)
            exchange.write(b"ab")
            exchange.write(b"cde")
            exchange.write(b"f")
            exchange.finish()

        self.assertEqual(Rig(route=too_much).get("/").body, b"abc")

        def too_little(exchange: Any) -> None:
            exchange.begin(200, (), 3)
            exchange.write(b"ab")
            exchange.finish()

        peer = Rig(route=too_little).connect()
        peer.send(request())
        self.assertTrue(peer.transport.closed)

    def test_broken_off(self) -> None:
        """What was written before a break arrives where a missing end shows; elsewhere a reset tells that it is one."""

        def broken(exchange: Any) -> None:
            exchange.register_producer(mock.Mock(), True)
            exchange.begin(200, ())
            exchange.write(b"some")
            exchange.abort()

        peer = Rig(route=broken).connect()
        peer.send(request())
        self.assertTrue(peer.transport.value().endswith(b"\r\n\r\n4\r\nsome\r\n"))
        self.assertEqual((peer.transport.closed, peer.transport.aborted), (True, False))
        peer = Rig(route=broken).connect()
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(peer.transport.aborted)

    def test_calls_in_the_wrong_order(self) -> None:
        """A second head, and anything after the end, does nothing; an error after the head cuts the answer."""

        def confused(exchange: Any) -> None:
            exchange.write(b"x")
            exchange.finish()
            exchange.begin(200, (), 1)
            exchange.begin(201, (), 1)
            exchange.answer(201, (), b"")
            exchange.write(b"a")
            exchange.finish()
            exchange.finish()
            exchange.refuse(500)
            exchange.abort()
            exchange.unregister_producer()
            exchange.register_producer(producer, True)
            exchange.write(b"b")
            exchange.send_continue()

        producer = mock.Mock()
        rig = Rig(route=confused)
        peer = rig.connect()
        peer.send(request())
        self.assertEqual([(one.status, one.body) for one in peer.answers()], [(200, b"a")])
        producer.stopProducing.assert_called_once_with()
        self.assertFalse(peer.transport.closed)
        rig = Rig(route=lambda exchange: (exchange.begin(200, (), 1), exchange.refuse(500)))
        peer = rig.connect()
        peer.send(request())
        self.assertTrue(peer.transport.closed)

    def test_unsendable_fields_of_a_place(self) -> None:
        """Fields of a place that would split every answer cost it those fields, once: 500, and no endless errors."""

        def styled(exchange: Any) -> None:
            exchange.style = AnswerStyle(fields=((b"A", b"b\r\nC: d"),))
            exchange.answer(200, (), b"x")

        answer = Rig(route=styled).get("/")
        self.assertEqual((answer.status, b"c" in answer.headers), (500, False))

    def test_unsendable_fields(self) -> None:
        """A field that would split the answer is a 500, logged."""
        bad = ((b"A", b"b\r\nC: d"),)
        for route in (lambda exchange: exchange.answer(200, bad, b""), lambda exchange: exchange.begin(200, bad)):
            self.assertEqual(Rig(route=route).get("/").status, 500)

    def test_a_fault_of_ours(self) -> None:
        """A route that raises is a 500, logged, and the connection goes on."""

        def broken(exchange: Any) -> None:
            raise RuntimeError("broken")

        rig = Rig(route=broken)
        peer = rig.connect()
        peer.send(request() + request())
        self.assertEqual(peer.statuses, [500, 500])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_producers(self) -> None:
        """A producer is the transport's until the answer ends; it is stopped when the peer leaves."""
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request() + request())
        producer = mock.Mock()
        exchange = rig.exchanges[0]
        exchange.begin(200, ())
        exchange.register_producer(producer, True)
        self.assertIs(peer.transport.producer, producer)
        exchange.unregister_producer()
        self.assertIsNone(peer.transport.producer)
        exchange.finish()
        rig.exchanges[1].begin(200, ())
        rig.exchanges[1].register_producer(producer, True)
        peer.leave()
        producer.stopProducing.assert_called_once_with()

    def test_peer_leaves(self) -> None:
        """When the peer leaves, `lost` fires, the body is lost, and later calls do nothing."""
        sink = Sink()
        rig = Rig(route=lambda exchange: exchange.receive_body(sink))
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", method="POST", body=b"he"))
        exchange = rig.exchanges[0]
        lost: list[Any] = []
        exchange.lost.addCallback(lost.append)
        peer.leave(clean=False)
        self.assertEqual((lost, sink.said), ([None], ["lost"]))
        before = peer.received
        hello(exchange)
        exchange.begin(200, ())
        exchange.refuse(500)
        exchange.finish()
        late = Sink()
        exchange.receive_body(late)
        self.assertEqual(late.said, ["lost"])
        self.assertEqual(peer.received, before)
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request())
        peer.leave()
        self.successResultOf(rig.exchanges[0].lost)

    def test_peer_leaves_when_all_is_said(self) -> None:
        """An answer that is complete is not lost."""
        rig = Rig(route=hello)
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", method="POST"))
        peer.leave()
        self.assertNoResult(rig.exchanges[0].lost)

    def test_what_an_exchange_knows(self) -> None:
        """Peer, local address, TLS, and a request id of its own."""
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request())
        exchange = rig.exchanges[0]
        self.assertEqual(exchange.peer, ("192.0.2.7", 40000))
        self.assertEqual(exchange.local, ("127.0.0.1", 8000))
        self.assertFalse(exchange.secure)
        self.assertEqual(exchange.request_id, exchange.request_id)
        self.assertRegex(exchange.request_id, r"\A[0-9a-f]{12}\Z")
        self.assertEqual(host_and_port(UNIXAddress(None)), ("", 0))

    def test_what_an_exchange_knows_of_tls(self) -> None:
        """Whether the connection is TLS, however its transport says so."""
        rig = Rig(route=wait)
        with mock.patch.object(Transport, "TLS", True, create=True):
            rig.connect().send(request())
        self.assertTrue(rig.exchanges[0].secure)


class RecordTests(SynchronousTestCase):
    def events(self, rig: Rig, data: bytes, *, leave: bool = False) -> list[dict[str, Any]]:
        from twisted.logger import globalLogPublisher

        seen: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(seen.append)
        try:
            peer = rig.connect()
            peer.send(data)
            if leave:
                peer.leave()
        finally:
            globalLogPublisher.removeObserver(seen.append)
        return [event for event in seen if str(event.get("event", "")).startswith("http-")]

    def test_access_log(self) -> None:
        """Every request is logged with its peer, method, target, status and octets; so is what was no request."""
        (event,) = self.events(Rig(route=hello), request("/a?b"))
        self.assertEqual(
            [event[key] for key in ("event", "peer", "method", "target", "status", "octets")],
            ["http-request", "192.0.2.7", "GET", "/a?b", 200, 2],
        )
        (event,) = self.events(Rig(route=hello), b"nonsense\r\n")
        self.assertEqual((event["event"], event["status"]), ("http-bad-request", 400))
        self.assertEqual(self.events(Rig(route=hello, access_log=False), request() + b"nonsense\r\n"), [])

    def test_aborted_requests_are_logged_as_such(self) -> None:
        """An answer that was cut is logged as aborted, by whoever cut it."""
        (event,) = self.events(Rig(route=wait), request(), leave=True)
        self.assertEqual(event["event"], "http-request-aborted")
        (event,) = self.events(Rig(route=lambda exchange: exchange.abort()), request(), leave=True)
        self.assertEqual(event["event"], "http-request-aborted")

    def test_metrics(self) -> None:
        """Requests are counted by status once a tick, and timed."""
        rig = Rig(route=hello)
        peer = rig.connect()
        peer.send(request() + request() + b"nonsense\r\n")
        peer.wait(1.0)
        counted = rig.metrics.metrics["http_requests"].values
        self.assertEqual(counted[("service", "http"), ("status", "200")], 2)
        self.assertEqual(counted[("service", "http"), ("status", "400")], 1)
        self.assertIn((("service", "http"),), rig.metrics.metrics["http_request_seconds"].values)
