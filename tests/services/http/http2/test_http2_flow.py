"""HTTP/2: bodies, windows, turns, and the peer that goes."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.sendfile import READ_BLOCK, FileShrankError
from netsvc.services.http.http2.exchange import HIGH_WATER
from tests.services.http.http2.h2_rig import ErrorCodes, Peer2
from tests.services.http.http_rig import Rig, Sink, hello, wait

KIB = 1 << 10


class Spring:
    """A push producer that counts what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def stopProducing(self) -> None:
        self.said.append("stop")


class BodyTests(SynchronousTestCase):
    def post(self, route: Any, *fields: tuple[str, str], **options: Any) -> tuple[Peer2, int]:
        """A POST whose body is still to come."""
        peer = Peer2(Rig(route=route, **options))
        return peer, peer.open("/", *fields, method="POST", end=False)

    def test_cgi_04_body(self) -> None:
        """A body arrives whole, with and without a length; trailers are dropped."""
        for fields in ((), (("content-length", "6"),)):
            sink = Sink()
            peer, stream = self.post(lambda one, sink=sink: one.receive_body(sink), *fields)
            peer.data(stream, b"abc")
            peer.data(stream, b"")
            peer.data(stream, b"def")
            peer.h2.send_headers(stream, ((b"x-trailer", b"1"),), end_stream=True)
            peer.flush()
            self.assertEqual((sink.data, sink.said), (b"abcdef", ["finished"]))
            self.assertEqual(peer.rig.exchanges[0].head.first(b"x-trailer"), None)
            peer.rig.exchanges[0].answer(200, (), b"ok")
            peer.read()
            self.assertEqual((peer.answers[stream].body, peer.answers[stream].reset), (b"ok", None))

    def test_cgi_04_no_body(self) -> None:
        """Without a body it is whole at once; a body that came before it was asked for is delivered then."""
        sink = Sink()
        Peer2(Rig(route=lambda one: one.receive_body(sink))).open()
        self.assertEqual(sink.said, ["finished"])
        peer, stream = self.post(wait)
        peer.data(stream, b"abc", end=True)
        sink = Sink()
        peer.rig.exchanges[0].receive_body(sink)
        self.assertEqual((sink.data, sink.said), (b"abc", ["finished"]))

    def test_core_04_length(self) -> None:
        """A body that is longer or shorter than its Content-Length resets its stream, and no other."""
        for octets in (b"abcd", b"ab"):
            sink = Sink()
            peer, stream = self.post(lambda one, sink=sink: one.receive_body(sink), ("content-length", "3"))
            peer.data(stream, octets, end=True)
            self.assertEqual(peer.answers[stream].reset, ErrorCodes.PROTOCOL_ERROR)
            self.assertEqual(sink.said, ["lost"])
            self.assertEqual(peer.goaways, [])
            self.successResultOf(peer.rig.exchanges[0].lost)

    def test_core_11_body_limit(self) -> None:
        """A body over max_body is 413, declared or not; the rest of it is not wanted."""
        sink = Sink()
        for fields in ((), (("content-length", "11"),)):
            peer, stream = self.post(lambda one: one.receive_body(sink), *fields, max_body=10)
            if not fields:
                peer.data(stream, b"a" * 11)
            self.assertEqual(peer.answers[stream].status, 413)
            self.assertEqual(peer.answers[stream].reset, ErrorCodes.NO_ERROR)
        self.assertEqual(sink.said, ["lost"])

    def test_cgi_04_back_pressure(self) -> None:
        """A peer may send what the window holds; it is opened again only as the body is taken."""
        window = 64 * KIB
        sink = Sink()

        def route(exchange: Any) -> None:
            exchange.receive_body(sink)
            exchange.pause_body()

        peer, stream = self.post(route, http2_body_window=window)
        exchange = peer.rig.exchanges[0]
        for _ in range(window // (16 * KIB)):
            peer.data(stream, b"a" * 16 * KIB)
        self.assertEqual(peer.h2.local_flow_control_window(stream), 0)
        self.assertEqual(sink.data, b"")
        exchange.resume_body()
        peer.read()
        self.assertEqual(len(sink.data), window)
        self.assertEqual(peer.h2.local_flow_control_window(stream), window)
        exchange.pause_body()
        peer.data(stream, b"b" * KIB, end=True)
        self.assertEqual(sink.said, [])
        exchange.resume_body()
        self.assertEqual(sink.said, ["finished"])

    def test_core_11_window_overrun(self) -> None:
        """A peer that sends more than the window lets it ends the connection with FLOW_CONTROL_ERROR."""
        peer, stream = self.post(wait, http2_body_window=64 * KIB)
        for _ in range(5):
            peer.raw(b"\x00\x40\x00\x00\x00" + stream.to_bytes(4, "big") + bytes(16 * KIB))
        self.assertEqual(peer.error, ErrorCodes.FLOW_CONTROL_ERROR)

    def test_cgi_04_long_body(self) -> None:
        """A body of many windows arrives whole, padding and all, on a connection that carries many."""
        sink = Sink()
        peer, stream = self.post(lambda one: one.receive_body(sink), http2_body_window=64 * KIB)
        for at in range(200):
            peer.h2.send_data(stream, bytes((at,)) * 10_000, pad_length=at % 256)
            peer.flush()
        peer.data(stream, b"", end=True)
        self.assertEqual(sink.data, b"".join(bytes((at,)) * 10_000 for at in range(200)))

    def test_core_06_early_answer(self) -> None:
        """An answer before the end of the body is whole; the rest of the body is refused with NO_ERROR, and dropped."""
        peer, stream = self.post(hello)
        self.assertEqual((peer.answers[stream].body, peer.answers[stream].ended), (b"/", True))
        self.assertEqual(peer.answers[stream].reset, ErrorCodes.NO_ERROR)
        late = b"\x00\x40\x00\x00\x00" + stream.to_bytes(4, "big") + bytes(16 * KIB)
        for _ in range(100):
            peer.raw(late)
        self.assertEqual(peer.goaways, [])
        self.assertEqual(peer.get("/2").body, b"/2")

    def test_cgi_06_body_while_answering(self) -> None:
        """A route may answer while the body still comes."""
        sink = Sink()

        def route(exchange: Any) -> None:
            exchange.receive_body(sink)
            exchange.begin(200, ())
            exchange.write(b"a")

        peer, stream = self.post(route)
        self.assertEqual(peer.answers[stream].body, b"a")
        peer.data(stream, b"123", end=True)
        peer.rig.exchanges[0].finish()
        peer.read()
        self.assertEqual((sink.data, peer.answers[stream].ended, peer.answers[stream].reset), (b"123", True, None))


class SendingTests(SynchronousTestCase):
    def test_cgi_06_stream_window(self) -> None:
        """A producer is paused while its stream's window is shut, and resumed when it opens; others go on."""
        spring = Spring()

        def route(exchange: Any) -> None:
            if exchange.head.path != b"/long":
                hello(exchange)
                return
            exchange.begin(200, ())
            exchange.register_producer(spring, True)
            exchange.write(b"a" * (HIGH_WATER + 1))

        peer = Peer2(Rig(route=route), takes=False, window=1000)
        stream = peer.open("/long")
        self.assertEqual((len(peer.answers[stream].body), spring.said), (1000, ["pause"]))
        self.assertEqual(peer.get("/short").body, b"/short")
        peer.h2.increment_flow_control_window(HIGH_WATER, stream)
        peer.h2.increment_flow_control_window(HIGH_WATER)
        peer.flush()
        self.assertEqual(spring.said, ["pause", "resume"])
        self.assertEqual(len(peer.answers[stream].body), HIGH_WATER + 1)
        peer.rig.exchanges[0].unregister_producer()
        peer.rig.exchanges[0].finish()
        peer.read()
        self.assertTrue(peer.answers[stream].ended)

    def test_cgi_06_settings_open_windows(self) -> None:
        """A new initial window of the peer opens the windows of its streams."""
        peer = Peer2(Rig(route=lambda one: one.answer(200, (), b"a" * 2000)), takes=False, window=0)
        stream = peer.open()
        self.assertEqual(peer.answers[stream].body, b"")
        peer.h2.update_settings({4: 5000})
        peer.flush()
        self.assertEqual((len(peer.answers[stream].body), peer.answers[stream].ended), (2000, True))

    def test_core_06_turns(self) -> None:
        """Streams take turns, a frame each: a short answer does not wait for a long one."""
        peer = Peer2(Rig(route=lambda one: one.answer(200, (), one.head.path * (64 * KIB))))
        peer.transport.blocked = True
        peer.transport.dataBuffer = b"x" * (1 << 17)
        peer.protocol.pauseProducing()
        streams = [peer.open("/"), peer.open("/"), peer.open("/")]
        peer.transport.dataBuffer = peer.transport.dataBuffer[1 << 17 :]
        peer.events.clear()
        peer.unblock()
        order = [event.stream_id for event in peer.events if type(event).__name__ == "DataReceived"]
        self.assertEqual(order[:3], streams)
        for stream in streams:
            self.assertEqual(peer.answers[stream].body, b"/" * (64 * KIB))

    def test_core_11_transport_full(self) -> None:
        """While the transport is full nothing more is made for it: a long file waits in the file."""
        root = tempfile.mkdtemp()
        with open(os.path.join(root, "big"), "wb") as file:
            file.write(b"a" * (1 << 23))
        peer = Peer2(Rig(root), window=(1 << 31) - 1)
        peer.h2.increment_flow_control_window(1 << 30)
        peer.flush()
        peer.transport.blocked = True
        stream = peer.open("/big")
        self.assertLess(len(peer.transport.dataBuffer), 1 << 18)
        self.assertLessEqual(peer.rig.exchanges[0].waiting, READ_BLOCK)
        while not peer.answers.get(stream) or not peer.answers[stream].ended:
            self.assertLess(len(peer.transport.dataBuffer), 1 << 18)
            peer.unblock()
            peer.transport.blocked = False
        self.assertEqual(len(peer.answers[stream].body), 1 << 23)

    def test_static_file_shrinks(self) -> None:
        """A file that shrinks while it is sent cuts its answer visibly."""
        with tempfile.TemporaryFile() as file:
            file.write(b"a" * 1000)
            file.flush()
            results: list[Deferred[None]] = []

            def route(exchange: Any) -> None:
                exchange.begin(200, (), 2000)
                results.append(exchange.send_file(file.fileno(), 0, 2000))

            answer = Peer2(Rig(route=route)).get()
        self.assertEqual((answer.reset, answer.ended), (ErrorCodes.INTERNAL_ERROR, False))
        self.failureResultOf(results[0], FileShrankError)

    def test_static_no_file(self) -> None:
        """Nothing is sent of a file for HEAD, or when there is nothing to be sent."""

        def route(exchange: Any) -> None:
            exchange.begin(200, (), 0)
            self.successResultOf(exchange.send_file(-1, 0, 0))
            exchange.finish()

        self.assertTrue(Peer2(Rig(route=route)).get().ended)
        self.assertTrue(Peer2(Rig(route=route)).get(method="HEAD").ended)

    def test_cgi_06_pull_producer(self) -> None:
        """A pull producer is asked whenever there is room."""

        class Pulled:
            left = 5

            def __init__(self, exchange: Any) -> None:
                self.exchange = exchange

            def resumeProducing(self) -> None:
                self.left -= 1
                self.exchange.write(b"a" * 20_000)
                if not self.left:
                    self.exchange.unregister_producer()
                    self.exchange.finish()

            def stopProducing(self) -> None:
                raise AssertionError

        def route(exchange: Any) -> None:
            exchange.begin(200, ())
            exchange.register_producer(Pulled(exchange), False)

        answer = Peer2(Rig(route=route)).get()
        self.assertEqual((len(answer.body), answer.ended), (100_000, True))


class LeavingTests(SynchronousTestCase):
    def test_cgi_08_reset(self) -> None:
        """A stream that its peer resets is lost to its route: producer stopped, body lost; others live."""
        sink, spring = Sink(), Spring()

        def route(exchange: Any) -> None:
            if exchange.head.path == b"/":
                exchange.receive_body(sink)
                exchange.begin(200, ())
                exchange.register_producer(spring, True)

        rig = Rig(route=route)
        peer = Peer2(rig)
        stream = peer.open(method="POST", end=False)
        other = peer.open("/other")
        lost = rig.exchanges[0].lost
        self.assertNoResult(lost)
        peer.h2.reset_stream(stream, ErrorCodes.CANCEL)
        peer.flush()
        self.successResultOf(lost)
        self.successResultOf(rig.exchanges[0].lost)
        self.assertEqual((sink.said, spring.said), (["lost"], ["stop"]))
        gone = rig.exchanges[0]
        gone.write(b"x")
        gone.finish()
        gone.abort()
        gone.refuse(500)
        gone.answer(200, (), b"")
        gone.begin(200, ())
        gone.send_continue()
        gone.receive_body(sink)
        gone.register_producer(spring, True)
        self.assertEqual((sink.said, spring.said), (["lost", "lost"], ["stop", "stop"]))
        hello(rig.exchanges[1])
        peer.read()
        self.assertEqual(peer.answers[other].body, b"/other")

    def test_cgi_08_reset_of_file(self) -> None:
        """A file whose stream is reset is given up with a ConnectionError."""
        results: list[Deferred[None]] = []
        with tempfile.TemporaryFile() as file:
            file.write(b"a" * 200_000)
            file.flush()

            def route(exchange: Any) -> None:
                exchange.begin(200, (), 200_000)
                results.append(exchange.send_file(file.fileno(), 0, 200_000))

            peer = Peer2(Rig(route=route), takes=False)
            stream = peer.open()
            self.assertNoResult(results[0])
            peer.h2.reset_stream(stream, ErrorCodes.CANCEL)
            peer.flush()
        self.failureResultOf(results[0], ConnectionError)

    def test_core_06_half_close(self) -> None:
        """A peer that has closed its half gets the answers that it asked for; then the connection ends."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        stream = peer.open("/1")
        cut = peer.open("/2", method="POST", end=False)
        peer.protocol.readConnectionLost()
        peer.read()
        self.assertEqual(peer.answers[cut].status, 400)
        self.assertFalse(peer.transport.disconnecting)
        hello(rig.exchanges[0])
        peer.read()
        self.assertEqual(peer.answers[stream].body, b"/1")
        self.assertTrue(peer.transport.disconnecting)
        peer.protocol.readConnectionLost()
        peer.protocol.writeConnectionLost()
        peer.leave()

    def test_core_06_connection_lost(self) -> None:
        """When the connection ends every route hears of it once."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        peer.open("/1")
        peer.open("/2")
        found = [one.lost for one in rig.exchanges]
        peer.protocol.stopProducing()
        peer.leave()
        for one in found:
            self.successResultOf(one)
        hello(rig.exchanges[0])

    def test_core_06_goaway_of_peer(self) -> None:
        """After a GOAWAY of its peer a connection ends with its last stream."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        stream = peer.open("/1")
        peer.raw(b"\0\0\x08\x07\0\0\0\0\0" + bytes(8))
        self.assertFalse(peer.transport.disconnecting)
        hello(rig.exchanges[0])
        peer.read()
        self.assertEqual(peer.answers[stream].body, b"/1")
        self.assertTrue(peer.transport.disconnecting)

    def test_core_06_drain(self) -> None:
        """A service that stops says so, a tick later refuses what comes, and ends with the last answer."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        peer.open("/1")
        rig.factory.drain()
        rig.factory.drain()
        peer.read()
        self.assertEqual(peer.goaways, [((1 << 31) - 1, 0)])
        peer.open("/2")
        hello(rig.exchanges[0])
        peer.wait(1)
        self.assertEqual(peer.goaways[-1], (3, 0))
        self.assertFalse(peer.transport.disconnecting)
        hello(rig.exchanges[1])
        peer.read()
        self.assertEqual([one.body for one in peer.answers.values()], [b"/1", b"/2"])
        self.assertTrue(peer.transport.disconnecting)

    def test_core_06_drain_refuses(self) -> None:
        """What comes after the last GOAWAY is refused, so that the peer may ask again elsewhere."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        peer.open("/1")
        rig.factory.drain()
        rig.clock.advance(1)
        peer.open("/2")
        self.assertEqual(len(rig.exchanges), 1)
        self.assertEqual(peer.answers[3].reset, ErrorCodes.REFUSED_STREAM)
