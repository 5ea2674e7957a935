"""Contents 46 to 52: messages that break careless clients, sent to a server that does everything right."""

from __future__ import annotations

from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import Message, fault

TAKEN = {"one@torture.example": "delivered"}
DOTS = 8000  # lines of a dot alone: with those before them they cross 16,384, the size of a block


@fault(46, "dots at every offset", *(Message(TAKEN, b"x" * shift + b"\r\n" + b".\r\n" * DOTS) for shift in range(3)))
class Dots(Server):
    """Takes messages of dots, of which one begins at every offset, those around 16,384 too."""


@fault(47, "CR, LF and CRLF mixed", Message(TAKEN, b"a\rb\nc\r\nd\n\re\r\r\nf\n\n.\ng\r.\r\n"))
class LineEnds(Server):
    """Takes a message with every kind of line end, and looks that CRLF is what comes."""


@fault(48, "a line of 10,000 octets", Message(TAKEN, b"begin " + b"0123456789" * 1000 + b"\r\nend\r\n"))
class LongLine(Server):
    """Takes a message with a line of 10,000 octets, and looks that no line comes that is longer than 998."""


@fault(49, "8 bits to a 7-bit server", Message(TAKEN, "汇总数据, déjà vu\r\n".encode()))
class SevenBits(Server):
    """Does not offer 8BITMIME, and looks that nothing but ASCII comes."""

    capabilities = ("PIPELINING", "SIZE 67108864", "ENHANCEDSTATUSCODES")


@fault(50, "empty body", Message(TAKEN, b""))
class Empty(Server):
    """Takes a message that has a header only."""


@fault(51, "NUL octets", Message({"one@torture.example": "refused"}, b"a\0b\r\n"))
class Nul(Server):
    """Sees nothing: a message with NUL cannot be sent (RFC 5321 4.5.2) and is not taken in at all."""


@fault(
    52,
    "100 Received fields",
    Message(TAKEN, fields=b"Received: by torture.example; Mon, 2 Jan 2006 15:04:05 +0000\r\n" * 100),
    Message(
        {"one@torture.example": "refused"},
        fields=b"Received: by torture.example; Mon, 2 Jan 2006 15:04:05 +0000\r\n" * 101,
    ),
)
class Circles(Server):
    """Takes a message with 100 Received fields; one with 101 goes in circles and is not taken in at all."""
