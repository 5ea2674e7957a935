"""The answer that a script prints: from its first octet to what goes to the peer.

It begins when the script's head is whole and streams from then on. An answer that is all there at once is held until
it is known whether the script has exited, a moment later: then it leaves in one piece, with its length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger

from netsvc.services.http.cgi.nph import StatusLineParser
from netsvc.services.http.cgi.output import HeadParser, ScriptHead

log = Logger()

_WITHOUT_BODY = frozenset({204, 304})  # RFC 9110, 6.4.1


class Reply:
    """The answer of one run.

    :param script_name: the script, for the log.
    :param nph: whether the script speaks for itself.
    :param producer: told when the peer reads slower than the script prints.
    :param announce: told the script's name where its answer has no type; returns whether it is the first time.
    :param redirect: called instead of an answer with the target of a local redirect; None makes those the client's.
    :param whole: called once the answer has all of its Content-Length, however the script ends; it calls `finish`.
    """

    def __init__(
        self,
        exchange: Any,
        script_name: str,
        *,
        nph: bool,
        producer: IPushProducer,
        announce: Callable[[str], bool],
        redirect: Callable[[bytes], None] | None,
        whole: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._script_name = script_name
        self._parser: HeadParser | StatusLineParser = StatusLineParser() if nph else HeadParser()
        self._producer = producer
        self._announce = announce
        self._redirect = redirect
        self._whole = whole
        self._held: tuple[ScriptHead, bytes] | None = None
        self._left: int | None = None  # octets of a body of known length
        self.begun = False

    @property
    def started(self) -> bool:
        """Whether the script has printed anything."""
        return self._parser.started

    def feed(self, data: bytes, *, last: bool) -> None:
        """Some of what the script printed.

        :param last: whether it prints no more.
        :raises BadOutputError: this will never be an answer.
        """
        if self.begun:
            self._write(data)
            return
        if isinstance(self._parser, StatusLineParser):
            found = self._parser.feed(data)
            if found is None:
                return
            status, data = found
            if self._exchange.take_over():
                self._exchange.status = status
                self._begin_body(data)
                return
            self._parser = HeadParser()  # the peer speaks HTTP/2: the server speaks for the script
        parsed = self._parser.feed(data)
        if parsed is not None:
            self._begin(*parsed, last=last)

    def let_go(self) -> None:
        """Send what is held, as if it had not been."""
        held, self._held = self._held, None
        if held is not None:
            head, body = held
            self._exchange.begin(head.status, head.headers, reason=head.reason)
            self._begin_body(body)

    def finish(self) -> None:
        """It is complete."""
        held, self._held = self._held, None
        if held is not None:
            head, body = held
            self._exchange.answer(head.status, head.headers, body, head.reason)
        else:
            self._exchange.unregister_producer()
            self._exchange.finish()

    def abort(self) -> None:
        """Break it off, visibly."""
        self.let_go()
        self._exchange.unregister_producer()
        self._exchange.abort()

    def _begin(self, head: ScriptHead, rest: bytes, *, last: bool) -> None:
        exchange, name = self._exchange, self._script_name
        if head.local is not None and self._redirect is not None:
            self._redirect(head.local)
            return
        if not head.typed and self._announce(name):
            log.warn("{script}: sends no Content-Type", event="cgi-no-content-type", script=name)
        bodiless = exchange.head.method == "HEAD"
        if not bodiless and head.status not in _WITHOUT_BODY:
            if head.length is not None and head.length == len(rest):
                self.begun = True
                self._held = head, rest
                self._whole()
                return
            if head.length is None and last:
                self.begun = True
                self._held = head, rest
                return
        self._left = None if bodiless else head.length
        exchange.begin(head.status, head.headers, length=head.length, reason=head.reason)
        self._begin_body(rest)

    def _begin_body(self, data: bytes) -> None:
        self.begun = True
        self._exchange.register_producer(self._producer, True)
        if data or self._left == 0:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._left is None:
            self._exchange.write(data)
            return
        if len(data) > self._left:
            log.warn(
                "{script}: prints more than its Content-Length (request {request_id})",
                event="cgi-length-wrong",
                script=self._script_name,
                request_id=self._exchange.request_id,
            )
            data = data[: self._left]
        self._left -= len(data)
        if data:
            self._exchange.write(data)
        if not self._left:
            self._whole()
