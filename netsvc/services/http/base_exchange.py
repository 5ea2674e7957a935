"""What an exchange is over any version of HTTP: whose it is, how it is refused, and what it says when it is lost."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netsvc.services.http.site.style import PLAIN, AnswerStyle

if TYPE_CHECKING:
    from netsvc.services.http.head import Message

log = Logger()


def new_request_id() -> str:
    """48 random bits: unique among the requests that a log holds."""
    return secrets.token_hex(6)


class BaseExchange:
    """The part of an IExchange that does not depend on how it is framed. Subclasses send.

    :param carrier: the connection, or what stands for it: knows peer, local and secure.
    :param message: the request.
    """

    def __init__(self, carrier: Any, message: Message) -> None:
        self._carrier = carrier
        self._request_id = ""
        self._lost: Deferred[None] | None = None
        self._gone = False  # the peer is, or the stream is closed before the answer was complete
        self._begun = False
        self._has_body = False
        self._length: int | None = None
        self._continue_due = message.expects_continue
        self._receiver: Any = None
        self.head = message.head
        self.style: AnswerStyle = PLAIN
        self.user = ""
        self.body_length = message.body_length
        self.body_whole = message.body_length == 0  # all of it was taken
        self.dropping = False  # the rest of the body is read and dropped
        self.finished = False  # the route has said its last
        self.status = 0

    @property
    def request_id(self) -> str:
        if not self._request_id:
            self._request_id = new_request_id()
        return self._request_id

    @property
    def peer(self) -> tuple[str, int]:
        found: tuple[str, int] = self._carrier.peer
        return found

    @property
    def local(self) -> tuple[str, int]:
        found: tuple[str, int] = self._carrier.local
        return found

    @property
    def secure(self) -> bool:
        return bool(self._carrier.secure)

    @property
    def lost(self) -> Deferred[None]:
        if self._lost is None:
            self._lost = Deferred()
            if self._gone:
                self._lost.callback(None)
        return self._lost

    @property
    def _closed(self) -> bool:
        return self._gone or self.finished

    def _tell_lost(self) -> None:
        if self._lost is not None and not self._lost.called:
            self._lost.callback(None)

    def _lose_body(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None and not self.body_whole and not self.dropping:
            receiver.body_lost()

    def _unsendable(self, error: ValueError) -> None:
        """The fields of the answer would break it: 500 instead, without those of the place, which may be the cause."""
        log.error(
            "the answer to {request_id} cannot be sent: {reason}",
            event="http-answer-refused",
            request_id=self.request_id,
            reason=str(error),
        )
        self.style = PLAIN
        self.refuse(500)

    def refuse(self, status: int, reason: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        if self._closed:
            return
        if self._begun:
            self.abort()
            return
        fields, page = self.style.error_page(status, reason, self.request_id)
        self.answer(status, (*fields, *headers), page, reason)

    def fail(self, status: int) -> None:
        """The rest of the request will not come as it should: answer so if nothing was said yet, and tell the route."""
        receiver = None if self.dropping or self.body_whole else self._receiver
        self._receiver = None
        finished = self.finished
        self.refuse(status)
        if receiver is not None:
            receiver.body_lost()
        if not finished:
            self._tell_lost()

    if TYPE_CHECKING:

        def answer(
            self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, reason: str | None = None
        ) -> None: ...

        def abort(self) -> None: ...
