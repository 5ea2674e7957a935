"""WsgiResource: a WSGI application (PEP 3333) that waits for a peer that reads slowly, so that memory stays flat.

twisted.web.wsgi does the rest, in a thread of its own pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import IResource
from twisted.web.wsgi import WSGIResource
from zope.interface import implementer


@implementer(IPushProducer)
class Pace:
    """Lets an application's thread go on while its peer reads, and for good when it has left."""

    def __init__(self) -> None:
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._over = False

    def wait(self) -> None:
        """Wait in the application's thread."""
        self._may_go_on.wait()

    def pauseProducing(self) -> None:
        if not self._over:
            self._may_go_on.clear()

    def resumeProducing(self) -> None:
        self._may_go_on.set()

    def stopProducing(self) -> None:
        self._over = True
        self._may_go_on.set()


@implementer(IResource)
class WsgiResource:
    """Answers everything below its place by an application.

    :param threads: runs it.
    """

    isLeaf = True

    def __init__(self, reactor: Any, threads: Any, application: Callable[..., Any]) -> None:
        self._reactor = reactor
        self._threads = threads
        self._application = application

    def render(self, request: Any) -> Any:
        """Start the application for a request."""
        pace = Pace()
        request.registerProducer(pace, True)
        request.notifyFinish().addBoth(lambda _: pace.stopProducing())

        user: str = request.user_name

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            if user:  # as for scripts (RFC 3875 4.1.1, 4.1.11), in PEP 3333's text, which is octets
                environ["AUTH_TYPE"] = "Basic"
                environ["REMOTE_USER"] = user.encode().decode("latin-1")

            def start(*arguments: Any) -> Any:
                write = start_response(*arguments)

                def paced(data: bytes) -> None:
                    pace.wait()
                    write(data)

                return paced

            return self._run(request, pace, self._application(environ, start))

        return WSGIResource(self._reactor, self._threads, application).render(request)

    def _run(self, request: Any, pace: Pace, answer: Any) -> Iterator[bytes]:
        def unregister() -> None:
            if request.producer is pace and request.channel is not None:
                request.unregisterProducer()

        try:
            for part in answer:
                pace.wait()
                yield part
        finally:
            try:
                close = getattr(answer, "close", None)
                if close is not None:
                    close()
            finally:
                self._reactor.callFromThread(unregister)

    def getChildWithDefault(self, name: bytes, _: Any) -> Any:
        """Never called: everything below is the application's."""
        raise RuntimeError(f"a WSGI application has no child {name!r}")

    def putChild(self, path: bytes, _: Any) -> None:
        """Never called."""
        raise RuntimeError(f"a WSGI application takes no child {path!r}")
