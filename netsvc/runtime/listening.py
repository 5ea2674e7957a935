"""The service that listens for one section: binds with privileges, accepts later, drains at the end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, MutableSet
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from netsvc.config.listen import DEFAULT_BACKLOG, ListenAddress, SystemdAddress
from netsvc.config.tls import TlsPlace
from netsvc.errors import StartError
from netsvc.interfaces import IMetrics
from netsvc.runtime.certificate_watch import CertificateWatch
from netsvc.runtime.datagrams import DatagramAdmission, DatagramGate
from netsvc.runtime.gate import Door, Gate, GateFactory
from netsvc.runtime.ports import adopt_datagram_port, adopt_stream_port
from netsvc.runtime.sockets import BoundSocket, bind
from netsvc.runtime.tls import context_maker, tls_factory

log = Logger()


class Listening(Service):
    """Holds the sockets of one section.

    privilegedStartService binds them all or raises StartError with none left open; startService begins to
    accept; stopService stops accepting and drains.

    :param addresses: where to listen.
    :param factory: the service's stream factory, or None when it has no stream side.
    :param gate: its gate, or None likewise.
    :param datagrams: its datagram side, or None.
    :param take_inherited: gives the descriptors that systemd passed.
    :param own_udp_ports: the daemon's UDP ports; those bound here are added.
    :param streams: what stream sockets are handed to: the reactor, or a Lane on it.
    """

    def __init__(
        self,
        *,
        service: str,
        addresses: Iterable[ListenAddress],
        factory: Any,
        gate: Gate | None,
        datagrams: DatagramAdmission | None,
        take_inherited: Callable[[SystemdAddress], list[int]],
        own_udp_ports: MutableSet[int],
        reactor: Any,
        metrics: IMetrics,
        streams: Any = None,
    ) -> None:
        self.service = service
        self.gate = gate
        self._addresses = tuple(addresses)
        self._factory = factory
        self._datagrams = datagrams
        self._take_inherited = take_inherited
        self._own_udp_ports = own_udp_ports
        self._reactor = reactor
        self._metrics = metrics
        self._streams = reactor if streams is None else streams
        self._certificates: dict[TlsPlace, CertificateWatch] = {}
        self._bound: list[tuple[BoundSocket, Door | None]] = []
        self._ports: list[Any] = []

    def where(self) -> list[str]:
        """The places where it listens, in words, once bound."""
        return [bound.where() for bound, _ in self._bound]

    def privilegedStartService(self) -> None:
        if self._bound:
            return
        try:
            for address in self._addresses:
                for bound in bind(address, self._take_inherited):
                    self._bound.append((bound, None))
                    self._bound[-1] = (bound, self._door(bound))
        except StartError as error:
            self.abandon()
            raise StartError("\n".join(f"[{self.service}] {line}" for line in str(error).splitlines())) from None
        self._own_udp_ports |= {bound.socket.getsockname()[1] for bound, _ in self._bound if bound.datagram}

    def startService(self) -> None:
        self.privilegedStartService()  # a service added to a running daemon is started without it
        super().startService()  # type: ignore[no-untyped-call]
        for watch in self._certificates.values():
            watch.start()
        for bound, door in self._bound:
            self._ports.append(self._adopt(bound, door))
            log.info("listening on {where}", event="listening", service=self.service, where=bound.where())

    def stopService(self) -> Deferred[Any]:
        super().stopService()  # type: ignore[no-untyped-call]
        ports, self._ports = self._ports, []
        ending = [maybeDeferred(port.stopListening).addErrback(self._note) for port in ports]
        self.abandon()
        if self.gate is not None:
            ending.append(self.gate.drain())
        return DeferredList(ending)

    def give(self, uid: int, gid: int) -> None:
        """Make the socket files another user's; see :meth:`BoundSocket.give`.

        :raises StartError: it cannot be done.
        """
        for bound, _ in self._bound:
            try:
                bound.give(uid, gid)
            except OSError as error:
                raise StartError(f"cannot give {bound.where()} to uid {uid}: {error.strerror or error}") from None

    def abandon(self) -> None:
        """Close every socket bound here, as when the daemon cannot start after all."""
        for bound, _ in self._bound:
            bound.close()
        self._bound = []
        for watch in self._certificates.values():
            watch.stop()
        self._certificates = {}

    def _note(self, failure: Any) -> None:
        log.failure("a listener did not stop", failure, event="stop-failed", service=self.service)

    def _door(self, bound: BoundSocket) -> Door | None:
        if bound.datagram:
            if self._datagrams is None:
                raise StartError(f"cannot listen on {bound.address}: this kind has no UDP side")
            return None
        if self.gate is None:
            raise StartError(f"cannot listen on {bound.address}: this kind has only a UDP side")
        counted = bound.socket.family != socket.AF_UNIX
        if bound.tls is None:
            return Door(self._factory, haproxy=bound.haproxy, counted=counted)
        wrapped = tls_factory(self._certificates_in(bound.tls), self._factory, self._reactor)
        return Door(wrapped, tls=True, haproxy=bound.haproxy, counted=counted)

    def _certificates_in(self, place: TlsPlace) -> CertificateWatch:
        """The certificates of one place, read once however many listeners have them."""
        watch = self._certificates.get(place)
        if watch is None:
            watch = CertificateWatch(place, service=self.service, reactor=self._reactor, metrics=self._metrics)
            watch.load(context_maker(self._factory, watch.context))
            self._certificates[place] = watch
        return watch

    def _adopt(self, bound: BoundSocket, door: Door | None) -> Any:
        """Hand a duplicate of the socket to the reactor; ours stays, so that a reload can hand it on."""
        if door is None:
            assert self._datagrams is not None  # noqa: S101 - _door refused it
            return adopt_datagram_port(self._reactor, bound.socket, DatagramGate(self._datagrams, bound.on_loopback))
        assert self.gate is not None  # noqa: S101 - as above
        backlog = getattr(bound.address, "backlog", DEFAULT_BACKLOG)
        return adopt_stream_port(self._streams, bound.socket, backlog, GateFactory(self.gate, door), self.gate.no_room)
