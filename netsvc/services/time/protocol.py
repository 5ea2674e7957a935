"""Sends the time as 32 bits and closes; answers datagrams with the same."""

from __future__ import annotations

from collections.abc import Callable
from time import time as wall_clock
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from zope.interface import implementer

from netsvc.interfaces import IDatagramResponder
from netsvc.net.last_words import say_and_close
from netsvc.services.time.wire import encode

Clock = Callable[[], float]


class Time(Protocol):
    """One time connection, RFC 868.

    :param clock: seconds since 1970.
    """

    transport: Any

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def connectionMade(self) -> None:
        say_and_close(self.transport, encode(self._clock()))


class TimeFactory(ServerFactory):
    """Makes time connections.

    :param clock: seconds since 1970.
    """

    noisy = False

    def __init__(self, clock: Clock = wall_clock) -> None:
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Time:
        return Time(self._clock)


@implementer(IDatagramResponder)
class TimeResponder:
    """Answers any datagram with the time, RFC 868.

    :param clock: seconds since 1970.
    """

    greatest_answer = 64  # octets: the request is empty by RFC 868; the bound is netsvc's for time and daytime

    def __init__(self, clock: Clock = wall_clock) -> None:
        self._clock = clock

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        """Four octets, or silence where they are too many."""
        time = encode(self._clock())
        return time if len(time) <= limit else None
