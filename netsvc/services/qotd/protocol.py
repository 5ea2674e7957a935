"""Sends one quote and closes; answers datagrams with a quote that is no longer than the request."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from zope.interface import implementer

from netsvc.interfaces import IDatagramResponder
from netsvc.net.last_words import say_and_close
from netsvc.services.qotd.book import Book
from netsvc.services.qotd.wire import LONGEST


class Qotd(Protocol):
    """One quote-of-the-day connection, RFC 865.

    :param quote: the octets to send.
    """

    transport: Any

    def __init__(self, quote: bytes) -> None:
        self._quote = quote

    def connectionMade(self) -> None:
        say_and_close(self.transport, self._quote)


class QotdFactory(ServerFactory):
    """Makes quote-of-the-day connections.

    :param book: the quotes.
    """

    noisy = False

    def __init__(self, book: Book) -> None:
        self._book = book

    def buildProtocol(self, addr: IAddress | None) -> Qotd:
        return Qotd(self._book.quote(LONGEST) or b"")


@implementer(IDatagramResponder)
class QotdResponder:
    """Answers datagrams with a quote, RFC 865; what they say is ignored, but not how long they are.

    :param book: the quotes.
    """

    greatest_answer = 0

    def __init__(self, book: Book) -> None:
        self._book = book

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        """A quote that is no longer than the request and `limit`, or silence where there is none so short."""
        return self._book.quote(min(limit, len(request), LONGEST))
