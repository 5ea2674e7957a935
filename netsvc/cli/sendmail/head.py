"""Looks at the header section of a message, as octets; it sees what :mod:`netsvc.services.smtp_client.trace` sees.

That one is not imported because it needs more than the standard library; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")  # RFC 5322 2.2, with the space of 4.5
KEY_FIELD = b"netsvc-idempotency-key"  # as every way in has it
_TO = (b"to", b"cc", b"bcc")
_RESENT_TO = (b"resent-to", b"resent-cc", b"resent-bcc")


def with_whole_lines(content: bytes) -> bytes:
    """Where a CR alone ends a line, CR LF does: to the service it is an end, and a field behind it one of its own."""
    if content.count(b"\r") == content.count(b"\r\n"):
        return content
    return re.sub(rb"\r(?!\n)", b"\r\n", content)


class Head(NamedTuple):
    """A header section.

    :param fields: (name in lower case, whole field with its line ends) in order.
    :param start: where it starts, octets: behind the ``From `` line that mbox files have.
    :param end: where it ends, before the empty line.
    :param newline: the line end that the message uses.
    """

    fields: Sequence[tuple[bytes, bytes]]
    start: int
    end: int
    newline: bytes


def read(content: bytes) -> Head:
    """The header section of a message; empty when it begins with no field."""
    first = content.find(b"\n")
    newline = b"\n" if first >= 0 and content[max(0, first - 1) : first] != b"\r" else b"\r\n"
    start = at = _line_end(content, 0) if content.startswith(b"From ") else 0
    fields: list[tuple[bytes, bytes]] = []
    while (match := _FIELD.match(content, at)) is not None:
        end = _line_end(content, at)
        while content[end : end + 1] in (b" ", b"\t"):
            end = _line_end(content, end)
        fields.append((match[1].lower(), content[at:end]))
        at = end
    return Head(fields, start, at, newline)


def _line_end(content: bytes, start: int) -> int:
    found = content.find(b"\n", start)
    return len(content) if found < 0 else found + 1


def recipient_fields(head: Head) -> list[str]:
    """The fields that name recipients: of a message that was sent on, Resent-To and its kin instead of To, Cc and Bcc.

    RFC 5322 3.6.6; as Postfix and Sendmail do, any Resent field makes it one that was sent on.
    """
    resent = any(name.startswith(b"resent-") for name, _ in head.fields)
    wanted = _RESENT_TO if resent else _TO
    return [_value(field) for name, field in head.fields if name in wanted]


def _value(field: bytes) -> str:
    return field.partition(b":")[2].decode("utf-8", "surrogateescape").strip()


def take_key(content: bytes, head: Head) -> tuple[str, bytes]:
    """The idempotency key that the message brings, or nothing, and the message without that field."""
    found = [field for name, field in head.fields if name == KEY_FIELD]
    if not found:
        return "", content
    rest = b"".join(field for name, field in head.fields if name != KEY_FIELD)
    return _value(found[0]), b"".join((content[: head.start], rest, memoryview(content)[head.end :]))


def with_from(content: bytes, head: Head, value: bytes) -> bytes:
    """The message with a From field at its top, if it has none."""
    if any(name == b"from" for name, _ in head.fields):
        return content
    rest = memoryview(content)[head.start :]
    separator = b"" if head.fields or bytes(rest[:2]) == b"\r\n" or bytes(rest[:1]) == b"\n" else head.newline
    return b"".join((b"From: ", value.replace(b"\n", head.newline), head.newline, separator, rest))
