"""The gate before every stream service: PROXY header, admission, time limits, drain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.config.server import ServerSettings
from netsvc.net import peer
from netsvc.runtime.access import Access
from netsvc.runtime.admission import Admission, Refusal
from netsvc.runtime.connections import Admitted, AdmittedHalfCloseable, Proxied
from netsvc.runtime.metrics import (
    ACCEPT_PAUSES,
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_CLOSED,
    CONNECTIONS_OPEN,
    CONNECTIONS_REFUSED,
)
from netsvc.runtime.refusals import RefusalLog

log = Logger()

SWEEPS = 4  # sweeps in one idle_timeout: a connection is closed at most a quarter of it late
LONGEST_SWEEP = 30.0  # seconds
SHORTEST_SWEEP = 0.1  # seconds
QUIET = 60.0  # seconds without a pause after which the next pause of accepting is news again


@frozen
class Door:
    """What differs between the listeners of one service.

    :param factory: the service's factory, or the TLS factory around it.
    :param tls: whether it is one.
    :param haproxy: whether connections begin with a PROXY header.
    :param counted: whether the kernel counts the octets of its connections (TCP does, UNIX does not).
    """

    factory: IProtocolFactory
    tls: bool = False
    haproxy: bool = False
    counted: bool = True


class Gate:
    """All stream connections of one service, whichever of its listeners they came by.

    :param service: the section's name.
    :param factory: the service's own factory. If it has a ``drain()`` method, that is called when the service
        stops; otherwise the connections are closed in good order.
    :param admission: who is let in.
    """

    def __init__(
        self,
        *,
        service: str,
        settings: ServerSettings,
        factory: Any,
        admission: Admission,
        reactor: Any,
        metrics: Any,
    ) -> None:
        self.service = service
        self.waiting: set[Proxied] = set()
        self._factory = factory
        self._settings = settings
        self._admission = admission
        self._reactor = reactor
        self._refusals = RefusalLog(reactor, service, log)
        self._trusted = Access(settings.proxy_from, (), ())
        self._connections: set[Admitted] = set()
        self._sweep_call: Any = None
        self._sweep_every = min(max(settings.idle_timeout / SWEEPS, SHORTEST_SWEEP), LONGEST_SWEEP)
        self._drained: Deferred[None] | None = None
        self._pauses = ACCEPT_PAUSES.of(metrics, service=service)
        self._pause_is_news_at = 0.0
        self._accepted = CONNECTIONS_ACCEPTED.of(metrics, service=service)
        self._open = CONNECTIONS_OPEN.of(metrics, service=service)
        self._refused = CONNECTIONS_REFUSED.bind(metrics)
        self._closed = CONNECTIONS_CLOSED.bind(metrics)

    def __len__(self) -> int:
        return len(self._connections)

    def arrive(self, address: Any, door: Door) -> Admitted | Proxied | None:
        """A connection arrived: the protocol to give it, or None to close it at once."""
        if self._drained is not None:
            return None
        if not door.haproxy:
            return self.admit(address, door)
        address = peer.canonical(address)
        host = getattr(address, "host", None)
        if host is not None and (not self._settings.proxy_from or self._trusted.check_network(host) is not None):
            self.refused(address, Refusal("proxy-source", "its PROXY header is not trusted: not in proxy_from"))
            return None
        if len(self.waiting) >= self._settings.max_connections:
            self.refused(address, Refusal("max-connections", f"max_connections {self._settings.max_connections}"))
            return None
        return Proxied(self, door, self._reactor.seconds())

    def admit(self, address: Any, door: Door, arrived: float | None = None) -> Admitted | None:
        """Let a peer in; None when it is refused.

        :param address: the peer's, as its transport shows it.
        :param arrived: when the connection arrived, seconds of the reactor; None is now.
        """
        now = self._reactor.seconds()
        shown, address = address, peer.canonical(address)
        verdict = self._admission.admit(getattr(address, "host", None))
        if isinstance(verdict, Refusal):
            self.refused(address, verdict)
            return None
        inner = None
        try:
            inner = door.factory.buildProtocol(address)
        finally:
            if inner is None:
                self._admission.release(verdict)
        if inner is None:
            return None
        kind = AdmittedHalfCloseable if IHalfCloseableProtocol.providedBy(inner) else Admitted
        admitted = kind(self, inner, verdict, now, None if address is shown else address)
        if door.tls:
            waited = 0.0 if arrived is None else now - arrived
            admitted.timer = self.after_handshake_timeout(lambda: admitted.cut_handshake("handshake"), waited)
        if not door.counted:
            admitted.count_received()
        return admitted

    def refused(self, address: Any, refusal: Refusal) -> None:
        """Count and log one refusal."""
        self._refused.inc(service=self.service, reason=refusal.reason)
        self._refusals.refused(getattr(address, "host", None) or "local", refusal.reason, refusal.rule)

    def no_room(self, error: OSError) -> None:
        """Accepting pauses: there is no descriptor, or no memory, for one more connection."""
        self._pauses.inc()
        now = self._reactor.seconds()
        if now >= self._pause_is_news_at:
            log.error(
                "accepting pauses, new connections wait: {reason}",
                event="accept-paused",
                service=self.service,
                reason=error.strerror,
            )
        self._pause_is_news_at = now + QUIET

    def after_handshake_timeout(self, call: Callable[[], None], waited: float = 0.0) -> Any:
        """Have something called when handshakes have taken too long; an IDelayedCall.

        :param waited: seconds that earlier ones of the same connection took.
        """
        return self._reactor.callLater(max(0.0, self._settings.handshake_timeout - waited), call)

    def opened(self, connection: Admitted) -> None:
        """A connection that was let in has its transport."""
        self._connections.add(connection)
        self._accepted.inc()
        self._open.set(len(self._connections))
        if self._sweep_call is None and self._settings.idle_timeout > 0:
            self._sweep_call = self._reactor.callLater(self._sweep_every, self._sweep)

    def closed(self, connection: Admitted, reason: Failure) -> None:
        """A connection that was let in has ended."""
        self._connections.discard(connection)
        self._admission.release(connection.key)
        self._open.set(len(self._connections))
        self._closed.inc(service=self.service, reason=connection.why or _why(reason))
        if self._drained is not None and not self._connections and not self._drained.called:
            self._drained.callback(None)

    def drain(self) -> Deferred[None]:
        """Let nobody in any more, let connections finish within drain_timeout, then cut them.

        :return: fires when the last connection has ended.
        """
        if self._drained is not None:
            return self._drained
        self._drained = Deferred()
        for proxied in tuple(self.waiting):
            proxied.cut()
        if not self._connections:
            self._drained.callback(None)
        else:
            for connection in tuple(self._connections):
                connection.cut_handshake("drain")
            overdue = self._reactor.callLater(self._settings.drain_timeout, self.cut_all)
            self._drained.addBoth(lambda _: overdue.active() and overdue.cancel())
            self._ask_to_finish()
        self._drained.addCallback(self._after_drain)
        return self._drained

    def cut_all(self) -> None:
        """End every connection now."""
        for connection in tuple(self._connections):
            connection.cut("drain")

    def _ask_to_finish(self) -> None:
        drain = getattr(self._factory, "drain", None)
        if drain is not None:
            drain()
            return
        for connection in tuple(self._connections):
            connection.close()

    def _after_drain(self, _: object) -> None:
        if self._sweep_call is not None and self._sweep_call.active():
            self._sweep_call.cancel()
        self._refusals.close()

    def _sweep(self) -> None:
        """Close the connections on which nothing moved, or too little."""
        self._sweep_call = None
        now = self._reactor.seconds()
        for connection in tuple(self._connections):
            self._look_at(connection, now)
        if self._connections:
            self._sweep_call = self._reactor.callLater(self._sweep_every, self._sweep)

    def _look_at(self, connection: Admitted, now: float) -> None:
        idle, lowest = self._settings.idle_timeout, self._settings.lowest_rate
        moved = connection.progress()
        waited = now - connection.since
        if lowest and isinstance(moved, int) and isinstance(connection.moved, int):
            too_slow = moved - connection.moved < lowest * idle
        else:
            too_slow = moved == connection.moved
        if too_slow and waited >= idle:
            if connection.why is None and moved == connection.moved:
                connection.why = "idle"
                connection.close()  # a peer that only sits there sees a clean end; the next sweep cuts the others
            else:
                connection.cut("slow")
        elif not too_slow or connection.moved is None:
            connection.moved, connection.since = moved, now


def _why(reason: Failure) -> str:
    if reason.type is ConnectionDone:
        return "done"
    return "aborted" if reason.type is ConnectionAborted else "lost"


class GateFactory(Factory):
    """What the reactor sees of one listener: every connection is brought to the gate."""

    noisy = False

    def __init__(self, gate: Gate, door: Door) -> None:
        self._gate = gate
        self._door = door

    def buildProtocol(self, addr: Any) -> Any:
        return self._gate.arrive(addr, self._door)

    def doStart(self) -> None:
        self._door.factory.doStart()

    def doStop(self) -> None:
        self._door.factory.doStop()

    def logPrefix(self) -> str:
        """The name in log lines of the reactor."""
        return self._gate.service
