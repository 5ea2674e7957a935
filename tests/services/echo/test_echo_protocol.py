"""Facts about echo."""

from __future__ import annotations

import os
import socket

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.interfaces import IDatagramResponder
from netsvc.services.echo import KIND
from netsvc.services.echo.protocol import Echo, EchoFactory, EchoResponder
from tests.net.turns import Loopback
from tests.services.small import PEER, connected, lose, made


class EchoTests(SynchronousTestCase):
    """With a transport of strings."""

    def test_whole_and_octet_by_octet(self) -> None:
        """Every octet value comes back in order, however it is cut."""
        data = bytes(range(256))
        for pieces in ([data], [data[at : at + 1] for at in range(256)], [data[:100], data[100:], b""]):
            protocol, transport = connected(EchoFactory())
            for piece in pieces:
                protocol.dataReceived(piece)
            self.assertEqual(transport.value(), data)

    def test_half_close(self) -> None:
        """After the peer's half-close the connection closes, without a producer that would hold it open."""
        protocol, transport = connected(EchoFactory())
        self.assertTrue(verifyObject(IHalfCloseableProtocol, protocol))
        self.assertIs(transport.producer, transport)
        protocol.dataReceived(b"last")
        protocol.readConnectionLost()
        self.assertEqual((transport.value(), transport.disconnecting, transport.producer), (b"last", True, None))
        protocol.writeConnectionLost()

    def test_drain(self) -> None:
        """A stop closes every open connection, and a lost one is forgotten."""
        factory = EchoFactory()
        (gone, _), (_, transport) = connected(factory), connected(factory)
        lose(gone)
        self.assertEqual(len(factory.open), 1)
        factory.drain()
        self.assertTrue(transport.disconnecting)

    def test_made(self) -> None:
        """The service listens with the factory and the responder."""
        stream, datagram, _ = made(KIND)
        self.assertIsInstance(stream, EchoFactory)
        self.assertIsInstance(datagram, EchoResponder)

    def test_datagram(self) -> None:
        """A datagram comes back as it is, an empty one too; where the limit is lower there is silence."""
        responder = EchoResponder()
        self.assertTrue(verifyObject(IDatagramResponder, responder))
        self.assertEqual(responder.answer(b"same", PEER, 4), b"same")
        self.assertEqual(responder.answer(b"", PEER, 0), b"")
        self.assertIsNone(responder.answer(b"long", PEER, 3))


class EchoSocketTests(SynchronousTestCase):
    """With a real socket."""

    def connect(self) -> Loopback:
        loopback = Loopback(Echo(set()))
        self.addCleanup(loopback.close)
        return loopback

    def test_flow_control(self) -> None:
        """A peer that does not read is soon not read either: what waits for it here stays under 128 KiB."""
        loopback = self.connect()
        sent = 0
        for _ in range(10_000):
            try:
                sent += loopback.peer.send(bytes(65536))
            except BlockingIOError:
                before = sent
                loopback.turns.turn()
                try:
                    sent += loopback.peer.send(bytes(65536))
                except BlockingIOError:
                    if before == sent:
                        break
        else:
            self.fail("it was read from for ever")
        self.assertNotIn(loopback.transport, loopback.turns.readers)
        held = len(loopback.transport.dataBuffer) + loopback.transport._tempDataLen
        self.assertLess(held, 1 << 17)
        # It reads again: every octet is there.
        self.assertEqual(len(loopback.read()), sent)
        self.assertIn(loopback.transport, loopback.turns.readers)

    def test_half_close_with_debt(self) -> None:
        """A peer that sends, half-closes and only then reads gets every octet and then the end."""
        loopback = self.connect()
        data = os.urandom(1 << 20)
        sent = 0
        while sent < len(data):
            try:
                sent += loopback.peer.send(data[sent : sent + 65536])
            except BlockingIOError:
                loopback.turns.turn()
            if loopback.transport.producerPaused:
                break
        loopback.peer.shutdown(socket.SHUT_WR)
        self.assertEqual(loopback.read(), data[:sent])
        self.assertTrue(loopback.transport.disconnected)
        self.assertTrue(loopback.at_end())

    def test_disconnect_while_paused(self) -> None:
        """A peer that leaves while it is owed octets costs its own connection, without an error."""
        loopback = self.connect()
        loopback.protocol.dataReceived(bytes(1 << 24))
        self.assertTrue(loopback.transport.producerPaused)
        loopback.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        loopback.peer.close()
        loopback.turns.turn()
        self.assertTrue(loopback.transport.disconnected)

    def test_drain_pays(self) -> None:
        """A stop first sends what is owed."""
        loopback = self.connect()
        loopback.protocol.dataReceived(bytes(1 << 23))
        loopback.protocol.drain()
        self.assertEqual(len(loopback.read()), 1 << 23)
        self.assertTrue(loopback.transport.disconnected)

    def test_other_transports(self) -> None:
        """A paused transport that is not a plain socket is resumed by its own rules."""
        transport = StringTransport()
        connected(EchoFactory(), transport)
        transport.producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
