"""Throws away octets and datagrams; with a record, logs them first, cut, escaped and not too often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.config.values import Rate
from netsvc.interfaces import IDatagramResponder
from netsvc.net.drain import Drainable, DrainingFactory
from netsvc.services.discard.wire import LineBudget, shown

log = Logger()


class Record:
    """Logs what arrives.

    :param rate: log lines by time, or None for no limit.
    :param longest: octets of each piece that are logged.
    :param clock: seconds, from any start.
    """

    def __init__(self, rate: Rate | None, longest: int, clock: Callable[[], float]) -> None:
        self._budget = LineBudget(rate, clock)
        self._longest = longest

    def note(self, peer: str, data: bytes) -> None:
        """Log one piece, unless there were too many of late."""
        unlogged = self._budget.take()
        if unlogged is None:
            return
        log.info(
            "discarded {octets} octets from {peer}: {text}",
            event="octets-discarded",
            peer=peer,
            octets=len(data),
            text=shown(data, self._longest),
            cut=len(data) > self._longest,
            unlogged=unlogged,
        )


class Discard(Protocol):
    """One discard connection, RFC 863.

    :param opened: the factory's open connections.
    """

    transport: Any

    def __init__(self, opened: set[Drainable]) -> None:
        self._opened = opened

    def connectionMade(self) -> None:
        self._opened.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Nothing is kept."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._opened.discard(self)

    def drain(self) -> None:
        """Nothing is owed: close."""
        self.transport.loseConnection()


class RecordedDiscard(Discard):
    """A discard connection whose input is logged."""

    def __init__(self, opened: set[Drainable], record: Record) -> None:
        super().__init__(opened)
        self._record = record

    def dataReceived(self, data: bytes) -> None:
        peer = self.transport.getPeer()
        self._record.note(f"{peer.host}:{peer.port}" if hasattr(peer, "host") else "unix", data)


class DiscardFactory(DrainingFactory):
    """Makes discard connections.

    :param record: where input is logged, or None.
    """

    def __init__(self, record: Record | None) -> None:
        super().__init__()
        self._record = record

    def buildProtocol(self, addr: IAddress | None) -> Discard:
        return Discard(self.open) if self._record is None else RecordedDiscard(self.open, self._record)


@implementer(IDatagramResponder)
class DiscardResponder:
    """Throws datagrams away.

    :param record: where they are logged, or None.
    """

    greatest_answer = 0

    def __init__(self, record: Record | None) -> None:
        self._record = record

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        """Silence."""
        if self._record is not None:
            self._record.note(f"{peer[0]}:{peer[1]}", request)
        return None
