"""One request and its answer on a connection: the head, then the body as it comes, held back while nobody takes it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from netsvc.services.fetch.download.errors import DownloadError, Permanent, Transient
from netsvc.services.fetch.download.wire.body import Body, body_of
from netsvc.services.fetch.download.wire.head import Head, HeadReader, WireError

MAX_INFORMATIONAL = 16  # heads of 1xx before the answer, ours


class Exchange:
    """One request that was sent.

    :ivar head: fires with the answer's head, or fails with a DownloadError.
    :ivar done: fires when the body was delivered whole, or fails with a DownloadError.
    :ivar body: how the body is framed, once there is a head.
    :ivar untouched: whether nothing of the answer has come.
    :ivar keeps: whether the connection may serve again behind this answer.
    :ivar is_refused: whether the connection was gone before it could answer: a kept one that the peer had closed.
    :param flow: told True when octets must be held back and False when they may come again.
    :param abort: cuts the connection.
    """

    body: Body

    def __init__(self, flow: Callable[[bool], None], abort: Callable[[], None]) -> None:
        self.head: Deferred[Head] = Deferred()
        self.done: Deferred[None] = Deferred()
        self.untouched = True
        self.keeps = self.is_refused = False
        self._flow = flow
        self._abort = abort
        self._reader: HeadReader | None = HeadReader()
        self._informational = 0
        self._write: Callable[[bytes], None] | None = None
        self._waiting = b""  # of the body, while nobody takes it
        self._holders: set[str] = set()
        self._is_over = False

    @property
    def ended(self) -> bool:
        """Whether the answer has come whole."""
        return self._reader is None and self.body.ended

    def received(self, data: bytes) -> None:
        """Take octets of the connection. Behind some that nobody asked for it serves no more."""
        if self._is_over:
            return
        self.untouched = False
        try:
            if self._reader is not None:
                found = self._head_in(data)
                if found is None:
                    return
                head, data = found
                self._begin(head)
            else:
                head = None
            content, rest = self.body.feed(data)
        except WireError as error:
            self.fail(Permanent(str(error)))
            return
        if rest:
            self.keeps = False
        if content:
            if self._write is None:
                self._waiting += content
            else:
                self._write(content)
        if head is not None:
            self.head.callback(head)
        self._settle()

    def _head_in(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head of the answer, and what follows it; None while it is not there."""
        while data and self._reader is not None:
            found = self._reader.feed(data)
            if found is None or found[0].status >= 200:
                return found
            self._count(found[0])
            data = found[1]
        return None

    def _begin(self, head: Head) -> None:
        self.body = body_of(head)
        self._reader = None
        self.keeps = head.keeps and not self.body.closes

    def _count(self, head: Head) -> None:
        self._informational += 1
        if head.status == 101 or self._informational > MAX_INFORMATIONAL:
            raise WireError("the peer changes protocols or sends interim answers without end")

    def deliver(self, write: Callable[[bytes], None]) -> None:
        """Give the body to someone, from its beginning."""
        self._write = write
        if self._waiting and not self._is_over:
            waiting, self._waiting = self._waiting, b""
            write(waiting)
        self.release("taker")
        self._settle()

    def _settle(self) -> None:
        if self._is_over:
            return
        if self._write is None:
            self.hold("taker")
        elif self._reader is None and self.body.ended:
            if self._holders:
                self._holders.clear()
                self._flow(False)
            self._is_over = True
            self.done.callback(None)

    def hold(self, who: str) -> None:
        """Let no more octets come until `who` releases them."""
        if not self._holders:
            self._flow(True)
        self._holders.add(who)

    def release(self, who: str) -> None:
        """Let them come, unless someone else holds them."""
        if who in self._holders:
            self._holders.discard(who)
            if not self._holders and not self._is_over:
                self._flow(False)

    @property
    def is_held(self) -> bool:
        """Whether octets are held back here, so that the peer is not to blame for the silence."""
        return bool(self._holders)

    def connection_lost(self, clean: bool) -> None:
        """The connection has ended.

        :param clean: the peer closed it in order: over TLS with close_notify.
        """
        if self._is_over:
            return
        if self._reader is not None:
            self.is_refused = self.untouched
            self.fail(Transient("the connection ended before the answer"))
        elif not self.body.closes or not clean:
            self.fail(Transient("the connection was cut in the middle of the file"))
        else:
            self.body.ended = True
            self._settle()

    def fail(self, error: DownloadError) -> None:
        """End it: the connection is of no use any more."""
        if self._is_over:
            return
        self._is_over = True
        self._abort()
        if not self.head.called:
            self.head.errback(error)
        elif not self.done.called:
            self.done.errback(error)
