"""Connections that are kept for the next message to the same relay: a bounded number, for a short time.

What is kept is idle, between two messages. The one used last is taken first, so that those which are not needed end.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList

from netsvc.services.smtp_client.protocol import Connection


@frozen(kw_only=True)
class Keeping:
    """How long and how often a connection is used.

    :param idle: seconds without a message; servers wait five minutes at least (RFC 5321 4.5.3.2.7), and want it short.
    :param age: seconds since it was made, so that a better server is found again.
    :param messages: on one connection; servers that count refuse more.
    :param connections: kept idle at once, over all relays; each holds a descriptor.
    """

    idle: float = 5.0
    age: float = 300.0
    messages: int = 100
    connections: int = 20


class _Kept:
    """What is known of one connection from its making to its end."""

    def __init__(self, connection: Connection, key: Hashable, made_at: float) -> None:
        self.connection = connection
        self.key = key
        self.made_at = made_at
        self.messages = 0
        self.timer: Any = None


class Pool:
    """Idle connections by the relay that they lead to.

    :param clock: an IReactorTime.
    """

    def __init__(self, clock: Any, keeping: Keeping = Keeping()) -> None:
        self._clock = clock
        self._keeping = keeping
        self._idle: list[_Kept] = []  # the one used last stands last
        self._stopped = False
        self._known: dict[Connection, _Kept] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def add(self, connection: Connection, key: Hashable) -> None:
        """A connection was made that leads to this relay."""
        self._known[connection] = _Kept(connection, key, self._clock.seconds())
        connection.gone.addCallback(lambda _: self._known.pop(connection, None))

    def take(self, key: Hashable) -> Connection | None:
        """A connection to this relay on which to send one message now, or None."""
        for kept in reversed(self._idle):
            if kept.key == key:
                self._remove(kept)
                return kept.connection
        return None

    def keep(self, connection: Connection) -> bool:
        """Keep a connection that is between two messages; False when it has served."""
        kept = self._known.get(connection)
        if kept is None or self._stopped:
            return False
        kept.messages += 1
        age = self._clock.seconds() - kept.made_at
        if kept.messages >= self._keeping.messages or age >= self._keeping.age or not self._keeping.connections:
            return False
        if len(self._idle) >= self._keeping.connections:
            self._end(self._idle[0])
        kept.timer = self._clock.callLater(self._keeping.idle, self._end, kept)
        connection.on_end = lambda _: self._remove(kept)
        self._idle.append(kept)
        return True

    def stop(self) -> Deferred[None]:
        """Keep nothing any more. Fires when all that was idle is closed, which the sessions bound by ``quit``."""
        self._stopped = True
        idle = list(self._idle)
        gone = DeferredList([kept.connection.gone for kept in idle])
        for kept in idle:
            self._end(kept)
        return gone.addCallback(lambda _: None)

    def _remove(self, kept: _Kept) -> None:
        self._idle.remove(kept)
        if kept.timer.active():
            kept.timer.cancel()
        kept.connection.on_end = None

    def _end(self, kept: _Kept) -> None:
        self._remove(kept)
        kept.connection.quit()
