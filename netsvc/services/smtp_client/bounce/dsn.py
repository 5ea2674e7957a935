"""Writes a delivery status notification: RFC 3464, in a multipart/report (RFC 6522). Pure: facts in, octets out.

Three parts: words for people, fields for programs, and the message or its header. Where an address is not ASCII, the
fields are message/global-delivery-status (RFC 6533); else all is 7-bit. What a peer said is cleaned and encoded. From
is never the null path, the envelope's sender always is, and Auto-Submitted says that nobody is to answer (RFC 3834).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from attrs import frozen

from netsvc.services.smtp_client.bounce.facts import EXPIRED, SUCCESS, ItemFacts, TargetFacts
from netsvc.services.smtp_client.bounce.returned import Part, quoted_printable, returned_head, returned_message
from netsvc.services.smtp_client.encoded_words import ascii_field
from netsvc.services.smtp_client.replies import clean
from netsvc.services.smtp_client.trace import split_head

WIDTH = 76  # columns of the words for people
MAX_WORDS = 500  # characters of what a peer said

_MESSAGE_ID = re.compile(rb"(?i)message-id[ \t]*:\s*(<[!-;=?-~]{1,250}>)\s*\Z")

_SUBJECTS = {
    "failed": "Undelivered mail returned to sender",
    "delayed": "Delayed mail, still being retried",
    "success": "Successful mail delivery report",
}
_OPENINGS = {
    "failed": "Your message could not be delivered to the recipients below. No further attempt will be made for them.",
    "delayed": "Your message has not been delivered to the recipients below yet. You need not send it again: delivery"
    " will be tried until {until}.",
    "success": "As you asked to be told: your message was delivered, or handed on to a server that tells no more.",
}
_DESCRIPTIONS = {"failed": "Undelivered message", "delayed": "Delayed message", "success": "Delivered message"}


@frozen(kw_only=True)
class Origin:
    """Who writes.

    :param host: our name, for programs.
    :param address: who the notices are from, such as ``MAILER-DAEMON@example.com``.
    :param max_returned: octets of a message that comes back whole; of a longer one the header does.
    """

    host: str
    address: str
    max_returned: int


def write_dsn(
    item: ItemFacts, targets: Sequence[TargetFacts], content: bytes | None, origin: Origin, *, now: float, also: int = 0
) -> bytes:
    """The notice, with CR LF line ends.

    :param targets: at least one; all of them failed, or all delayed, or all with success.
    :param content: the message; None when there is no more of it at hand.
    :param now: wall clock, seconds, for the Date.
    :param also: how many more messages met the same and are told by this notice only.
    """
    sort = "success" if targets[0].action in SUCCESS else str(targets[0].action)
    parts = [
        (_words(item, targets, origin, sort, also), "Notification"),
        (_status(item, targets, origin), "Delivery report"),
    ]
    if content is not None:
        whole = sort == "failed" and item.ret != "hdrs" and len(content) <= origin.max_returned
        returned = (returned_message(content) if whole else None) or returned_head(content)
        parts.append((returned, _DESCRIPTIONS[sort]))
    entities = [part.octets(description) for part, description in parts]
    boundary = _boundary(f"{item.queue_id}.{targets[0].index}.{sort}", entities)
    fields = [
        f"From: Mail Delivery System <{origin.address}>",
        f"To: <{item.sender}>",
        f"Subject: {_SUBJECTS[sort]}",
        f"Date: {date(now)}",
        f"Message-ID: <{item.queue_id}.{targets[0].index}.{sort}.{int(now)}@{origin.host}>",
        *_references(content),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    if any(part.encoding == "8bit" for part, _ in parts):
        fields.append("Content-Transfer-Encoding: 8bit")
    between = f"--{boundary}\r\n".encode()
    body = b"".join(between + one + b"\r\n" for one in entities)
    return "\r\n".join((*fields, "", "")).encode() + body + f"--{boundary}--\r\n".encode()


def date(when: float) -> str:
    """A time as header fields have it."""
    return format_datetime(datetime.fromtimestamp(when, UTC))


def _boundary(seed: str, entities: Sequence[bytes]) -> str:
    boundary, number = f"=_{seed}", 0  # "=_" never occurs in quoted-printable, RFC 2045 6.7
    while any(boundary.encode() in one for one in entities):
        number += 1
        boundary = f"=_{seed}.{number}"
    return boundary


def _references(content: bytes | None) -> list[str]:
    """In-Reply-To and References with the message's own Message-ID, RFC 3834 3.1.5."""
    if content is None:
        return []
    found = [_MESSAGE_ID.match(field) for name, field in split_head(content).fields if name == b"message-id"]
    if len(found) != 1 or found[0] is None:
        return []
    return [f"In-Reply-To: {found[0][1].decode()}", f"References: {found[0][1].decode()}"]


