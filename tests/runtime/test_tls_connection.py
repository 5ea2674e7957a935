"""TLS connections of listeners, against Python's own ssl."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.config.tls import Tls
from netsvc.runtime.tls_connection import records
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


class Waiting:
    """An OpenSSL connection that must receive before it sends."""

    def __init__(self, tls: Any) -> None:
        self.bio_read = tls.bio_read

    def send(self, _: bytes) -> int:
        raise SSL.WantReadError


class Failing(Waiting):
    """An OpenSSL connection that can send no more."""

    def send(self, _: bytes) -> int:
        raise SSL.Error([("SSL routines", "", "no more")])


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

    def test_answer_in_the_same_turn(self) -> None:
        """What is written while octets are received leaves at the end of that, as one; the timer is not waited for."""
        self.begin()
        self.shake_hands()
        self.client.read(100)
        sent: list[bytes] = []
        self.transport.write = sent.append
        self.client.write(b"one;")
        self.client.write(b"two;")
        self.server.dataReceived(self.outgoing.read())
        self.assertEqual(len(sent), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.incoming.write(sent[0])
        self.assertEqual(self.client.read(100), b"one;two;")

    def test_write_between_turns(self) -> None:
        """What is written at other times leaves together in the reactor's next turn."""
        self.begin()
        self.shake_hands()
        self.client.read(100)
        transport: Any = self.protocol.transport
        transport.write(b"one;")
        transport.writeSequence([b"two", b";"])
        self.assertEqual(self.transport.value(), b"")
        self.exchange()
        self.assertEqual(self.client.read(100), b"one;two;")
        self.assertRaises(TypeError, transport.write, "text")

    def test_records_cut_anywhere(self) -> None:
        """Records arrive one by one, together, and cut anywhere, also within their headers: nothing stays behind."""
        for cuts in ((), (3,), (5,), (40,), (1, 2, 3, 4, 5, 6)):
            self.begin()
            self.shake_hands()
            self.client.read(100)
            for text in (b"alone", b"a" * 300):
                self.client.write(text)
                self.exchange()
                self.assertEqual(self.client.read(1000), text)
            self.client.write(b"first;")
            self.client.write(b"")
            self.client.write(b"second;" + bytes(20_000))
            octets = self.outgoing.read()
            for start, stop in zip((0, *cuts), (*cuts, len(octets)), strict=True):
                self.server.dataReceived(octets[start:stop])
            self.exchange()
            answer = b""
            while len(answer) < 20_013:
                answer += self.client.read(1 << 16)
            self.assertEqual(answer, b"first;second;" + bytes(20_000))
            self.client.write(b"afterwards")
            self.exchange()
            self.assertEqual(self.client.read(1000), b"afterwards")

    def test_records_counted(self) -> None:
        """Records are counted where octets begin and end with one."""
        one = b"\x17\x03\x03\x00\x02ab"
        for octets, count in ((one, 1), (one + one, 2), (one[:5], 0), (one[:4], 0), (one + one[:6], 0), (b"", 0)):
            self.assertEqual(records(octets), count)

    def test_long_write(self) -> None:
        """A write of many records arrives whole, and leaves at once."""
        self.begin()
        self.shake_hands()
        self.client.read(100)
        long = bytes(range(256)) * 1000
        transport: Any = self.protocol.transport
        transport.write(long)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.exchange()
        answer = b""
        while len(answer) < len(long):
            answer += self.client.read(1 << 16)
        self.assertEqual(answer, long)

    def test_openssl_waits(self) -> None:
        """What OpenSSL does not take before it has received something is kept, and sent then."""
        self.begin()
        self.shake_hands()
        self.client.read(100)
        tls = self.server._tlsConnection
        self.server._tlsConnection = Waiting(tls)
        transport: Any = self.protocol.transport
        transport.write(b"kept")
        self.exchange()
        self.assertEqual(self.transport.producerState, "paused")
        self.server._tlsConnection = tls
        self.client.write(b";")
        self.exchange()
        self.assertEqual(self.client.read(100) + self.client.read(100), b"kept;")
        self.assertEqual(self.transport.producerState, "producing")

    def test_openssl_fails(self) -> None:
        """When OpenSSL can encrypt no more, the connection ends, and nothing is written any more."""
        self.begin()
        self.shake_hands()
        self.server._tlsConnection = Failing(self.server._tlsConnection)
        transport: Any = self.protocol.transport
        for _ in range(2):
            transport.write(b"never")
            self.exchange()
        self.assertTrue(self.transport.disconnecting)

    def test_written_at_the_end(self) -> None:
        """What waits for the next turn when the connection is lost keeps no timer."""
        self.begin()
        self.shake_hands()
        transport: Any = self.protocol.transport
        transport.write(b"too late")
        self.server.connectionLost(Failure(OSError()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

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
