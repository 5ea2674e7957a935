"""Deadlines, slow peers, and how a connection ends."""

from __future__ import annotations

import socket
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http import protocol as protocol_module
from netsvc.services.http.pace import AnswerPace
from netsvc.services.http.protocol import LINGER_OCTETS
from tests.services.http.http_rig import Peer, Rig, Sink, hello, request, wait


class TimeTests(SynchronousTestCase):
    def test_core_11_head_as_a_whole(self) -> None:
        """A head that comes an octet at a time is 408 when its time is up, however busy the peer is."""
        rig = Rig(route=hello, head_timeout=5.0)
        peer = rig.connect()
        for _ in range(7):
            peer.send(b"G" if not peer.received else b"")
            peer.wait(1.0)
        self.assertEqual(peer.statuses, [408])
        self.assertTrue(peer.transport.closed)

    def test_core_11_silent_peer(self) -> None:
        """A peer that says nothing is closed without a word."""
        rig = Rig(route=hello, head_timeout=5.0)
        peer = rig.connect()
        peer.wait(7.0)
        self.assertEqual(peer.received, b"")
        self.assertTrue(peer.transport.disconnecting)

    def test_core_11_idle_keep_alive(self) -> None:
        """An idle connection is kept for keepalive_timeout; a head that begins has head_timeout."""
        rig = Rig(route=hello, head_timeout=5.0, keepalive_timeout=20.0)
        peer = rig.connect()
        peer.send(request())
        peer.wait(18.0)
        self.assertFalse(peer.transport.closed)
        peer.send(request())
        peer.wait(18.0)
        peer.send(b"GET ")
        peer.wait(7.0)
        self.assertEqual(peer.statuses, [200, 200, 408])
        peer = rig.connect()
        peer.send(request())
        peer.wait(23.0)
        self.assertTrue(peer.transport.disconnecting)
        self.assertEqual(peer.statuses, [200])

    def test_core_11_no_keep_alive(self) -> None:
        """keepalive_timeout = 0 closes after every answer."""
        self.assertEqual(Rig(route=hello, keepalive_timeout=0.0).get("/").headers[b"connection"], b"close")

    def test_core_11_body_rate(self) -> None:
        """A body slower than its rate is 408; one that is fast enough may take its time."""
        for octets, status in ((10, [408]), (600, [])):
            sink = Sink()
            rig = Rig(route=lambda exchange, sink=sink: exchange.receive_body(sink), body_timeout=5.0, body_rate=500)
            peer = rig.connect()
            peer.send(request("/", "Content-Length: 1000000", method="POST"))
            for _ in range(20):
                if not peer.received:
                    peer.send(b"x" * octets)
                peer.wait(1.0)
            self.assertEqual(peer.statuses, status)
            self.assertEqual(sink.said, ["lost"] if status else [])

    def test_core_11_body_rate_does_not_count_our_pauses(self) -> None:
        """Time in which the body was paused is not the peer's."""
        rig = Rig(route=lambda exchange: exchange.receive_body(Sink()), body_timeout=5.0)
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 10", method="POST", body=b"x"))
        peer.wait(3.0)
        rig.exchanges[0].pause_body()
        peer.wait(100.0)
        rig.exchanges[0].resume_body()
        self.assertEqual(peer.statuses, [])
        peer.wait(5.0)
        self.assertEqual(peer.statuses, [408])

    def test_core_11_dropped_body_has_a_deadline(self) -> None:
        """A body that is only dropped does not hold the connection for ever."""
        rig = Rig(route=hello, body_timeout=5.0, body_rate=0)
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 10", method="POST"))
        peer.wait(8.0)
        self.assertEqual(peer.statuses, [200])
        self.assertTrue(peer.transport.closed)

    def test_core_11_slow_reader(self) -> None:
        """A peer that takes less of its answer than send_rate over a send_timeout is cut; one that reads is not."""
        for taken, cut in ((10, True), (5000, False)):
            rig = Rig(route=wait, send_timeout=10.0, send_rate=100)
            peer = rig.connect()
            peer.send(request())
            peer.transport.blocked = True
            rig.exchanges[0].begin(200, (), 1_000_000)
            rig.exchanges[0].write(b"x" * 500_000)
            for _ in range(30):
                peer.transport.dataBuffer = peer.transport.dataBuffer[taken:]
                peer.wait(1.0)
            self.assertIs(peer.transport.aborted, cut)

    def test_core_11_nothing_owed(self) -> None:
        """A slow route is not the peer's fault."""
        rig = Rig(route=wait, send_timeout=10.0)
        peer = rig.connect()
        peer.send(request())
        rig.exchanges[0].begin(200, ())
        peer.wait(60.0)
        self.assertFalse(peer.transport.closed)

    def test_core_11_progress_on_a_socket(self) -> None:
        """On a socket what the kernel says was acknowledged counts."""
        server = socket.create_server(("127.0.0.1", 0))
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        transport = mock.Mock(socket=one, dataBuffer=b"x", offset=0, _tempDataLen=0)
        pace = AnswerPace(10.0, 100)
        self.assertFalse(pace.too_slow(0.0, transport, 0))
        one.sendall(b"x" * 2000)
        other.recv(5000)
        self.assertFalse(pace.too_slow(10.0, transport, 0))
        self.assertTrue(pace.too_slow(20.0, transport, 0))
        for each in (one, other, server):
            each.close()

    def test_core_11_reader_behind_the_end(self) -> None:
        """Where the kernel keeps no count, a peer that reads on is not too slow when its answer ends meanwhile."""
        rig = Rig(send_timeout=4.0, send_rate=100, route=wait)
        peer = rig.connect()
        peer.transport.blocked = True
        peer.send(request() * 2)
        rig.exchanges[0].begin(200, (), 200_000)
        rig.exchanges[0].write(b"x" * 200_000)
        peer.wait(2.0)
        rig.exchanges[0].finish()
        for _ in range(10):
            peer.wait(1.0)
            peer.transport.dataBuffer = peer.transport.dataBuffer[1000:]  # the peer reads a little
        self.assertFalse(peer.transport.aborted)
        peer.wait(10.0)
        self.assertTrue(peer.transport.aborted)

    def test_core_11_after_the_end(self) -> None:
        """A connection that is being closed is cut when its peer does not close in its turn and owes nothing."""
        rig = Rig(route=hello)
        peer = rig.connect()
        peer.send(request("/", "Connection: close"))
        peer.wait(8.0)
        self.assertTrue(peer.transport.aborted)
        peer = rig.connect()
        peer.transport.blocked = True
        peer.send(request("/", "Connection: close"))
        peer.wait(8.0)
        self.assertFalse(peer.transport.aborted)
        peer.wait(200.0)
        self.assertTrue(peer.transport.aborted)

    def test_backlog(self) -> None:
        """A peer that asks and does not read: past a bound its next request waits until it has read."""
        rig = Rig(route=lambda exchange: exchange.answer(200, (), b"x" * 40_000))
        peer = rig.connect()
        peer.transport.blocked = True
        peer.send(request() * 5)
        self.assertEqual(len(rig.exchanges), 2)
        peer.send(request())
        self.assertEqual(len(rig.exchanges), 2)
        peer.transport.unblock()
        self.assertEqual(len(peer.answers()), 6)
        peer = rig.connect()
        peer.transport.blocked = True
        peer.send(request() * 5)
        peer.half_close()
        self.assertFalse(peer.transport.closed)
        peer.leave()


