"""Options of receipts: where the gateway tells of messages, how it is asked, what its words mean. No Twisted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from netsvc.config import values
from netsvc.config.listen import ListenAddress, TcpAddress, UdpAddress, endpoints
from netsvc.config.options import ValueType, option
from netsvc.config.secrets import Secret, secret
from netsvc.errors import BadValue
from netsvc.services.sms.gateway import Entry
from netsvc.services.sms.option_types import entries, reply_path, url, value
from netsvc.services.sms.receipts.meaning import FATES, Fate, parse_table
from netsvc.services.sms.receipts.signature import SIGNATURES
from netsvc.services.sms.reply import Path as ReplyPath
from netsvc.services.sms.template import Template

MINUTE = 60.0
DAY = 24 * 3600.0
MIN_TOKEN = 16  # characters: fewer can be guessed


def receipts() -> ValueType[tuple[tuple[str, Fate], ...]]:
    """A table of statuses."""

    def show(table: tuple[tuple[str, Fate], ...]) -> str:
        return "\n".join(f"{status} -> {fate}" for status, fate in table)

    return value("receipts", f"lines of STATUS -> {' | '.join(FATES)}", parse_table, show=show, multiline=True)


def address() -> ValueType[str]:
    """A URL of ours, as the gateway shall call it."""

    def parse(text: str) -> str:
        try:
            parsed = urlsplit(text)
            good = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
        except ValueError:
            good = False
        if (
            not good
            or parsed.query
            or parsed.fragment
            or parsed.username
            or not (text.isascii() and text.isprintable())
        ):
            raise BadValue("a URL here begins with https:// or http:// and a host, and has no query")
        return text.rstrip("/")

    return value("url", "https: or http:, without a query", parse)


# What a preset can say: option -> its type.
RECEIPT_PARTS: Mapping[str, ValueType[Any]] = {
    "receipt_id": reply_path(),
    "receipt_status": reply_path(),
    "receipt_reason": reply_path(),
    "receipt_signature": values.choice(*SIGNATURES),
    "receipt_thanks": values.text(longest=1000),
    "receipts": receipts(),
    "poll_url": url(),
    "poll_method": values.choice("GET", "POST"),
    "poll_parameters": entries(),
    "poll_status": reply_path(),
    "poll_reason": reply_path(),
}


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class ReceiptSettings:
    """Whether a message that the gateway took was delivered: it calls us, or is asked."""

    receipt_listen: tuple[ListenAddress, ...] = option(
        endpoints(),
        default=(),
        help="Endpoints on which the gateway tells of receipts, one a line, such as tls:8443 or, behind a proxy, "
        "tcp:8026:interface=127.0.0.1.",
    )
    receipt_url: str = option(
        address(), default="", help="How the gateway reaches that: https://sms.example.com/receipts; {receipt_url}."
    )
    receipt_token: Secret | None = option(
        secret(), default=None, help="A word that the URL ends with, behind a slash, so that nobody else can find it."
    )
    receipt_signature: str | None = option(
        RECEIPT_PARTS["receipt_signature"],
        default=None,
        help="How the gateway signs: twilio by the password, vonage-... by the signing_key; none: by the token alone.",
    )
    receipt_id: ReplyPath | None = option(
        RECEIPT_PARTS["receipt_id"], default=None, help="Where a receipt names the message, by message_id or {id}."
    )
    receipt_status: ReplyPath | None = option(
        RECEIPT_PARTS["receipt_status"], default=None, help="Where it says what became of it."
    )
    receipt_reason: ReplyPath | None = option(
        RECEIPT_PARTS["receipt_reason"], default=None, help="Where it says more, for the records."
    )
    receipts: tuple[tuple[str, Fate], ...] = option(
        RECEIPT_PARTS["receipts"], default=(), help="What statuses mean, added to the preset's; others are pending."
    )
    receipt_thanks: str | None = option(
        RECEIPT_PARTS["receipt_thanks"], default=None, help="What the gateway wants to hear; OK when nobody says."
    )
    poll_interval: float | None = option(
        values.optional(values.duration(1, DAY)),
        default=None,
        help="Ask the gateway so often what became of a message, until it says; none: never.",
    )
    poll_for: float = option(
        values.duration(1, 30 * DAY), default=3 * DAY, help="When nobody asks any more: the receipt is unknown then."
    )
    poll_url: Template | None = option(
        RECEIPT_PARTS["poll_url"], default=None, help="What is asked; {message_id} is the gateway's name for a message."
    )
    poll_method: str | None = option(
        RECEIPT_PARTS["poll_method"], default=None, help="The HTTP method; GET when nobody says."
    )
    poll_parameters: tuple[Entry, ...] = option(
        RECEIPT_PARTS["poll_parameters"], default=(), help="As parameters: in the URL of a GET, the form of a POST."
    )
    poll_status: ReplyPath | None = option(
        RECEIPT_PARTS["poll_status"], default=None, help="Where the reply has the status that receipts has a line for."
    )
    poll_reason: ReplyPath | None = option(
        RECEIPT_PARTS["poll_reason"], default=None, help="Where it says more, for the records."
    )


def receipt_faults(settings: Any, parts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What cannot stand together: (key, message) each.

    :param settings: that inherit ReceiptSettings, and have password, signing_key and without_tls.
    :param parts: of each option of RECEIPT_PARTS, what is said or else the preset's.
    """
    yield from _listener_faults(settings, parts)
    if settings.poll_interval is not None:
        for key in ("poll_url", "poll_status", "receipts"):
            if not parts[key]:
                yield "poll_interval", f"to ask the gateway there must be {key}"
                return
        template = parts["poll_url"].source
        if not settings.without_tls and template.startswith("http:") and not is_here(urlsplit(template).hostname or ""):
            yield "poll_url", "over http: passwords would cross in clear; say without_tls = yes if they shall"
        if settings.poll_for < settings.poll_interval:
            yield "poll_for", "it is shorter than poll_interval"


def _listener_faults(settings: Any, parts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in settings.receipt_listen:
        if isinstance(one, UdpAddress):
            yield "receipt_listen", f"{one}: receipts do not come by UDP"
        elif (
            isinstance(one, TcpAddress)
            and one.tls is None
            and not settings.without_tls
            and not is_here(one.interface or "")
        ):
            yield (
                "receipt_listen",
                f"{one}: the token would cross in clear; use tls:, a loopback interface or without_tls",
            )
    if bool(settings.receipt_listen) != bool(settings.receipt_url):
        given = "receipt_listen" if settings.receipt_listen else "receipt_url"
        yield given, "receipt_listen and receipt_url need each other"
        return
    if not settings.receipt_listen:
        return
    for key in ("receipt_id", "receipt_status", "receipts"):
        if not parts[key]:
            yield "receipt_listen", f"to understand receipts there must be {key}"
    signature = parts["receipt_signature"] or "none"
    if settings.receipt_token is None and signature == "none":
        yield "receipt_listen", "anybody could tell us anything: there must be receipt_token or receipt_signature"
    if signature != "none" and not getattr(settings, "password" if signature == "twilio" else "signing_key"):
        yield "receipt_signature", f"it needs the {'password' if signature == 'twilio' else 'signing_key'}"
    if settings.receipt_token is not None:
        token = settings.receipt_token.reveal()
        if len(token) < MIN_TOKEN or not all(one.isascii() and (one.isalnum() or one in "-._~") for one in token):
            yield "receipt_token", f"a token has {MIN_TOKEN} letters, digits, dashes, dots or underscores at least"


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
