"""Lane: an epoll of our own, inside the reactor's, on which the stream connections of all services run.

The reactor calls every descriptor through five frames that keep a log context which netsvc's events do not need, and
tells the kernel at once of every change of interest. For connections that live for one exchange both cost more
than the exchange. A Lane is one descriptor to the reactor: what is ready in it is served in a batch, and changes of
interest are told to the kernel once, after the batch; what begins and ends within one is never told.

To a transport the Lane is its reactor: readers and writers are the Lane's, all else is the true reactor's.
"""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.accepted import AcceptedConnection

log = Logger()

BATCH = 256  # events served before the reactor's timers and other descriptors have their turn
ACCEPTS = 64  # connections accepted in a row, for the same reason

_IN, _OUT, _ENDED = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR
_DONE = Failure(CONNECTION_DONE)
_LOST = Failure(CONNECTION_LOST)


@implementer(IReadDescriptor)
class Lane:
    """Readers and writers on an epoll of their own, which is opened when the first one comes.

    :param reactor: the true reactor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: Any = None
        self._selectables: dict[int, Any] = {}
        self._wanted: dict[int, int] = {}  # descriptor -> events
        self._told: dict[int, int] = {}  # the same, as the kernel knows it
        self._changed: set[int] = set()
        self._serving = False
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def fileno(self) -> int:
        """The epoll's descriptor: readable when one of ours is ready."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """The name in log lines of the reactor."""
        return "netsvc"

    def addReader(self, reader: Any) -> None:
        """Call its doRead when there is something to read."""
        self._add(reader, _IN)

    def addWriter(self, writer: Any) -> None:
        """Call its doWrite when it can be written to."""
        self._add(writer, _OUT)

    def removeReader(self, reader: Any) -> None:
        """No more doRead."""
        self._remove(reader, _IN)

    def removeWriter(self, writer: Any) -> None:
        """No more doWrite."""
        self._remove(writer, _OUT)

    def _add(self, selectable: Any, event: int) -> None:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        descriptor = selectable.fileno()
        self._selectables[descriptor] = selectable
        self._want(descriptor, self._wanted.get(descriptor, 0) | event)

    def _remove(self, selectable: Any, event: int) -> None:
        descriptor = selectable.fileno()
        events = self._wanted.get(descriptor, 0)
        if events & event and self._selectables[descriptor] is selectable:
            self._want(descriptor, events & ~event)

    def _want(self, descriptor: int, events: int) -> None:
        self._wanted[descriptor] = events
        self._changed.add(descriptor)
        if not events:
            self._tell(descriptor)  # at once: the descriptor may be closed next, and its number given to another
            del self._wanted[descriptor], self._selectables[descriptor]
            self._changed.discard(descriptor)
        elif not self._serving:
            self._tell_changes()

    def _tell(self, descriptor: int) -> None:
        wanted = self._wanted[descriptor]
        told = self._told.get(descriptor, 0)
        if wanted == told:
            return
        if not told:
            self._epoll.register(descriptor, wanted)
        elif wanted:
            self._epoll.modify(descriptor, wanted)
        else:
            self._epoll.unregister(descriptor)
            del self._told[descriptor]
            return
        self._told[descriptor] = wanted

    def _tell_changes(self) -> None:
        changed = self._changed
        while changed:
            self._tell(changed.pop())

    def doRead(self) -> None:
        """Serve what is ready."""
        self._serving = True
        told, selectables, serve = self._told, self._selectables, self._serve
        try:
            for descriptor, event in self._epoll.poll(0, BATCH):
                # A descriptor that ended in this batch may already be another connection's, which is not told yet.
                if descriptor in told:
                    serve(selectables[descriptor], descriptor, event)
        finally:
            self._serving = False
            self._tell_changes()

    def _serve(self, selectable: Any, descriptor: int, event: int) -> None:
        """Let one descriptor read and write; end it as the reactor would."""
        why: Any = None
        reading = False
        try:
            if event & _ENDED and not event & _IN:
                reading = bool(self._wanted[descriptor] & _IN)
                why = CONNECTION_DONE if reading else CONNECTION_LOST
            else:
                if event & _IN:
                    reading = True
                    why = selectable.doRead()
                if why is None and event & _OUT and descriptor in self._told:
                    reading = False
                    why = selectable.doWrite()
        except Exception as error:  # noqa: BLE001 - whatever a protocol raises costs its own connection only
            log.failure("a fault in a connection", event="connection-fault")
            why = error
        if why is not None:
            try:
                self._disconnect(selectable, why, reading)
            except Exception:  # noqa: BLE001 - likewise: what reaches the reactor would end the whole lane
                log.failure("a fault at the end of a connection", event="connection-fault")

    def _disconnect(self, selectable: Any, why: BaseException, reading: bool) -> None:
        if selectable.fileno() != -1:
            self.removeReader(selectable)
        if reading and why is CONNECTION_DONE:
            selectable.readConnectionLost(_DONE)
            return
        if selectable.fileno() != -1:
            self.removeWriter(selectable)
        selectable.connectionLost(
            _DONE if why is CONNECTION_DONE else _LOST if why is CONNECTION_LOST else Failure(why)
        )

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends: so does everything here."""
        for selectable in tuple(self._selectables.values()):
            selectable.connectionLost(reason)
        self._epoll.close()


class LanePort(tcp.Port):
    """A listening TCP socket whose connections are on a Lane; netsvc.runtime.ports pauses it when there is no room."""

    factory: Any
    transport: Any = AcceptedConnection

    def doRead(self) -> None:
        """Accept what waits, all of it before the first is served. Nothing that a connection does ends the listener.

        A peer that is answered at once wakes up and competes for the processor with the next accept: daytime serves
        24,000 connections a second when each is answered as it comes, and 40,000 in batches.
        """
        waiting = []
        for _ in range(ACCEPTS):
            try:
                waiting.append(self.socket.accept())
            except BlockingIOError:
                break
            except OSError:  # the peer left before it was accepted
                continue
        for accepted, addr in waiting:
            self._begin(accepted, addr)

    def _begin(self, accepted: socket.socket, addr: Any) -> None:
        made: Any = accepted  # what to close when the next step fails
        try:
            if len(addr) == 4:  # IPv6: with its scope, as Twisted has it
                addr = (socket.getnameinfo(addr, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0], *addr[1:])
            protocol = self.factory.buildProtocol(self._addressType("TCP", *addr))
            if protocol is None:
                accepted.close()
                return
            made = self.transport(accepted, protocol, addr, self, 0, self.reactor)
            protocol.makeConnection(made)
        except Exception:  # noqa: BLE001 - whatever they raise costs this connection only
            log.failure("a connection could not be made", event="connection-fault")
            if made is accepted:
                accepted.close()
            else:
                made.connectionLost(Failure())
