"""Faults 1 to 10: the connection, the greeting, and the form of replies."""

from __future__ import annotations

import random
import time

from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import Message, fault

DRIP = 0.1  # seconds between two octets
RUBBISH = 65536  # octets


@fault(1, "connection refused")
class Refused(Server):
    """Nobody listens at first."""

    bad = 0
    opening = "refused"


@fault(2, "black hole")
class BlackHole(Server):
    """Connection requests get no answer at first."""

    bad = 0
    opening = "swallowed"


@fault(3, "accepted and silent")
class Silent(Server):
    """Accepts the connection and says nothing."""

    def greet(self) -> None:
        if self.faulty:
            self.peer.wait_for_end()
        super().greet()


@fault(4, "421 in the greeting")
class Busy(Server):
    """Greets with 421 and closes."""

    def greet(self) -> None:
        if self.faulty:
            self.end("421 4.3.2 too busy")
        super().greet()


@fault(5, "554 in the greeting")
class NoService(Server):
    """Greets with 554: no service here. It says nothing of the message."""

    def greet(self) -> None:
        if self.faulty:
            self.say("554 5.3.2 no service here")
            self.peer.wait_for_end()
        super().greet()


@fault(6, "greeting in drips")
class Drips(Server):
    """Sends a greeting that never ends, an octet at a time."""

    def greet(self) -> None:
        if not self.faulty:
            super().greet()
            return
        self.peer.send(b"220 ")
        while True:
            self.peer.send(b"x")
            time.sleep(DRIP)


@fault(7, "binary rubbish")
class Rubbish(Server):
    """Greets with random octets."""

    def greet(self) -> None:
        if self.faulty:
            self.peer.send(random.Random(7).randbytes(RUBBISH))  # noqa: S311 - rubbish, not a secret
            self.peer.wait_for_end()
        super().greet()


@fault(8, "endless multi-line reply")
class Endless(Server):
    """Greets with lines that never end, as fast as they are taken."""

    def greet(self) -> None:
        if not self.faulty:
            super().greet()
            return
        while True:
            self.say(*["220-and more"] * 100)


@fault(9, "replies end in a bare LF", Message({"one@torture.example": "delivered"}))
class BareLf(Server):
    """Ends every line with LF instead of CRLF: seen in the wild, and harmless."""

    def say(self, *lines: str) -> None:
        self.peer.send("".join(f"{line}\n" for line in lines).encode())


@fault(10, "mixed codes in one reply")
class Mixed(Server):
    """Answers EHLO with lines of different codes."""

    def ehlo(self, argument: str) -> None:
        if self.faulty:
            self.say("250-torture.example", "550-PIPELINING", "250 SIZE 1000000")
            self.peer.wait_for_end()
        super().ehlo(argument)
