"""MountRequest: twisted.web's request, for resources that nobody has to change, over an exchange of ours.

What differs from twisted.web's: an error answers with netsvc's page and its request id, never with a traceback, the
repr of an object or another page behind what was already sent; a resource without HEAD gets GET and the
exchange drops the body; framing is the exchange's.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionAborted
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import _IEncodingResource, getChildForRequest

from netsvc.services.http.mount.forms import BadFormError

log = Logger()


@frozen
class Way:
    """Where a request goes.

    :param prefix: the decoded segments of the place where the resource is mounted.
    :param rest: those behind it; the last is empty when the path ends with a slash.
    """

    prefix: tuple[bytes, ...]
    rest: tuple[bytes, ...]


class MountRequest(server.Request):
    """One request to a mounted resource.

    :param channel: its Channel.
    :param exchange: whose it is.
    """

    def __init__(self, channel: Any, exchange: Any) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        self._exchange = exchange
        self.site = channel.site

    @property
    def user_name(self) -> str:
        """Whom netsvc has let in; "" when it asked nobody. getUser() is what the peer claims."""
        user: str = self._exchange.user
        return user

    @property
    def chunked(self) -> int:
        """Never: chunks are the exchange's."""
        return 0

    @chunked.setter
    def chunked(self, _: int) -> None:
        """What twisted.web decides here is of no effect."""

    def begin(self, form: dict[bytes, list[bytes]], way: Way) -> None:
        """Have it answered; headers and content are there. Never raises."""
        if self._disconnected:
            return
        content: Any = self.content
        try:
            head = self._exchange.head
            content.seek(0)
            self.method, self.path = head.method.encode("ascii"), head.path
            self.uri = head.path + b"?" + head.query if head.query else head.path
            self.args = {**http.parse_qs(head.query, 1), **form}
            self.clientproto = b"HTTP/2" if head.version == (2, 0) else b"HTTP/%d.%d" % head.version
            self.parseCookies()  # type: ignore[no-untyped-call]
            self.prepath, self.postpath, self.sitepath = list(way.prefix), list(way.rest), list(way.prefix)
            resource = getChildForRequest(self.site.resource, self)  # type: ignore[union-attr]
            if _IEncodingResource.providedBy(resource):
                self._encoder = resource.getEncoder(self)
            self.render(resource)
        except BaseException:  # noqa: BLE001  (sys.exit() in a resource is no reason to end the daemon)
            self.processingFailed(Failure())

    def render(self, resrc: Any) -> None:
        """Ask a resource for its answer."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            if self.method != b"HEAD" or b"GET" not in error.allowedMethods:
                self.refuse(405, ((b"Allow", b", ".join(sorted(set(error.allowedMethods)))),))
                return
            self.method = b"GET"
            body = resrc.render(self)
        if body is server.NOT_DONE_YET:
            return
        if not isinstance(body, bytes):
            raise TypeError(f"{type(resrc).__name__}.render returned {type(body).__name__}, not bytes")
        if body or self.method != b"HEAD" or not self.responseHeaders.hasHeader(b"Content-Length"):
            self.setHeader(b"Content-Length", b"%d" % len(body))  # type: ignore[no-untyped-call]
        self.write(body)
        self.finish()

    def write(self, data: bytes) -> None:
        """Send some of the body, behind the head."""
        if not isinstance(data, bytes):
            raise TypeError(f"a resource writes octets, not {type(data).__name__}")
        super().write(data)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """The answer is complete."""
        if self.code == http.INTERNAL_SERVER_ERROR and not (self.startedWriting or self.finished or self._disconnected):
            self.refuse(500)  # nothing but the code is there: twisted.web.wsgi tells so of an exception
        else:
            super().finish()  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        """Break the answer off."""
        if self.channel is not None and not self.finished:
            self._break_off()

    def processingFailed(self, reason: Failure) -> Failure:
        """A resource raised: that costs this answer only."""
        log.failure(
            "a mounted resource failed: {request_id}",
            reason,
            event="http-mount-failed",
            request_id=self._exchange.request_id,
        )
        if not (self.finished or self._disconnected):
            if self.startedWriting:
                self._break_off()
            else:
                self.refuse(500)
        return reason

    def bad_form(self, reason: Failure) -> None:
        """The form in its body cannot be read."""
        reason.trap(BadFormError)
        self.refuse(400)

    def refuse(self, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer with netsvc's own page."""
        if self._disconnected:
            return
        self._end_producer()
        self.code, self.startedWriting, self.finished = status, 1, 1
        self._exchange.refuse(status, headers=headers)
        self._cleanup()  # type: ignore[no-untyped-call]

    def _break_off(self) -> None:
        self._end_producer()
        self._exchange.abort()
        self.connectionLost(Failure(ConnectionAborted()))  # type: ignore[no-untyped-call]

    def _end_producer(self) -> None:
        if self.producer:
            self.unregisterProducer()  # type: ignore[no-untyped-call]
