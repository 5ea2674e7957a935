"""The program of an agent: it is handed attempts over a socket and makes them, until the socket ends.

It holds no queue and no listener; whatever happens to it, the daemon knows which attempts it had. Signals mean nothing
to it, since those of a terminal or of systemd go to every process: the daemon says when it is over.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.main import installReactor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.fast_pass import passed
from netsvc.net.fast_write import fast_write
from netsvc.net.heap import give_back
from netsvc.services.smtp_client.agents import events, wire
from netsvc.services.smtp_client.way import Way, make_way

log = Logger()


@frozen
class AgentRuntime:
    """What an agent has of an IRuntime: what its way needs."""

    reactor: Any
    name: str
    state_directory: Path

    def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Run blocking work in the reactor's thread pool."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *args, **kwargs)


@implementer(IFileDescriptorReceiver)
class AgentProtocol(Protocol):
    """The agent's end of the socket.

    :param end: ends the process.
    """

    def __init__(self, reactor: Any, end: Callable[[], None]) -> None:
        self._reactor = reactor
        self._end = end
        self._frames = wire.Frames()
        self._way: Way | None = None
        self._under_way: dict[int, Deferred[Any]] = {}
        self._saying: list[bytes] = []
        self._descriptors: deque[int] = deque()

    def dataReceived(self, data: bytes) -> None:
        for one in self._frames.feed(data):
            self._take(one)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """The content of an attempt, whose frame comes behind it."""
        self._descriptors.append(descriptor)

    def connectionLost(self, _: Failure = connectionDone) -> None:
        self._end()  # the daemon is gone: whoever opens its queue calls the result of these attempts unknown

    def said(self, event: dict[str, Any]) -> None:
        """Hand an event of the log on."""
        head = events.to_head(event)
        if head is not None and self.transport is not None:
            self._say(wire.frame(wire.LOG, head))

    def _take(self, frame: wire.Frame) -> None:
        match frame.kind:
            case wire.ATTEMPT:
                self._attempt(frame, frame.octets)
            case wire.LARGE_ATTEMPT:
                self._attempt(frame, passed(self._descriptors.popleft()))
            case wire.STOP:
                delivery = self._under_way.get(frame.head)
                if delivery is not None:
                    delivery.cancel()
            case wire.SETTINGS:
                settings = pickle.loads(frame.octets)  # noqa: S301 - the daemon's own
                name, directory = frame.head
                runtime: Any = AgentRuntime(self._reactor, name, Path(directory))
                self._way = make_way(settings, runtime, processes=settings.delivery_processes)
                self._say(wire.frame(wire.READY, None))
            case wire.LOOK:
                self._say(wire.frame(wire.LOOK, None))
            case wire.QUIT:
                closed = Deferred.fromCoroutine(self._close())
                closed.addBoth(lambda _: self._flush())
                closed.addBoth(lambda _: self._end())

    def _attempt(self, frame: wire.Frame, content: bytes) -> None:
        assert self._way is not None  # noqa: S101 - the settings come first
        number, lease = wire.read_attempt(frame, content)
        way = self._way
        delivery = way(lease, content)
        self._under_way[number] = delivery

        def told(found: Any) -> None:
            self._under_way.pop(number, None)
            if isinstance(found, Failure):
                log.failure(
                    "the delivery of {queue_id} broke",
                    found,
                    event="agent-delivery-fault",
                    queue_id=lease.item.queue_id,
                )
                found = ()  # no outcome is an unknown result
            self._say(wire.outcomes(number, found, way.notified(lease)))

        delivery.addBoth(told)

    async def _close(self) -> None:
        if self._way is not None:
            await self._way.pool.stop()

    def _say(self, octets: bytes) -> None:
        """Send a frame, with those that are said in the same turn of the reactor."""
        if not self._saying:
            self._reactor.callLater(0, self._flush)
        self._saying.append(octets)

    def _flush(self) -> None:
        saying, self._saying = self._saying, []
        fast_write(self.transport, b"".join(saying))


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    give_back()
    loop: Any = EPollReactor()
    installReactor(loop)  # for what asks for one by itself
    protocol = AgentProtocol(loop, lambda: os._exit(0))
    observer: Any = protocol.said
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    ours = int(sys.argv[1])
    server = _Factory(protocol)
    loop.adoptStreamConnection(ours, socket.AF_UNIX, server)
    os.close(ours)
    loop.callWhenRunning(gc.freeze)  # what is there now stays: collections need not look at it
    loop.run(installSignalHandlers=False)


class _Factory:
    """Gives the one connection its protocol."""

    noisy = False

    def __init__(self, protocol: AgentProtocol) -> None:
        self._protocol = protocol

    def doStart(self) -> None:
        """As IProtocolFactory."""

    def doStop(self) -> None:
        """As IProtocolFactory."""

    def buildProtocol(self, _: Any) -> AgentProtocol:
        """As IProtocolFactory."""
        return self._protocol


if __name__ == "__main__":
    main()