class EndTests(SynchronousTestCase):
    def linger(self, rig: Rig) -> Peer:
        self.patch(protocol_module, "is_plain", lambda transport: True)
        return rig.connect()

    def test_core_06_lingering_close(self) -> None:
        """After an early error our half is closed and the peer is read on for a while, within bounds."""
        rig = Rig(route=hello)
        peer = self.linger(rig)
        peer.send(b"GET / HTTP/1.1\r\n\r\nrest")
        self.assertEqual(peer.statuses, [400])
        self.assertTrue(peer.transport.half_closed)
        self.assertFalse(peer.transport.disconnecting)
        peer.protocol.writeConnectionLost()
        peer.send(b"x" * LINGER_OCTETS)
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(b"x")
        self.assertEqual(peer.transport.producerState, "paused")
        peer.wait(8.0)
        self.assertTrue(peer.transport.aborted)

    def test_core_06_lingering_ends_with_the_peer(self) -> None:
        """A peer that closes ends the linger."""
        rig = Rig(route=wait)
        peer = self.linger(rig)
        peer.send(request("/", "Content-Length: 200000", method="POST", body=b"x" * 100_000))
        self.assertEqual(peer.transport.producerState, "paused")
        rig.exchanges[0].refuse(404)
        self.assertEqual(peer.transport.producerState, "producing")
        self.assertTrue(peer.transport.half_closed)
        peer.half_close()
        self.assertTrue(peer.transport.disconnecting)

    def test_drain(self) -> None:
        """A stop closes idle connections, lets answers finish, and closes after them."""
        rig = Rig(route=wait)
        idle, busy, late = rig.connect(), rig.connect(), rig.connect()
        busy.send(request())
        late.send(b"GET / HT")
        rig.factory.drain()
        self.assertTrue(idle.transport.disconnecting)
        self.assertFalse(busy.transport.disconnecting)
        hello(rig.exchanges[0])
        self.assertEqual(busy.answers()[0].headers[b"connection"], b"close")
        self.assertTrue(busy.transport.disconnecting)
        late.send(b"TP/1.1\r\nHost: a\r\n\r\n")
        hello(rig.exchanges[1])
        self.assertTrue(late.transport.disconnecting)

    def test_drain_while_an_answer_that_keeps_the_connection_is_under_way(self) -> None:
        """An answer whose head has promised to keep the connection is finished; then it is closed."""
        rig = Rig(route=wait)
        peer = rig.connect()
        peer.send(request())
        rig.exchanges[0].begin(200, (), 1)
        rig.factory.drain()
        rig.exchanges[0].write(b"x")
        rig.exchanges[0].finish()
        self.assertEqual(peer.answers()[0].body, b"x")
        self.assertTrue(peer.transport.disconnecting)

    def test_timer(self) -> None:
        """The factory's timer runs while there are connections and no longer."""
        rig = Rig(route=hello)
        self.assertEqual(rig.clock.getDelayedCalls(), [])
        peer = rig.connect()
        self.assertEqual(len(rig.clock.getDelayedCalls()), 1)
        rig.connect().leave()
        peer.leave()
        peer.wait(2.0)
        self.assertEqual(rig.clock.getDelayedCalls(), [])
        rig.factory.doStart()
        rig.factory.doStop()
        self.assertEqual(rig.clock.getDelayedCalls(), [])
        rig.factory.stopFactory()

    def test_drain_has_deadlines(self) -> None:
        """When nobody listens any more, deadlines hold on for those who are there, and the last answers are counted."""
        rig = Rig(route=hello, head_timeout=5.0)
        rig.factory.doStart()
        peer = rig.connect()
        peer.send(b"GET / HT")
        rig.factory.doStop()
        rig.factory.drain()
        peer.wait(7.0)
        self.assertEqual(peer.statuses, [408])
        peer.leave()
        self.assertEqual(rig.clock.getDelayedCalls(), [])
        counted = rig.metrics.metrics["http_requests"].values
        self.assertEqual(counted[(("service", "http"), ("status", "408"))], 1)
