"""The head of an HTTP/1.x answer, RFC 9112: a status line and fields, bounded in octets and number. No I/O.

    status-line = HTTP-version SP status-code SP [ reason-phrase ]
    field-line  = field-name ":" OWS field-value OWS

Lines may end with a bare LF (2.2), and a line that begins with a blank goes on with the one before (5.2). Anything else
that the grammar does not know is an error: what cannot be read for certain is not believed.
"""

from __future__ import annotations

import re

from attrs import field, frozen

MAX_HEAD = 1 << 16  # octets of a head, ours; curl takes 300 KB, nginx's proxy 4 to 8 KiB
MAX_FIELDS = 200  # ours; Apache takes 100

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9][0-9])(?: [^\r\0]*)?")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\0]*)")
_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")


class WireError(Exception):
    """The peer does not speak HTTP as it must. Its text is one line for people and holds no octets of the peer's."""


@frozen
class Head:
    """An answer's head.

    :param minor: of the version: 0 for HTTP/1.0.
    :param status: 100 to 599.
    :param fields: names in lower case and values, in the order in which they came; octets above 127 as Latin-1.
    """

    minor: int
    status: int
    fields: tuple[tuple[str, str], ...] = field(repr=False)

    def values(self, name: str) -> list[str]:
        """The values of every field of that name."""
        return [value for one, value in self.fields if one == name]

    def value(self, name: str) -> str | None:
        """The value of the only field of that name; None when there is none, or several that differ."""
        found = set(self.values(name))
        return found.pop() if len(found) == 1 else None

    def words(self, name: str) -> list[str]:
        """The members of a list field, in lower case."""
        return [word.strip().lower() for value in self.values(name) for word in value.split(",") if word.strip()]

    @property
    def keeps(self) -> bool:
        """Whether the connection may serve again, RFC 9112 9.3."""
        said = self.words("connection")
        return "close" not in said and (self.minor >= 1 or "keep-alive" in said)


class HeadReader:
    """Collects octets until a head is whole."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """Take octets.

        :return: the head and the octets behind it, or None while it is not whole.
        :raises WireError: it is none, or too large.
        """
        looked = max(0, len(self._octets) - 2)
        self._octets += data
        end = _END.search(self._octets, looked)
        if end is None or end.end() > MAX_HEAD:
            if len(self._octets) > MAX_HEAD:
                raise WireError(f"the head of the answer is longer than {MAX_HEAD} octets")
            if not b"HTTP/1.".startswith(self._octets[:7]):
                raise WireError("the answer is not HTTP/1.1")
            return None
        head = parse_head(bytes(self._octets[: end.start()]))
        rest = bytes(self._octets[end.end() :])
        self._octets = bytearray()
        return head, rest


def parse_head(octets: bytes) -> Head:
    """Understand a head without the empty line that ends it.

    :raises WireError: it is none.
    """
    lines = _FOLD.sub(b" ", octets).split(b"\n")
    first = _STATUS_LINE.fullmatch(lines[0].removesuffix(b"\r"))
    if first is None:
        raise WireError("the answer does not begin with a status line of HTTP/1.1")
    if len(lines) > MAX_FIELDS + 1:
        raise WireError(f"the answer has more than {MAX_FIELDS} header fields")
    fields = []
    for line in lines[1:]:
        found = _FIELD_LINE.fullmatch(line.removesuffix(b"\r"))
        if found is None:
            raise WireError("a header field of the answer is malformed")
        fields.append((found[1].decode("ascii").lower(), found[2].decode("latin-1").rstrip(" \t")))
    return Head(int(first[1]), int(first[2]), tuple(fields))
