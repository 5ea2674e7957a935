"""Sends the daytime line and closes; answers datagrams with the same line."""

from __future__ import annotations

from collections.abc import Callable
from time import time as wall_clock
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from zope.interface import implementer

from netsvc.interfaces import IDatagramResponder
from netsvc.net.last_words import say_and_close

Clock = Callable[[], float]
Line = Callable[[float], bytes]


class Daytime(Protocol):
    """One daytime connection, RFC 867.

    :param line: the octets to send.
    """

    transport: Any

    def __init__(self, line: bytes) -> None:
        self._line = line

    def connectionMade(self) -> None:
        say_and_close(self.transport, self._line)


class DaytimeFactory(ServerFactory):
    """Makes daytime connections.

    :param line: seconds since 1970 -> the octets to send.
    :param clock: seconds since 1970.
    """

    noisy = False

    def __init__(self, line: Line, clock: Clock = wall_clock) -> None:
        self._line = line
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Daytime:
        return Daytime(self._line(self._clock()))


@implementer(IDatagramResponder)
class DaytimeResponder:
    """Answers any datagram with the daytime line, RFC 867.

    :param line: seconds since 1970 -> the octets to send.
    :param clock: seconds since 1970.
    """

    greatest_answer = 64  # octets: the request is empty by RFC 867; the bound is netsvc's for time and daytime

    def __init__(self, line: Line, clock: Clock = wall_clock) -> None:
        self._line = line
        self._clock = clock

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        """The line, or silence where it is too long: half a time would be a wrong one."""
        line = self._line(self._clock())
        return line if len(line) <= limit else None