def _words(item: ItemFacts, targets: Sequence[TargetFacts], origin: Origin, sort: str, also: int) -> Part:
    until = max((one.retry_until for one in targets if one.retry_until is not None), default=0.0)
    paragraphs = [
        f"This is the mail system at {origin.host}.",
        _OPENINGS[sort].format(until=date(until)),
        f"It was accepted on {date(item.accepted_at)} as {item.queue_id}.",
    ]
    if also:
        what = "one more message" if also == 1 else f"{also} more messages"
        paragraphs.append(
            f"The same happened to {what} of yours since the last such notice; no others are sent for them."
        )
    text = "\r\n\r\n".join("\r\n".join(textwrap.wrap(one, WIDTH, break_on_hyphens=False)) for one in paragraphs)
    for one in targets:
        said = "the time for delivery is over; the last attempt: " if one.status == EXPIRED else ""
        said += f"{one.remote} said: " if one.remote and one.code is not None else ""
        reason = textwrap.wrap(
            clean(f"{said}{_diagnosis(one)}", MAX_WORDS),
            WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
        text += "\r\n".join(("\r\n", f"<{one.address}>: {one.action}", *reason))
    octets = f"{text}\r\n".encode()
    if octets.isascii():
        return Part("text/plain; charset=us-ascii", "7bit", octets)
    return Part("text/plain; charset=utf-8", "quoted-printable", quoted_printable(octets))


def _diagnosis(target: TargetFacts) -> str:
    """The peer's code, status and words; or our reason."""
    said = (target.code, target.enhanced) if target.code is not None else ()
    return " ".join(str(one) for one in (*said, target.text) if one) or f"status {target.status}"


def _status(item: ItemFacts, targets: Sequence[TargetFacts], origin: Origin) -> Part:
    lines = [f"Reporting-MTA: dns; {origin.host}\r\n"]
    if item.envid:
        lines.append(f"Original-Envelope-Id: {item.envid}\r\n")
    if item.received_from:
        lines.append(ascii_field("Received-From-MTA", f"dns; {clean(item.received_from, MAX_WORDS)}"))
    lines += [f"Arrival-Date: {date(item.accepted_at)}\r\n", f"X-Netsvc-Queue-Id: {item.queue_id}\r\n"]
    for one in targets:
        lines.append("\r\n")
        if one.original:
            kind, _, address = one.original.partition(";")
            lines.append(f"Original-Recipient: {kind}; {address}\r\n")
        lines.append(f"Final-Recipient: {'rfc822' if one.address.isascii() else 'utf-8'}; {one.address}\r\n")
        lines += [f"Action: {one.action}\r\n", f"Status: {one.status}\r\n"]
        if one.remote:
            lines.append(f"Remote-MTA: dns; {_literal(one.remote)}\r\n")
        if one.code is not None or one.text:
            kind = "smtp" if one.code is not None else "X-Netsvc"
            lines.append(ascii_field("Diagnostic-Code", f"{kind}; {clean(_diagnosis(one), MAX_WORDS)}"))
        lines.append(f"Last-Attempt-Date: {date(one.attempted_at)}\r\n")
        if one.retry_until is not None:
            lines.append(f"Will-Retry-Until: {date(one.retry_until)}\r\n")
    text = "".join(lines)
    if text.isascii():
        return Part("message/delivery-status", "7bit", text.encode())
    return Part("message/global-delivery-status", "8bit", text.encode())


def _literal(host: str) -> str:
    """A host as RFC 3464 2.1.2 names it: an address stands in brackets."""
    bare = host.strip("[]")
    if ":" in bare:
        return f"[IPv6:{bare.removeprefix('IPv6:')}]"
    return f"[{bare}]" if re.fullmatch(r"[0-9.]+", bare) else bare
