"""A local redirect (RFC 3875, 6.2.2): the same exchange, as if the peer had asked for another resource."""

from __future__ import annotations

from typing import Any

import attrs
from zope.interface import implementer

from netsvc.services.http.exchange import IExchange, RequestHead

MAX_REDIRECTS = 10  # local redirects of one request; Apache's LimitInternalRecursion

_OF_THE_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding", b"content-encoding", b"expect"})
# What selects a part or a state of the resource that was asked for says nothing about another one.
_OF_THE_RESOURCE = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)


def redirected_head(head: RequestHead, location: bytes) -> RequestHead:
    """The head of the request that a local redirect stands for: GET, no body.

    :param location: path and query.
    """
    path, _, query = location.partition(b"?")
    return attrs.evolve(
        head,
        method="GET",
        target=location,
        path=path,
        query=query,
        headers=tuple(
            (name, value) for name, value in head.headers if name not in _OF_THE_BODY and name not in _OF_THE_RESOURCE
        ),
    )


@implementer(IExchange)
class RedirectedExchange:
    """An exchange whose request was replaced; the answer goes where the first one would have gone."""

    body_length = 0

    def __init__(self, exchange: Any, location: bytes) -> None:
        self._exchange = exchange
        self.head = redirected_head(exchange.head, location)
        self.redirects: int = getattr(exchange, "redirects", 0) + 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("style", "user", "status"):  # of the place that answers now; the exchange below sends it
            setattr(self._exchange, name, value)
        else:
            super().__setattr__(name, value)

    def receive_body(self, receiver: Any) -> None:
        """There is none: the script that redirected had it."""
        receiver.body_finished()

    def pause_body(self) -> None:
        """Nothing to pause."""

    def resume_body(self) -> None:
        """Nothing to read."""

    def send_continue(self) -> None:
        """Nothing to wait for."""
