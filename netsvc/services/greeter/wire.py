"""What the greeter says. No I/O.

Each piece of input is a message, as it arrived: the tutorials' peers send no line ends. So a character whose octets
come in two segments counts as undecodable in both; it is replaced (U+FFFD), never fatal.
"""

from __future__ import annotations

from attrs import frozen

LINE_ENDS = {"none": b"", "lf": b"\n", "crlf": b"\r\n"}


@frozen(kw_only=True)
class Script:
    """The words of a greeter. All octets are UTF-8.

    :param welcome: sent to a peer that connects; may be empty.
    :param reply: the answer, in which ``{text}`` stands for the input.
    :param exit: the input that ends the conversation; empty for none.
    :param limit: the longest input in octets.
    :param refusal: the answer to a longer one.
    :param line_end: octets that end each of them.
    """

    welcome: str
    reply: str
    exit: str
    limit: int
    refusal: str
    line_end: bytes = b""

    def _said(self, text: str) -> bytes:
        return text.encode("utf-8", "replace") + self.line_end if text else b""

    def greeting(self) -> bytes:
        """What a new peer is sent; may be nothing."""
        return self._said(self.welcome)

    def is_too_long(self, piece: bytes) -> bool:
        """Whether the input is longer than the limit."""
        return len(piece) > self.limit

    def is_exit(self, piece: bytes) -> bool:
        """Whether the input ends the conversation."""
        return bool(self.exit) and _text(piece) == self.exit

    def answer(self, piece: bytes) -> bytes:
        """The answer to a piece of input."""
        # replace and not format: neither the peer nor a brace in the file can reach anything else
        return self._said(self.reply.replace("{text}", _text(piece)))

    def refuse(self) -> bytes:
        """The answer to input that is too long."""
        return self._said(self.refusal)


def _text(piece: bytes) -> str:
    """Input as text, without the line end that an interactive peer sends."""
    return piece.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
