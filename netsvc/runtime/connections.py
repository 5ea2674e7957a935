"""Connections as the gate sees them: one that was let in, and one of a proxy whose header is still to come.

A connection that is let in keeps its plain transport, and its octets go straight to the protocol:
the gate stands in the transport's `protocol` only to hear when the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ILoggingContext, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net import peer
from netsvc.net.progress import octets_moved, octets_unread
from netsvc.runtime.admission import Refusal
from netsvc.runtime.proxy_header import ProxyHeaderError, ProxyHeaderParser
from netsvc.runtime.tls_connection import TlsConnection

if TYPE_CHECKING:
    from netsvc.runtime.gate import Door, Gate


@implementer(IProtocol, ILoggingContext)
class Admitted:
    """One connection that was let in: stands before its protocol and tells the gate when it ends."""

    __slots__ = (
        "_gate",
        "_inner",
        "_peer",
        "dataReceived",
        "key",
        "moved",
        "received",
        "since",
        "timer",
        "transport",
        "why",
    )

    def __init__(self, gate: Gate, inner: Any, key: Any, now: float, peer: Any = None) -> None:
        self._gate = gate
        self._peer = peer  # what the transport must show instead of its own; None is its own
        self._inner = inner
        self.key = key
        self.dataReceived: Callable[[bytes], None] = inner.dataReceived
        self.moved: object = None  # what progress() said at the last sweep
        self.since = now  # when that changed, seconds
        self.received = 0
        self.timer: Any = None
        self.transport: Any = None
        self.why: str | None = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if self._peer is not None:
            peer.present_as(transport, self._peer)
        self._gate.opened(self)
        self._inner.makeConnection(transport)

    def connectionMade(self) -> None:
        """Part of IProtocol; the protocol within is told by its own makeConnection."""

    def connectionLost(self, reason: Failure) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        try:
            self._inner.connectionLost(reason)
        finally:  # what the protocol has begun at its end counts as begun when the last connection has ended
            self._gate.closed(self, reason)

    def logPrefix(self) -> str:
        return self._gate.service

    def progress(self) -> object:
        """Something that changes when octets move in either direction."""
        moved = octets_moved(self.transport.socket)
        if moved is not None:
            return moved
        return self.received, octets_unread(self.transport.socket)

    def count_received(self) -> None:
        """Count what arrives, for transports of which the kernel keeps no count (UNIX)."""
        pass_on = self.dataReceived

        def received(data: bytes) -> None:
            self.received += len(data)
            pass_on(data)

        self.dataReceived = received

    def close(self) -> None:
        """End it in good order: what was written is still sent."""
        if isinstance(self._inner, TlsConnection):
            self._inner.loseConnection()
        else:
            self.transport.loseConnection()

    def cut(self, why: str) -> None:
        """End it now.

        :param why: the reason for the log and the metrics.
        """
        self.why = self.why or why
        self.transport.abortConnection()

    def cut_handshake(self, why: str) -> None:
        """End it now if its TLS handshake is not done.

        :param why: as for :meth:`cut`.
        """
        if isinstance(self._inner, TlsConnection) and not self._inner.handshake_done:
            self.cut(why)


@implementer(IHalfCloseableProtocol)
class AdmittedHalfCloseable(Admitted):
    """The same for a protocol that goes on when its peer has closed one direction."""

    __slots__ = ()

    def readConnectionLost(self) -> None:
        self._inner.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self._inner.writeConnectionLost()


@implementer(IProtocol, ILoggingContext)
class Proxied:
    """A connection of a trusted proxy until its PROXY header is read; then it becomes the client's own."""

    def __init__(self, gate: Gate, door: Door, now: float) -> None:
        self._gate = gate
        self._door = door
        self._arrived = now
        self._parser = ProxyHeaderParser()
        self._timer: Any = None
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._gate.waiting.add(self)
        self._timer = self._gate.after_handshake_timeout(self._overdue)

    def connectionMade(self) -> None:
        """Part of IProtocol."""

    def dataReceived(self, data: bytes) -> None:
        try:
            header = self._parser.feed(data)
        except ProxyHeaderError as error:
            self._refuse("proxy-header", f"bad PROXY header: {error}")
            return
        if header is None:
            return
        self._end_wait()
        if header.source is not None:
            local = None if header.destination is None else peer.address(*header.destination)
            peer.present_as(self.transport, peer.address(*header.source), local)
        admitted = self._gate.admit(self.transport.getPeer(), self._door, self._arrived)
        if admitted is None:
            self.transport.abortConnection()
            return
        self.transport.protocol = admitted
        admitted.makeConnection(self.transport)
        if header.rest and self.transport.connected and not self.transport.disconnecting:
            admitted.dataReceived(header.rest)

    def connectionLost(self, _: Failure) -> None:
        self._end_wait()

    def logPrefix(self) -> str:
        return self._gate.service

    def cut(self) -> None:
        """Nothing was promised yet."""
        self.transport.abortConnection()

    def _overdue(self) -> None:
        self._refuse("handshake", "no PROXY header in time")

    def _refuse(self, reason: str, rule: str) -> None:
        self._gate.refused(self.transport.getPeer(), Refusal(reason, rule))
        self.transport.abortConnection()

    def _end_wait(self) -> None:
        self._gate.waiting.discard(self)
        if self._timer.active():
            self._timer.cancel()
