"""MountedResource: gives the exchanges of one place to a Twisted resource.

mounted = MountedResource(settings, reactor, in_thread)
mounted.start()                                   # imports it; StartError
mounted.answer(exchange, (b"app",), (b"x",), directory=False)
mounted.stop()
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.server import Session, Site

from netsvc.services.http.mount.body import Collected
from netsvc.services.http.mount.channel import Channel
from netsvc.services.http.mount.forms import BadFormError, kind_of, read_form
from netsvc.services.http.mount.load import load_named, resource_of
from netsvc.services.http.mount.request import MountRequest, Way
from netsvc.services.http.mount.settings import MountSettings
from netsvc.services.http.mount.wsgi import WsgiResource

AT_ONCE = 1 << 16  # octets of a form that are read in the reactor's thread; about a millisecond
MOST_SESSIONS = 10_000  # of one resource; past that the oldest ends


class MountSite(Site):
    """What keeps the sessions of a resource."""

    displayTracebacks = False

    def __init__(self, resource: Any, reactor: Any) -> None:
        super().__init__(resource, reactor=reactor)  # type: ignore[no-untyped-call]

    def makeSession(self) -> Session:
        """A new session; who asks for one after the other ends the first."""
        while len(self.sessions) >= MOST_SESSIONS:
            next(iter(self.sessions.values())).expire()
        made: Session = super().makeSession()  # type: ignore[no-untyped-call]
        return made


class DaemonThread(Thread):
    """A thread that does not hold the end of the process."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named, daemon=True)


class DaemonThreads(ThreadPool):
    """A pool of such threads."""

    threadFactory = DaemonThread


class MountedResource:
    """A resource and the place where it answers.

    :param settings: `mount` is not None.
    :param reactor: IReactorTime and, for WSGI, IReactorThreads.
    :param in_thread: runs blocking work; gives a Deferred.
    """

    def __init__(self, settings: MountSettings, reactor: Any, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._settings = settings
        self._reactor = reactor
        self._in_thread = in_thread
        self._site: Any = None
        self._threads: ThreadPool | None = None

    def start(self) -> None:
        """Import the resource.

        :raise StartError: that fails.
        """
        target = self._settings.mount
        if target is None or self._site is not None:
            return
        found = load_named(target, self._settings.mount_path)
        if target.wsgi:
            self._threads = DaemonThreads(0, self._settings.mount_threads, "wsgi")
            self._threads.start()
            found = WsgiResource(self._reactor, self._threads, found)
        else:
            found = resource_of(target, found)
        self._site = MountSite(found, self._reactor)

    def stop(self) -> None:
        """End the sessions, and the threads once nothing runs in them; nobody waits for an application that hangs."""
        site, self._site = self._site, None
        threads, self._threads = self._threads, None
        if site is not None:
            for session in list(site.sessions.values()):
                session.expire()
        if threads is not None:
            DaemonThread(target=threads.stop).start()

    def answer(self, exchange: Any, prefix: tuple[bytes, ...], segments: tuple[bytes, ...], directory: bool) -> None:
        """Have an exchange answered by the resource, once its body is whole.

        :param prefix: the decoded names of the place where it is mounted.
        :param segments: the decoded names behind them.
        :param directory: whether the path ends with a slash.
        """
        if self._site is None:  # the service has stopped
            exchange.refuse(503)
            return
        kind, content_type = None, exchange.head.first(b"content-type")
        if self._threads is None:  # a WSGI application reads forms itself
            try:
                kind = kind_of(exchange.head.method, content_type)
            except BadFormError:
                exchange.refuse(400)
                return
        if kind is not None and (exchange.body_length or 0) > self._settings.mount_form:
            exchange.refuse(413)
            return
        way = Way(prefix, (*segments, b"") if directory else segments)

        def whole(file: Any) -> None:
            self._whole(exchange, file, way, kind)

        exchange.receive_body(Collected(exchange, whole))

    def _whole(self, exchange: Any, file: Any, way: Way, kind: bytes | None) -> None:
        """The body is there: read the form in it, then begin."""
        length = file.tell()
        request = self._request(exchange, file, length)
        if kind is None or not length:
            request.begin({}, way)
            return
        if length > self._settings.mount_form:
            request.refuse(413)
            return
        file.seek(0)
        run = maybeDeferred if length <= AT_ONCE else self._in_thread
        reading: Deferred[Any] = run(read_form, kind, exchange.head.first(b"content-type"), file.read())
        reading.addCallbacks(request.begin, request.bad_form, callbackArgs=(way,))

    def _request(self, exchange: Any, file: Any, length: int) -> MountRequest:
        head = exchange.head
        request = MountRequest(Channel(exchange, self._site), exchange)
        request.content = file
        for name, value in head.headers:
            # As for scripts: HTTP_PROXY is nobody's to set, and a "_" is a "-" to WSGI.
            if name not in (b"transfer-encoding", b"proxy") and b"_" not in name and not name.startswith(b":"):
                request.requestHeaders.addRawHeader(name, value)
        if head.host:
            request.requestHeaders.setRawHeaders(b"host", [head.host.encode("latin-1")])
        if exchange.body_length is None:  # the chunks are decoded
            request.requestHeaders.setRawHeaders(b"content-length", [b"%d" % length])

        def lost(_: object) -> None:
            if not request.finished and not request._disconnected:
                request.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]

        exchange.lost.addCallback(lost)
        return request
