"""DrainingFactory: a factory that knows its open connections, so that a stop need not wait for idle peers.

For protocols whose conversations have no end of their own (echo, chargen): what is owed is sent, then the
connection closes. Without it a stop would wait its whole ``drain_timeout`` for peers that only sit there.
"""

from __future__ import annotations

from typing import Protocol as Shape

from twisted.internet.protocol import ServerFactory


class Drainable(Shape):
    """A protocol that can be asked to come to an end."""

    def drain(self) -> None:
        """Send what is owed, then close."""


class DrainingFactory(ServerFactory):
    """Its protocols add themselves to `open` in connectionMade and leave it in connectionLost."""

    noisy = False

    def __init__(self) -> None:
        self.open: set[Drainable] = set()

    def drain(self) -> None:
        """Ask every open connection to end; the runtime calls this once it accepts no more."""
        for connection in tuple(self.open):
            connection.drain()
