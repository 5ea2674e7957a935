"""Facts about the greeter."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.services.greeter import KIND
from netsvc.services.greeter.wire import Script
from tests.net.turns import Loopback, Turns
from tests.services.small import connected, lose, made


def script(**words: Any) -> Script:
    """The default words, but for those given."""
    return Script(
        **{
            "welcome": "Welcome!",
            "reply": "Hello, {text}!",
            "exit": "exit",
            "limit": 1024,
            "refusal": "No.",
            **words,
        }
    )


class ScriptTests(SynchronousTestCase):
    def test_text(self) -> None:
        """One line end is stripped; what is within stays."""
        for piece, answer in (
            (b"Bob", b"Hello, Bob!"),
            (b"Bob\r\n", b"Hello, Bob!"),
            (b"Bob\n", b"Hello, Bob!"),
            (b"Bob\r\n\r\n", b"Hello, Bob\r\n!"),
            (b"\n", b"Hello, !"),
            (b"a\nb", b"Hello, a\nb!"),
            ("Zoë 王".encode(), "Hello, Zoë 王!".encode()),
        ):
            self.assertEqual(script().answer(piece), answer)

    def test_undecodable(self) -> None:
        """Octets that are no UTF-8 are replaced; so are both halves of a character that was cut in two."""
        self.assertEqual(script().answer(b"\xff"), "Hello, \ufffd!".encode())
        first, second = "ë".encode()[:1], "ë".encode()[1:]
        for half in (first, second):
            self.assertEqual(script().answer(half), "Hello, \ufffd!".encode())

    def test_no_format(self) -> None:
        """Neither the peer nor other braces reach more than {text}, every one of which is replaced once."""
        words = script(reply="{text} {0} {text.__class__} {{text}}")
        self.assertEqual(words.answer(b"{text}"), b"{text} {0} {text.__class__} {{text}}")
        self.assertEqual(words.answer(b"%s"), b"%s {0} {text.__class__} {%s}")

    def test_exit(self) -> None:
        """The word closes, with a line end or without; others do not, and no word is none."""
        self.assertTrue(script().is_exit(b"exit"))
        self.assertTrue(script().is_exit(b"exit\r\n"))
        self.assertFalse(script().is_exit(b"exits"))
        self.assertFalse(script().is_exit(b"EXIT"))
        self.assertFalse(script(exit="").is_exit(b""))

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=100))
    def test_any(self, piece: bytes) -> None:
        """Any octets are answered in UTF-8."""
        self.assertTrue(script().answer(piece).decode("utf-8").startswith("Hello, "))


class GreeterTests(SynchronousTestCase):
    def test_tutorial(self) -> None:
        """The tutorial's peer: a welcome, a reply to each name though no line ends, and the end after exit."""
        stream, datagram, _ = made(KIND)
        self.assertIsNone(datagram)
        protocol, transport = connected(stream)
        said = [transport.value()]
        for name in (b"Michael", b"Tracy", b"Sarah"):
            transport.clear()
            protocol.dataReceived(name)
            said.append(transport.value())
        self.assertEqual(said, [b"Welcome!", b"Hello, Michael!", b"Hello, Tracy!", b"Hello, Sarah!"])
        transport.clear()
        protocol.dataReceived(b"exit")
        self.assertEqual((transport.value(), transport.disconnecting, transport.producer), (b"", True, None))
        protocol.dataReceived(b"trailing")
        self.assertEqual(transport.value(), b"")

    def test_octet_by_octet(self) -> None:
        """Each piece is answered, be it one octet."""
        stream, _, _ = made(KIND, welcome='""', reply="<{text}>")
        protocol, transport = connected(stream)
        for octet in b"abc":
            protocol.dataReceived(bytes([octet]))
        self.assertEqual(transport.value(), b"<a><b><c>")

    def test_close(self) -> None:
        """With close = yes the welcome is all."""
        stream, _, _ = made(KIND, welcome="Thank you for connecting", close="yes")
        _, transport = connected(stream)
        self.assertEqual((transport.value(), transport.disconnecting), (b"Thank you for connecting", True))

    def test_line_end(self) -> None:
        """Welcome and answers end as the option says."""
        stream, _, _ = made(KIND, line_end="crlf")
        protocol, transport = connected(stream)
        protocol.dataReceived(b"Bob\r\n")
        self.assertEqual(transport.value(), b"Welcome!\r\nHello, Bob!\r\n")

    def test_too_long(self) -> None:
        """Input of the limit is answered; one octet more is refused and the connection closed."""
        stream, _, _ = made(KIND, limit="3B", welcome='""', refusal="Too long.")
        protocol, transport = connected(stream)
        protocol.dataReceived(b"abc")
        self.assertEqual((transport.value(), transport.disconnecting), (b"Hello, abc!", False))
        transport.clear()
        protocol.dataReceived(b"abcd")
        self.assertEqual((transport.value(), transport.disconnecting), (b"Too long.", True))

    def test_half_close(self) -> None:
        """A peer that half-closes is closed on when it has its answers."""
        stream, _, _ = made(KIND)
        protocol, transport = connected(stream)
        self.assertTrue(verifyObject(IHalfCloseableProtocol, protocol))
        self.assertTrue(verifyObject(IPushProducer, protocol))
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        protocol.writeConnectionLost()

    def test_drain(self) -> None:
        """A stop closes those to whom nothing is owed."""
        stream, _, _ = made(KIND)
        (gone, _), (_, transport) = connected(stream), connected(stream)
        lose(gone)
        stream.drain()
        self.assertTrue(transport.disconnecting)


