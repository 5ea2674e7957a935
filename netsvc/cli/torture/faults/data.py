"""Faults 34 to 45: DATA, the body, the dot and what comes behind it."""

from __future__ import annotations

from typing import ClassVar

from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import Message, fault

BIG = (
    b"The quick brown fox jumps over the lazy dog.\r\n" * 180_000
)  # 8 MB: more than both kernels keep for a connection
UNKNOWN = Message({"one@torture.example": "ambiguous delivered"})


@fault(
    34,
    "DATA refused",
    Message({"later@torture.example": "retry delivered"}),
    Message({"never@torture.example": "permanent"}),
)
class RefusesData(Server):
    """Answers DATA with 451 once for one message, and with 554 for another."""

    def data(self) -> str:
        if "never@torture.example" in self.recipients:
            return "554 5.7.1 never"
        if "later@torture.example" in self.recipients and self.scene.first("data"):
            return "451 4.3.0 later"
        return super().data()


@fault(35, "552 in the body", Message({"one@torture.example": "permanent"}, BIG))
class EarlyRefusal(Server):
    """Answers 552 while the body is on its way, and reads no more."""

    def body(self) -> None:
        if self.sender:
            self.peer.receive()
            self.say("552 5.3.4 too big")
            self.peer.wait_unread()
        super().body()


@fault(36, "zero window in the body", Message(body=BIG))
class ZeroWindow(Server):
    """Stops reading in the body."""

    receive_buffer = 4096

    def body(self) -> None:
        if self.faulty:
            self.peer.wait_unread()
        super().body()


@fault(37, "cut in the body", Message(body=BIG))
class CutInBody(Server):
    """Cuts the connection in the body, with an RST."""

    def body(self) -> None:
        if self.faulty:
            self.peer.receive()
            self.peer.reset()
        super().body()


@fault(38, "cut after the dot", UNKNOWN, doubles=True)
class CutAfterDot(Server):
    """Cuts after the dot: first without having kept the message, then having kept it."""

    bad = 2

    def dot(self, content: bytes) -> None:
        if not self.faulty:
            super().dot(content)
            return
        if self.visit:
            self.keep(content)
        self.peer.cut()


@fault(39, "reply after the time limit", UNKNOWN, doubles=True)
class LateReply(Server):
    """Keeps the message and does not answer until the client has left."""

    def dot(self, content: bytes) -> None:
        if self.faulty:
            self.keep(content)
            self.peer.wait_for_end()
        super().dot(content)


@fault(40, "4xx at the dot")
class LaterAtDot(Server):
    """Answers the dot with 451 and keeps nothing."""

    def dot(self, content: bytes) -> None:
        if self.faulty:
            self.faulty = False  # this connection may be kept for the next attempt
            self.say("451 4.3.0 later")
        else:
            super().dot(content)


@fault(41, "5xx at the dot", Message({"one@torture.example": "permanent"}))
class NeverAtDot(Server):
    """Answers the dot with 554 and keeps nothing."""

    def dot(self, content: bytes) -> None:
        if self.sender:  # not to the bounce
            self.say("554 5.6.0 never")
        else:
            super().dot(content)


@fault(42, "25 and then cut", UNKNOWN, doubles=True)
class HalfReply(Server):
    """Keeps the message, begins to say so, and cuts."""

    def dot(self, content: bytes) -> None:
        if self.faulty:
            self.keep(content)
            self.peer.send(b"25")
            self.peer.cut()
        super().dot(content)


@fault(43, "a reply that nobody asked for")
class Unasked(Server):
    """Sends a 250 too many: behind the replies to EHLO and MAIL, and behind the 354, where it would seem the end."""

    bad = 3
    extra: ClassVar = "250 2.0.0 taken"

    def ehlo(self, argument: str) -> None:
        super().ehlo(argument)
        if self.visit == 0:
            self.say(self.extra)

    def mail(self, sender: str) -> str:
        reply = super().mail(sender)
        return f"{reply}\r\n{self.extra}" if self.visit == 1 else reply

    def data(self) -> str:
        reply = super().data()
        return f"{reply}\r\n{self.extra}" if self.visit == 2 else reply

    def body(self) -> None:
        if self.faulty:
            self.peer.message()
            self.scene.flaw("the message was sent whole although replies and commands did not match")
            self.say("451 4.3.0 later")
        else:
            super().body()


@fault(44, "250 and then RST", Message({"one@torture.example": "delivered"}))
class TakenAndReset(Server):
    """Keeps the message, says so, and resets the connection once the client has read that."""

    def dot(self, content: bytes) -> None:
        super().dot(content)
        if self.faulty:
            self.peer.receive()
            self.peer.reset()


@fault(
    45,
    "421 after RSET",
    Message({"first@torture.example": "retry delivered"}),
    Message({"second@torture.example": "* delivered"}),
)
class BusyAfterRset(Server):
    """Puts a message off, so that another on this connection needs RSET first, and answers that with 421."""

    def rcpt(self, address: str) -> str:
        if address.startswith("first@") and self.scene.first(address):
            return "450 4.2.1 later"
        return super().rcpt(address)

    def rset(self, argument: str) -> None:
        if self.scene.first("RSET"):
            self.end("421 4.3.2 too busy")
        super().rset(argument)
