"""What services are handed: Runtime for the daemon, SectionRuntime for each section of its configuration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from zope.interface import implementer

from netsvc.config.daemon import DaemonSettings
from netsvc.config.server import ServerSettings
from netsvc.config.tls import TlsPlace
from netsvc.interfaces import IRuntime
from netsvc.runtime.admission import Admission, TotalLimit
from netsvc.runtime.datagrams import DatagramAdmission
from netsvc.runtime.gate import Gate
from netsvc.runtime.listening import Listening
from netsvc.runtime.metrics import Metrics
from netsvc.runtime.start_tls import StartTls
from netsvc.runtime.systemd_sockets import Inherited
from netsvc.runtime.threads import ThreadWork

T = TypeVar("T")


def local_time() -> time:
    """The local time of day."""
    return datetime.now().time()


class Runtime:
    """The daemon's side of everything that its services share.

    :param settings: the ``[netsvc]`` section.
    :param inherited: the sockets that systemd passed.
    :param streams: what stream sockets are handed to, such as a Lane; None is the reactor.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        settings: DaemonSettings,
        state_directory: Path,
        inherited: Inherited,
        metrics: Metrics,
        local_time: Callable[[], time] = local_time,
        streams: Any = None,
    ) -> None:
        self.reactor = reactor
        self.streams = streams
        self.settings = settings
        self.state_directory = state_directory
        self.metrics = metrics
        self.inherited = inherited
        self.total = None if settings.max_connections is None else TotalLimit(settings.max_connections)
        self.udp_ports: set[int] = set()
        self.listening: list[Listening] = []
        self.local_time = local_time
        self.offers: dict[str, Any] = {}
        self.threads = ThreadWork(reactor)

    def for_section(self, name: str) -> SectionRuntime:
        """The IRuntime of one section."""
        return SectionRuntime(self, name)


@implementer(IRuntime)
class SectionRuntime:
    """One section's IRuntime: see :class:`netsvc.interfaces.IRuntime`."""

    def __init__(self, daemon: Runtime, name: str) -> None:
        self._daemon = daemon
        self.name = name
        self.reactor = daemon.reactor
        self.streams = daemon.reactor if daemon.streams is None else daemon.streams
        self.metrics = daemon.metrics
        self.state_directory = daemon.state_directory

    def serve(self, settings: ServerSettings, stream: Any = None, datagram: Any = None) -> IService:
        """Make the service that listens for this section."""
        daemon = self._daemon
        admission = Admission(settings, daemon.reactor, daemon.local_time, daemon.total)
        gate = datagrams = None
        if stream is not None:
            gate = Gate(
                service=self.name,
                settings=settings,
                factory=stream,
                admission=admission,
                reactor=daemon.reactor,
                metrics=daemon.metrics,
            )
        if datagram is not None:
            datagrams = DatagramAdmission(
                service=self.name,
                settings=settings,
                responder=datagram,
                admission=admission,
                own_ports=daemon.udp_ports,
                clock=daemon.reactor,
                metrics=daemon.metrics,
            )
        made = Listening(
            service=self.name,
            addresses=settings.listen,
            factory=stream,
            gate=gate,
            datagrams=datagrams,
            take_inherited=daemon.inherited.take,
            own_udp_ports=daemon.udp_ports,
            reactor=daemon.reactor,
            metrics=daemon.metrics,
            streams=daemon.streams,
        )
        daemon.listening.append(made)
        return made

    def start_tls(self, place: TlsPlace) -> StartTls:
        """Make what begins TLS in the middle of a conversation."""
        return StartTls(place, service=self.name, reactor=self.reactor, metrics=self.metrics)

    def offer(self, thing: Any) -> None:
        """Let other sections have something of this one."""
        self._daemon.offers[self.name] = thing

    def offered(self, name: str) -> Any:
        """What another section offers, or None."""
        return self._daemon.offers.get(name)

    def in_thread(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Run blocking work in the reactor's thread pool."""
        return self._daemon.threads.run(function, *args, **kwargs)

    def in_disk_thread(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Run work that waits for the disk in threads of its own."""
        return self._daemon.threads.run_on_disk(function, *args, **kwargs)