class PauseTests(SynchronousTestCase):
    """With the tutorial's pause before each answer."""

    def setUp(self) -> None:
        self.stream, _, self.runtime = made(KIND, pause="1s", welcome='""', limit="10B", refusal="No.")
        self.clock = self.runtime.reactor
        self.protocol, self.transport = connected(self.stream)

    def test_answer(self) -> None:
        """The answer comes after the pause; meanwhile the peer is not read, afterwards it is."""
        self.protocol.dataReceived(b"a")
        self.assertEqual((self.transport.value(), self.transport.producerState), (b"", "paused"))
        self.clock.advance(0.9)
        self.assertEqual(self.transport.value(), b"")
        self.clock.advance(0.1)
        self.assertEqual((self.transport.value(), self.transport.producerState), (b"Hello, a!", "producing"))

    def test_nobody_else_waits(self) -> None:
        """Another peer's pause is its own."""
        other, transport = connected(self.stream)
        self.protocol.dataReceived(b"a")
        self.clock.advance(0.5)
        other.dataReceived(b"b")
        self.clock.advance(0.5)
        self.assertEqual((self.transport.value(), transport.value()), (b"Hello, a!", b""))
        self.clock.advance(0.5)
        self.assertEqual(transport.value(), b"Hello, b!")

    def test_leaves(self) -> None:
        """A peer that leaves while its answer is due leaves no timer behind."""
        self.protocol.dataReceived(b"a")
        lose(self.protocol)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.stream.open, set())

    def test_more_input(self) -> None:
        """Input that still comes (from TLS buffers) is one piece, answered after a pause of its own."""
        self.protocol.dataReceived(b"a")
        self.protocol.dataReceived(b"b")
        self.protocol.dataReceived(b"c")
        self.clock.advance(1)
        self.assertEqual((self.transport.value(), self.transport.producerState), (b"Hello, a!", "paused"))
        self.clock.advance(1)
        self.assertEqual((self.transport.value(), self.transport.producerState), (b"Hello, a!Hello, bc!", "producing"))

    def test_exit_in_more_input(self) -> None:
        """The word to end is heard after the answer that was due."""
        self.protocol.dataReceived(b"a")
        self.protocol.dataReceived(b"exit")
        self.clock.advance(1)
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"Hello, a!", True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_much_input(self) -> None:
        """What is held during a pause is bounded by the limit; beyond it the peer is refused."""
        self.protocol.dataReceived(b"a")
        self.protocol.dataReceived(b"12345")
        self.protocol.dataReceived(b"67890+")
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"No.", True))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.protocol.dataReceived(b"more")
        self.assertEqual(self.transport.value(), b"No.")

    def test_half_close(self) -> None:
        """A peer that half-closes while its answer is due gets it, and then the end."""
        self.protocol.dataReceived(b"a")
        self.protocol.readConnectionLost()
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1)
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"Hello, a!", True))

    def test_half_close_with_more_input(self) -> None:
        """All input before the half-close is answered."""
        self.protocol.dataReceived(b"a")
        self.protocol.dataReceived(b"b")
        self.protocol.readConnectionLost()
        self.clock.advance(1)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1)
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"Hello, a!Hello, b!", True))

    def test_full_while_due(self) -> None:
        """Reading goes on only when neither an answer is due nor the peer's octets wait to be read by it."""
        self.protocol.dataReceived(b"a")
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.transport.producer.pauseProducing()
        self.clock.advance(1)
        self.assertEqual(self.transport.producerState, "paused")
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.stopProducing()


class GreeterSocketTests(SynchronousTestCase):
    def test_a_peer_that_never_reads(self) -> None:
        """A peer that sends and never reads is soon not read: the answers that wait are bounded."""
        stream, _, _ = made(KIND, limit="64KiB")
        loopback = Loopback(stream.buildProtocol(None))
        self.addCleanup(loopback.close)
        for _ in range(100_000):
            if loopback.transport not in loopback.turns.readers:
                break
            loopback.protocol.dataReceived(b"x" * 1000)  # not through the socket: it would stall before
        else:
            self.fail("it was read from for ever")
        self.assertLess(len(loopback.transport.dataBuffer) + loopback.transport._tempDataLen, 1 << 18)

    def test_half_close(self) -> None:
        """A peer that says its word and half-closes during the pause gets the answer and the end."""
        turns = Turns()
        stream, _, runtime = made(KIND, pause="1s", welcome='""')
        loopback = Loopback(stream.buildProtocol(None), turns=turns)
        self.addCleanup(loopback.close)
        loopback.peer.send(b"Bob")
        loopback.peer.shutdown(socket.SHUT_WR)
        turns.turn()
        self.assertFalse(loopback.transport.disconnecting)
        runtime.reactor.advance(1)
        self.assertEqual(loopback.read(), b"Hello, Bob!")
        self.assertTrue(loopback.transport.disconnected)
