"""One TLS connection, as services expect a connection to be: made when they can talk, half-closed when the peer is.

What differs from Twisted's own:

- The protocol is told of the connection when the handshake is done. Before that, everything it writes would be held
  back and its producer paused; one that then stops reading, as a paused producer does, would never see the end of the
  handshake. And who never finishes a handshake costs no protocol.
- A close_notify ends the peer's direction only (RFC 8446 section 6.1). A protocol that goes on after a half-close of
  TCP is told and goes on; for any other what it has written is sent before the connection closes. Twisted's drops what
  was written in the same turn, so that the answer to a request with a close_notify behind it is lost.
- What a protocol writes while it is given octets leaves at the end of that, in one send: Twisted's waits for the next
  turn of the reactor, with a timer and four system calls more. OpenSSL is not asked for what it cannot have, since
  pyOpenSSL says no with an exception, which costs as much as the decryption of a request.

It overrides methods that Twisted keeps private; tests/runtime pins them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import BufferingTLSTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.fast_write import fast_write

MOST_AT_ONCE = 1 << 15  # octets taken out of OpenSSL at once: two records, RFC 8446 section 5.1
RECORD = 1 << 14  # octets of plain text in a record, at most
HELD = 64_000  # octets of writes that are kept for the end of a turn; as Twisted has it
_HEADER = 5  # octets: type, version, length of what follows


def records(octets: bytes) -> int:
    """How many records these octets are, from the beginning of one; 0 when they do not end with one."""
    at, count, end = 0, 0, len(octets)
    while at + _HEADER <= end:
        at += _HEADER + (octets[at + 3] << 8 | octets[at + 4])
        count += 1
    return count if at == end else 0


class HeldWrites:
    """Small writes that go out as one: at the end of the turn that is being served, or in the reactor's next.

    It stands in for Twisted's aggregator, which always takes the next.

    :param write: takes what has come together.
    :param clock: IReactorTime.
    """

    def __init__(self, write: Callable[[bytes], object], clock: Any) -> None:
        self._write = write
        self._clock = clock
        self._held: list[bytes] = []
        self._size = 0
        self._call: Any = None
        self.serving = False  # somebody flushes soon

    def write(self, data: bytes) -> None:
        """Keep octets, or send all when they are many."""
        self._held.append(data + b"")
        self._size += len(data)
        if self._size > HELD:
            self.flush()
        elif not self.serving and self._call is None:
            self._call = self._clock.callLater(0, self._late)

    def _late(self) -> None:
        self._call = None
        self.flush()

    def flush(self) -> bool:
        """Send what is held; whether there was anything."""
        held = self._held
        if not held:
            return False
        self._held = []
        self._size = 0
        self._write(held[0] if len(held) == 1 else b"".join(held))
        return True

    def close(self) -> None:
        """The connection is gone."""
        if self._call is not None:
            self._call.cancel()
        self._late()


@implementer(IHalfCloseableProtocol)
class TlsConnection(BufferingTLSTransport):
    """TLS between a TCP or UNIX transport and a protocol.

    :param factory: the TLS factory that makes it.
    :param wrapped: the protocol.
    """

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, Protocol(), _connectWrapped=False)
        self._protocol = wrapped  # stands in wrappedProtocol as soon as the handshake is done
        self._peer_has_closed = False
        self._in_step = True  # all that has come ended with a record
        self._receivable = -1  # records that OpenSSL may yet have something of; less than 0 when that is not known
        self._writes = HeldWrites(super().write, factory._clock)
        self._aggregator: Any = self._writes
        self.write = self._writes.write  # type: ignore[method-assign]  # as Twisted does it

    @property
    def handshake_done(self) -> bool:
        """Whether the protocol has its connection."""
        return self._handshakeDone

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()  # type: ignore[no-untyped-call]
        if self._handshakeDone:
            self.wrappedProtocol = self._protocol
            self.wrappedProtocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        if self._in_step:
            count = records(data)
            self._in_step = count > 0
            if count and self._handshakeDone:
                self._receivable = count
        self._writes.serving = True
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        finally:
            self._writes.serving = False
            self._receivable = -1

    def _flushReceiveBIO(self) -> None:
        while self._receivable and not (self._lostTLSConnection or self._peer_has_closed):
            try:
                octets = self._tlsConnection.recv(MOST_AT_ONCE)
            except WantReadError:
                break
            except ZeroReturnError:
                self._close_notified()
            except Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
            else:
                self._receivable -= 1  # it gives no more than a record at once
                if not self._aborted:
                    self.wrappedProtocol.dataReceived(octets)
        if not self._aggregator.flush():
            self._flushSendBIO()

    def _flushSendBIO(self) -> None:
        """Send what OpenSSL has made."""
        while True:
            try:
                octets = self._tlsConnection.bio_read(MOST_AT_ONCE)
            except WantReadError:
                return
            fast_write(self.transport, octets)
            if len(octets) < MOST_AT_ONCE:
                return

    def _write(self, data: bytes) -> None:
        """Encrypt octets, and send them; keep what OpenSSL does not take now."""
        if self._lostTLSConnection:
            return
        at = 0
        while at < len(data):
            try:
                at += self._tlsConnection.send(data[at : at + RECORD])
            except WantReadError:
                self._bufferedWrite(data[at:])  # type: ignore[no-untyped-call]
                break
            except Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
                return
        self._flushSendBIO()

    def _close_notified(self) -> None:
        self._peer_has_closed = True
        if self.disconnecting:
            if self._producer is None:
                self._shutdownTLS()  # type: ignore[no-untyped-call]
        elif IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.readConnectionLost()
        else:
            self.loseConnection()

    def readConnectionLost(self) -> None:
        """The peer has closed its direction of the connection below: in order, or else what it sent may be cut off."""
        if not self._peer_has_closed:
            self._aggregator.flush()
            self._reason = self._reason or Failure(CONNECTION_LOST)
            self._tlsShutdownFinished(None)  # type: ignore[no-untyped-call]

    def writeConnectionLost(self) -> None:
        """Never comes: nobody closes this side's direction alone."""
