"""One TLS connection, as services expect a connection to be: made when they can talk, half-closed when the peer is.

What differs from Twisted's own:

- The protocol is told of the connection when the handshake is done. Before that, everything it writes would be held
  back and its producer paused; one that then stops reading, as a paused producer does, would never see the end of the
  handshake. And who never finishes a handshake costs no protocol.
- A close_notify ends the peer's direction only (RFC 8446 section 6.1). A protocol that goes on after a half-close of
  TCP is told and goes on; for any other what it has written is sent before the connection closes. Twisted's drops what
  was written in the same turn, so that the answer to a request with a close_notify behind it is lost.

It overrides methods that Twisted keeps private; tests/runtime pins them.
"""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import BufferingTLSTransport
from twisted.python.failure import Failure
from zope.interface import implementer

MOST_AT_ONCE = 1 << 15  # octets taken out of OpenSSL at once: two records, RFC 8446 section 5.1


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

    @property
    def handshake_done(self) -> bool:
        """Whether the protocol has its connection."""
        return self._handshakeDone

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()  # type: ignore[no-untyped-call]
        if self._handshakeDone:
            self.wrappedProtocol = self._protocol
            self.wrappedProtocol.makeConnection(self)

    def _flushReceiveBIO(self) -> None:
        while not (self._lostTLSConnection or self._peer_has_closed):
            try:
                octets = self._tlsConnection.recv(MOST_AT_ONCE)
            except WantReadError:
                break
            except ZeroReturnError:
                self._close_notified()
            except Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
            else:
                if not self._aborted:
                    self.wrappedProtocol.dataReceived(octets)
        self._flushSendBIO()  # type: ignore[no-untyped-call]

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
