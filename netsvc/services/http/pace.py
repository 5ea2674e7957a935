"""Whether a peer is fast enough: in sending the body of a request, and in taking an answer."""

from __future__ import annotations

import socket
from typing import Any

from netsvc.net.progress import octets_taken
from netsvc.services.http.flow import queued

FOREVER = float("inf")


class BodyPace:
    """When a body that is being received is overdue. Only the time counts in which the peer was read.

    :param grace: seconds until `rate` must be reached.
    :param rate: octets a second; 0 is any.
    """

    def __init__(self, grace: float, rate: int) -> None:
        self._grace = grace
        self._rate = rate
        self.restart()

    def restart(self) -> None:
        """A new body."""
        self._octets = 0
        self._spent = 0.0
        self._since: float | None = None

    def received(self, octets: int) -> None:
        """Some of it has come."""
        self._octets += octets

    def pause(self, now: float) -> None:
        """The peer is not read."""
        if self._since is not None:
            self._spent += now - self._since
            self._since = None

    def deadline(self, now: float) -> float:
        """The peer is read; when it will have been too slow."""
        if self._since is None:
            self._since = now
        earned = self._octets / self._rate if self._rate else (FOREVER if self._octets else 0.0)
        return self._since - self._spent + self._grace + earned


class AnswerPace:
    """Whether a peer takes what it is owed, looked at now and then.

    :param window: seconds over which the rate is measured.
    :param rate: octets a second; 0 is any, but some.
    """

    def __init__(self, window: float, rate: int) -> None:
        self._window = window
        self._least = max(1, rate * window)
        self._since = FOREVER
        self._taken = 0

    def forgive(self) -> None:
        """Nothing is owed."""
        self._since = FOREVER

    def too_slow(self, now: float, transport: Any, sent: int) -> bool:
        """Whether less than the least was taken in the last whole window, through which something was owed.

        :param sent: octets of answers given to the transport so far; used where the kernel keeps no count.
        """
        taken = _taken(transport, sent)
        if self._since == FOREVER:
            self._since, self._taken = now, taken
            return False
        if now - self._since < self._window:
            return False
        slow = taken - self._taken < self._least
        self._since, self._taken = now, taken
        return slow


def _taken(transport: Any, sent: int) -> int:
    """A number that grows by the octets that the peer takes."""
    connection = getattr(transport, "socket", None)
    if isinstance(connection, socket.socket):
        taken = octets_taken(connection)
        if taken is not None:
            return taken
    return sent - queued(transport)
