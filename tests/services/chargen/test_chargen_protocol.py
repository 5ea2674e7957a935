"""Facts about chargen."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.interfaces import IDatagramResponder
from netsvc.services.chargen import KIND
from netsvc.services.chargen.protocol import Chargen, ChargenResponder
from netsvc.services.chargen.wire import BLOCK, PATTERN, line
from tests.net.turns import Loopback
from tests.services.small import PEER, connected, lose, made


class PatternTests(SynchronousTestCase):
    def test_first_lines(self) -> None:
        """The lines are those that RFC 864 prints as its example."""
        self.assertEqual(line(0), b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n")
        self.assertEqual(line(1), b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n")

    def test_ring(self) -> None:
        """After 95 lines of 72 characters, each turned by one, the pattern begins again; a block is whole patterns."""
        lines = BLOCK.split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        for number, text in enumerate(lines):
            self.assertEqual(len(text), 72)
            self.assertEqual(text[1:], lines[(number + 1) % len(lines)][:-1])
        self.assertEqual(lines[:95], lines[95:190])
        self.assertEqual(len(PATTERN), 95 * 74)
        self.assertLessEqual(len(BLOCK), 1 << 16)


class ChargenTests(SynchronousTestCase):
    def test_pull(self) -> None:
        """A block is written when the transport asks, and input changes nothing."""
        stream, _, _ = made(KIND)
        protocol, transport = connected(stream)
        self.assertTrue(verifyObject(IPullProducer, protocol))
        self.assertTrue(verifyObject(IHalfCloseableProtocol, protocol))
        self.assertEqual((transport.producer, transport.streaming), (protocol, False))
        protocol.dataReceived(b"ignored")
        protocol.resumeProducing()
        protocol.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        protocol.resumeProducing()
        self.assertEqual(transport.value(), BLOCK * 2)
        protocol.stopProducing()
        protocol.writeConnectionLost()
        lose(protocol)
        self.assertEqual(stream.open, set())

    def test_drain(self) -> None:
        """A stop lets the last block be the last."""
        stream, _, _ = made(KIND)
        _, transport = connected(stream)
        stream.drain()
        self.assertEqual((transport.producer, transport.disconnecting), (None, True))

    def test_flow_control(self) -> None:
        """A peer that does not read is sent no more than sockets hold; one block waits here."""
        loopback = Loopback(Chargen(set()))
        self.addCleanup(loopback.close)
        loopback.turns.turn(2000)
        self.assertFalse(loopback.turns.once(), "it goes on though nobody reads")
        held = len(loopback.transport.dataBuffer) + loopback.transport._tempDataLen
        self.assertLessEqual(held, len(BLOCK))
        # The peer reads: the pattern goes on without a break.
        data = b""
        while len(data) < 1 << 23:
            try:
                data += loopback.peer.recv(1 << 20)
            except BlockingIOError:
                loopback.turns.turn(10)
        self.assertTrue((BLOCK * (len(data) // len(BLOCK) + 1)).startswith(data))

    def test_half_closed_peer(self) -> None:
        """A peer that has half-closed is sent more until it leaves."""
        opened: set[object] = set()
        loopback = Loopback(Chargen(opened))  # type: ignore[arg-type]
        self.addCleanup(loopback.close)
        loopback.peer.shutdown(socket.SHUT_WR)
        loopback.turns.turn(2000)
        self.assertFalse(loopback.transport.disconnected)
        self.assertTrue(loopback.peer.recv(1 << 20))
        loopback.peer.close()
        loopback.turns.turn(2000)
        self.assertTrue(loopback.transport.disconnected)
        self.assertEqual(opened, set())


class ChargenResponderTests(SynchronousTestCase):
    def test_length(self) -> None:
        """An answer is a beginning of the pattern, of at most 512 octets and never longer than its request."""
        highest = ChargenResponder(length=lambda low, high: high)
        for size, limit, expected in ((0, 0, 0), (1, 1, 1), (100, 100, 100), (2000, 2000, 512), (400, 30, 30)):
            self.assertEqual(highest.answer(bytes(size), PEER, limit), PATTERN[:expected])
        self.assertEqual(highest.answer(b"x", PEER, 64), b" ")
        self.assertTrue(verifyObject(IDatagramResponder, highest))

    def test_random(self) -> None:
        """The length is random, from none to all that may be."""
        _, datagram, _ = made(KIND)
        lengths = {len(datagram.answer(bytes(3), PEER, 3)) for _ in range(1000)}
        self.assertEqual(lengths, {0, 1, 2, 3})
