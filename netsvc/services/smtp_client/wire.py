"""What SMTP sends: command lines and the message as DATA carries it. No I/O, no Twisted.

The body: every CR LF, lone CR and lone LF becomes CR LF (RFC 5321 2.3.8), a dot at the start of a line is doubled
(4.5.2), the end is exactly CR LF "." CR LF. Nothing that a message or an address holds can be read as a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netsvc.services.smtp_client.domains import a_labels

CANONICAL = "canonical"  # in an item's meta: all line ends of its content are CR LF, as the listener saw
LARGE = 64 * 1024  # octets of a content of which that is kept: it costs less to look at a smaller one again
BLOCK = 64 * 1024  # octets of content encoded at once, ours
MAX_PATH = 254  # octets of an address without brackets, RFC 5321 4.5.3.1.3
END = b".\r\n"

# Mailbox = ( Dot-string / Quoted-string ) "@" ( Domain / address-literal ), RFC 5321 4.1.2, RFC 6531 3.3;
# wider where servers are: any printable in an unquoted local part, no domain for local names.
_MAILBOX = re.compile(
    r"""(?:"(?:[^"\\\x00-\x1f\x7f\ud800-\udfff]|\\[\x20-\x7e])*"|[^\s"<>()@,;:\\\[\]\x00-\x1f\x7f-\x9f\ud800-\udfff]+)"""
    r"""(?:@(?:\[[\x21-\x5a\x5e-\x7e]+\]|[^\s"<>()@,;:\\\[\]\x00-\x1f\x7f-\x9f\ud800-\udfff]+))?\Z"""
)


def _ended_by_crlf(octets: bytes) -> bytes:
    """CR LF for every CR LF, CR and LF; the same object where there is nothing to do."""
    if octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r"):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def canonical(content: bytes, *, known: bool = False) -> bytes:
    """The message with CR LF line ends and one at its end; empty stays empty.

    :param known: behind the header section it has no others.
    """
    head = content[: content.find(b"\r\n\r\n") + 4] if known else content
    if len(head) < 4 or _ended_by_crlf(head) is not head:
        content = _ended_by_crlf(content)
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


class BodyEncoder:
    """Encodes a message for DATA, in pieces of any size; the pieces may part anywhere.

    :param is_canonical: all its line ends are CR LF: nobody need look for others.
    """

    def __init__(self, *, is_canonical: bool = False) -> None:
        self._is_canonical = is_canonical
        self._line_start = True
        self._held_cr = False

    def encode(self, chunk: bytes) -> bytes:
        """What to send for the next piece; less than was given when it ends in CR."""
        if self._held_cr:
            chunk = b"\r" + chunk
        self._held_cr = chunk.endswith(b"\r")
        if self._held_cr:
            chunk = chunk[:-1]
        if not chunk:
            return b""
        if not self._is_canonical:
            chunk = _ended_by_crlf(chunk)
        out = chunk.replace(b"\r\n.", b"\r\n..")
        if self._line_start and chunk.startswith(b"."):
            out = b"." + out
        self._line_start = chunk.endswith(b"\r\n")
        return out

    def finish(self) -> bytes:
        """What to send last: the end of the last line, if it has none, and the final dot."""
        return END if self._line_start and not self._held_cr else b"\r\n" + END


def blocks(content: bytes, size: int = BLOCK, *, is_canonical: bool = False) -> Iterator[bytes]:
    """The encoded message in blocks of about size octets. The final dot is in the last one, whole."""
    encoder = BodyEncoder(is_canonical=is_canonical)
    last = max(0, (len(content) - 1) // size * size)
    for start in range(0, last, size):
        yield encoder.encode(content[start : start + size])
    yield encoder.encode(content[last:]) + encoder.finish()


def valid_mailbox(address: str) -> bool:
    """Whether an address can stand between angle brackets. Control characters and brackets never can."""
    return bool(_MAILBOX.match(address)) and len(address.encode("utf-8", "replace")) <= MAX_PATH


def ascii_mailbox(address: str) -> str | None:
    """The address in ASCII, its domain as A-labels (RFC 5891 4); None when it needs SMTPUTF8."""
    if address.isascii():
        return address
    local, at, domain = address.rpartition("@")
    if not at or not local.isascii():
        return None
    try:
        return f"{local}@{a_labels(domain)}"
    except ValueError:
        return None


def command(verb: str, *words: str) -> bytes:
    """A command line. ValueError rather than a line end inside it."""
    line = " ".join((verb, *words))
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError("a command cannot hold CR, LF or NUL")
    return line.encode() + b"\r\n"
