"""What a message gets on its way out: trace and the header fields that must not be missing. Octets in, octets out.

Everything it adds follows from the item, so that a second attempt sends the same message. Header fields are looked at
line by line and never reassembled: what was signed or is odd stays as it was.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from attrs import frozen

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.wire import canonical

MAX_HEAD = 1 << 20  # octets of a header section (ours): it is looked at line by line, in the reactor's thread
MAX_RECEIVED = 100  # fields, RFC 5321 6.3: more is taken for a loop

# A field with what is folded behind it. A name is printable ASCII but the colon, RFC 5322 2.2; obsolete space 4.5.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+\n?")
_BLIND = frozenset({b"bcc", b"resent-bcc"})
_NO_COMMENT = re.compile(r"[^ !-'*-\[\]-~]")  # what cannot stand in a comment as it is, RFC 5322 3.2.2


@frozen
class Head:
    """The header section of a message.

    :param fields: (name in lower case, the whole field with its line ends) in order.
    :param end: offset behind the last field, octets; the empty line, if there is one, comes next.
    :param newline: the line end that the message uses.
    :param separated: whether an empty line (or nothing at all) follows.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    end: int
    newline: bytes
    separated: bool


def split_head(content: bytes) -> Head:
    """Find the header section; one that begins with no field is empty, and all is body.

    It is looked for no further than :data:`MAX_HEAD`; where it is longer, `end` lies behind that.
    """
    first = content.find(b"\n")
    newline = b"\n" if first >= 0 and content[max(0, first - 1) : first] != b"\r" else b"\r\n"
    # An mbox line, as mail(1) may leave it, is none of them.
    position = (first + 1 or len(content)) if content.startswith(b"From ") else 0
    fields: list[tuple[bytes, bytes]] = []
    while position <= MAX_HEAD and (match := _FIELD.match(content, position)):
        fields.append((match[1].lower(), match[0]))
        position = match.end()
    rest = content[position : position + 2]
    return Head(tuple(fields), position, newline, not rest or rest.startswith(b"\n") or rest == b"\r\n")


def examine(content: bytes) -> None:
    """Look at a message that is handed in.

    :raises Refusal: it is empty, holds a NUL, has a monstrous header section, or has gone in circles.
    """
    if not content:
        raise Refusal("5.6.0", "the message is empty")
    if b"\0" in content:
        raise Refusal("5.6.0", "the message holds a NUL octet, which mail cannot carry (RFC 5322 2.2)")
    head = split_head(content)
    if head.end > MAX_HEAD:
        raise Refusal("5.6.0", f"the header section is larger than {MAX_HEAD} octets")
    if sum(name == b"received" for name, _ in head.fields) > MAX_RECEIVED:
        raise Refusal("5.4.6", f"the message has more than {MAX_RECEIVED} Received fields; it goes in circles")


@lru_cache(maxsize=2)  # messages of one time leave together
def _date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def stamp(
    content: bytes,
    *,
    queue_id: str,
    accepted_at: float,
    sender: str,
    submitter: str,
    host: str,
    protocol: str = "",
    is_canonical: bool = False,
) -> bytes:
    """The message as it leaves: with Received, with Date, Message-ID and From if they were missing, without Bcc.

    :param accepted_at: wall clock, seconds since 1970.
    :param sender: of the envelope, for a missing From.
    :param submitter: such as ``uid:1000``.
    :param host: our name.
    :param protocol: how it came, such as ``ESMTPSA`` (RFC 3848); empty is not said.
    :param is_canonical: all line ends are known to be CR LF.
    """
    if not is_canonical and content.count(b"\r") != content.count(b"\r\n"):
        # A lone CR ends a line on its way out. It must here too, or a Bcc behind one would be removed by nobody.
        content = canonical(content)
    head = split_head(content)
    date = _date(int(accepted_at))
    names = {name for name, _ in head.fields}
    way = f" with {protocol}" if protocol else ""
    whose = _NO_COMMENT.sub("?", submitter.replace(":", " "))
    lines = [f"Received: by {host} (netsvc, from {whose}){way}", f"\tid {queue_id}; {date}"]
    if b"date" not in names:
        lines.append(f"Date: {date}")
    if b"message-id" not in names:
        lines.append(f"Message-ID: <{queue_id}@{host}>")
    if b"from" not in names and sender:
        lines.append(f"From: <{sender}>")
    octets = [head.newline.join(line.encode() for line in lines) + head.newline]
    octets += [field for name, field in head.fields if name not in _BLIND]
    if head.fields and not octets[-1].endswith(b"\n"):
        octets.append(head.newline)
    if not head.separated:
        octets.append(head.newline)
    return b"".join((*octets, memoryview(content)[head.end :]))
