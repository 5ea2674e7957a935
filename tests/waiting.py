"""Waits for what other processes do: looking often, never longer than a bound."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BOUND = 120.0  # seconds; a loaded CI machine is slow, and whoever waits for what comes never waits so long
LOOK = 0.01  # seconds between two looks


def wait_until(holds: Callable[[], T], what: str = "it did not come to pass") -> T:
    """Look until something holds; what it gave.

    :param what: the words of the failure when it does not hold within BOUND.
    """
    end = time.monotonic() + BOUND
    while not (found := holds()):
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(LOOK)
    return found


def receive(connection: socket.socket, octets: int) -> bytes:
    """So many octets, fewer if the end comes before: MSG_WAITALL waits for nothing on a socket that has a timeout."""
    found = b""
    while len(found) < octets and (data := connection.recv(octets - len(found))):
        found += data
    return found
