"""TLS connections of listeners, against Python's own ssl."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.config.tls import Tls
from tests.runtime.certificates import make_certificate, secured


class Answering(Protocol):
    """Greets, answers everything, remembers what happened."""

    def __init__(self) -> None:
        self.happened: list[str] = []

    def connectionMade(self) -> None:
        self.happened.append("made")
        assert self.transport is not None
        self.transport.registerProducer(self, True)
        self.transport.write(b"hello;")

    def pauseProducing(self) -> None:
        assert self.transport is not None
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        assert self.transport is not None
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.happened.append("lost")


@implementer(IHalfCloseableProtocol)
class Patient(Answering):
    """Goes on after its peer has closed one direction."""

    def readConnectionLost(self) -> None:
        self.happened.append("read lost")

    def writeConnectionLost(self) -> None:
        """Never comes."""


@implementer(IProtocolNegotiationFactory)
class Negotiating(Factory):
    """Offers protocols."""

    def acceptableProtocols(self) -> list[bytes]:
        return [b"echo/2", b"echo/1"]


class TlsConnectionTests(SynchronousTestCase):
    """TlsConnection, as tls_factory has it made."""

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.files = make_certificate(directory, "one")

    def begin(self, kind: type[Answering] = Answering, factory: Factory | None = None, alpn: Any = ()) -> None:
        """A server connection and a client of it that has said nothing yet."""
        self.clock = Clock()
        inner = Factory() if factory is None else factory
        self.protocol = kind()
        inner.buildProtocol = lambda addr: self.protocol  # type: ignore[method-assign]
        made: Any = secured(Tls(*self.files), inner, self.clock).buildProtocol(None)
        self.server = made
        self.transport: Any = StringTransport()
        self.transport.abortConnection = self.transport.loseConnection
        made.makeConnection(self.transport)
        context = ssl.create_default_context(cafile=str(self.files[0]))
        if alpn:
            context.set_alpn_protocols(alpn)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def exchange(self) -> None:
        """Carry octets both ways."""
        sent = self.outgoing.read()
        if sent:
            self.server.dataReceived(sent)
        self.clock.advance(0)
        self.incoming.write(self.transport.value())
        self.transport.clear()

    def shake_hands(self) -> None:
        """Finish the handshake."""
        for _ in range(4):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.exchange()
            else:
                self.exchange()
                return
        raise AssertionError("the handshake does not end")

    def test_greeting(self) -> None:
        """The protocol hears of the connection when the handshake is done: its greeting cannot stop that."""
        self.begin()
        self.assertEqual(self.protocol.happened, [])
        self.assertFalse(self.server.handshake_done)
        self.shake_hands()
        self.assertTrue(self.server.handshake_done)
        self.assertEqual(self.protocol.happened, ["made"])
        self.assertEqual(self.client.read(100), b"hello;")
        self.assertEqual(self.transport.producerState, "producing")

    def test_no_handshake(self) -> None:
        """A protocol whose handshake fails hears of nothing."""
        for sent in (b"\x16", b"GET / HTTP/1.0\r\n\r\n"):
            self.begin()
            self.server.dataReceived(sent)
            self.server.connectionLost(Failure(OSError()))
            self.assertEqual(self.protocol.happened, [])

    def test_half_close_is_answered(self) -> None:
        """What a protocol answers in the turn of a close_notify arrives, then the connection closes."""
        self.begin()
        self.shake_hands()
        self.client.read(100)
        self.client.write(b"and this")
        self.assertRaises(ssl.SSLError, self.client.unwrap)
        self.exchange()
        self.protocol.transport.unregisterProducer()  # type: ignore[union-attr]
        self.exchange()
        self.assertEqual(self.client.read(100), b"and this")
        self.assertRaises(ssl.SSLZeroReturnError, self.client.read)
        self.assertTrue(self.transport.disconnecting)
        self.server.readConnectionLost()
        self.server.writeConnectionLost()
        self.server.connectionLost(Failure(OSError()))
        self.assertEqual(self.protocol.happened, ["made", "lost"])

    def test_half_close_goes_on(self) -> None:
        """A protocol that can go on after a close_notify is told, and sends on."""
        self.begin(Patient)
        self.shake_hands()
        self.client.read(100)
        self.assertRaises(ssl.SSLError, self.client.unwrap)
        self.exchange()
        self.server.readConnectionLost()
        self.assertEqual(self.protocol.happened, ["made", "read lost"])
        transport: Any = self.protocol.transport
        transport.write(b"much later")
        self.exchange()
        self.assertEqual(self.client.read(100), b"much later")
        self.assertFalse(self.transport.disconnecting)
        transport.unregisterProducer()
        transport.loseConnection()
        self.exchange()
        self.assertTrue(self.transport.disconnecting)

    def test_both_close(self) -> None:
        """A close_notify that answers ours ends the connection."""
        self.begin()
        self.shake_hands()
        transport: Any = self.protocol.transport
        transport.unregisterProducer()
        transport.loseConnection()
        self.exchange()
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(self.client.read(100), b"hello;")
        self.client.unwrap()
        self.exchange()
        self.assertTrue(self.transport.disconnecting)

    def test_truncated(self) -> None:
        """A connection that ends without close_notify is no clean end; what was owed is still sent."""
        self.begin()
        self.shake_hands()
        self.client.read(100)
        self.client.write(b"and")
        self.server.dataReceived(self.outgoing.read())
        self.server.readConnectionLost()
        self.exchange()
        self.assertEqual(self.client.read(100), b"and")
        self.assertTrue(self.transport.disconnecting)

    def test_damaged_record(self) -> None:
        """A record that is damaged on its way ends the connection."""
        self.begin()
        self.shake_hands()
        self.server.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertTrue(self.transport.disconnecting)

    def test_protocol_negotiation(self) -> None:
        """A peer that offers application protocols gets one of the service's, or goes on without (RFC 7301)."""
        for factory, offered, agreed in (
            (Factory(), ["h2", "http/1.1"], None),
            (Negotiating(), ["echo/1", "echo/2"], "echo/2"),
            (Negotiating(), ["h2"], None),
        ):
            self.begin(factory=factory, alpn=offered)
            self.shake_hands()
            self.assertEqual(self.client.selected_alpn_protocol(), agreed)
            self.assertEqual(self.protocol.happened, ["made"])
