"""Options of the text message service: the gateway and its replies, numbers and limits, the queue. No Twisted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from netsvc.config import values
from netsvc.config.listen import MAX_UNIX_PATH
from netsvc.config.options import Context, ValueType, option
from netsvc.config.secrets import Secret, secret
from netsvc.config.values import Rate
from netsvc.outbox.settings import DatabaseSettings, database_faults
from netsvc.services.sms.gateway import Entry, Gateway
from netsvc.services.sms.numbers import Numbering
from netsvc.services.sms.option_types import codes, condition, digits, entries, rates, reply_path, url
from netsvc.services.sms.presets import PRESETS
from netsvc.services.sms.receipts.meaning import ReceiptRules
from netsvc.services.sms.receipts.settings import RECEIPT_PARTS, ReceiptSettings, is_here, receipt_faults
from netsvc.services.sms.reply import Condition, Meaning, Rules
from netsvc.services.sms.reply import Path as ReplyPath
from netsvc.services.sms.template import Template

KIND_WORD = "sms"
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


# What a preset can say: option -> its type.
_GATEWAY: Mapping[str, ValueType[Any]] = {
    "url": url(),
    "method": values.choice("POST", "GET"),
    "encoding": values.choice("form", "json", "query"),
    "parameters": entries(),
    "headers": entries(headers=True),
    "auth": values.choice("none", "basic", "bearer"),
    "success": condition(),
    "code": reply_path(),
    "message_id": reply_path(),
    "reason": reply_path(),
    "codes": codes(),
    **RECEIPT_PARTS,
}


@frozen(kw_only=True)
class SmsSettings(ReceiptSettings, DatabaseSettings):
    """Options of the text message service."""

    preset: str = option(
        values.choice(*PRESETS), default="none", help="A gateway that is known; each option below overrides its part."
    )
    url: Template | None = option(_GATEWAY["url"], default=None, help="Where the gateway takes messages.")
    account: str = option(values.text(longest=255), default="", help="Who we are to the gateway: {account}.")
    password: Secret | None = option(
        secret(), default=None, help="The password, key or token that belongs to it: {password}."
    )
    signing_key: Secret | None = option(
        secret(), default=None, help="A further key, for {hmac_sha256:signing_key:TEMPLATE}."
    )
    sender: str = option(values.text(longest=64), default="", help="The number or name it comes from: {sender}.")
    method: str | None = option(_GATEWAY["method"], default=None, help="The HTTP method; POST when nobody says.")
    encoding: str | None = option(
        _GATEWAY["encoding"], default=None, help="How parameters travel: form when nobody says; query is in the URL."
    )
    parameters: tuple[Entry, ...] = option(
        _GATEWAY["parameters"],
        default=(),
        help="What is sent, NAME = TEMPLATE a line, in addition to the preset's or in place of its of that name.",
    )
    headers: tuple[Entry, ...] = option(
        _GATEWAY["headers"], default=(), help="Further HTTP headers, in the same form and way."
    )
    auth: str | None = option(
        _GATEWAY["auth"], default=None, help="HTTP authentication: basic is account and password, bearer the password."
    )
    success: Condition | None = option(
        _GATEWAY["success"], default=None, help="What holds for each part of a reply to a message that was taken."
    )
    code: ReplyPath | None = option(
        _GATEWAY["code"], default=None, help="Where the code stands that codes has a line for."
    )
    message_id: ReplyPath | None = option(
        _GATEWAY["message_id"], default=None, help="Where the gateway's name of the message stands, for the records."
    )
    reason: ReplyPath | None = option(
        _GATEWAY["reason"], default=None, help="Where the gateway's words stand, for the records."
    )
    codes: tuple[tuple[str, Meaning], ...] = option(
        _GATEWAY["codes"], default=(), help="What codes mean, before the HTTP status is asked; added to the preset's."
    )
    idempotent: bool = option(
        values.boolean(),
        default=False,
        help="The gateway knows {id} again: what may have been sent is sent again, else held for a person.",
    )
    without_tls: bool = option(
        values.boolean(), default=False, help="Use http: even beyond this machine: passwords and texts cross in clear."
    )
    trust_roots: Path | None = option(
        values.path(), default=None, help="PEM file of the authorities to believe; without it, those of this machine."
    )
    connect_timeout: float = option(
        values.duration(0.1, HOUR), default=15.0, help="Time for the name, the connection and the TLS handshake."
    )
    reply_timeout: float = option(
        values.duration(0.1, HOUR), default=60.0, help="Time for the request and the whole reply."
    )
    timezone: str = option(values.timezone(), default="UTC", help="Whose time {time:PATTERN} is.")
    country_code: str = option(
        digits(3), default="", help="Whose national numbers are taken, such as 86; none: international ones only."
    )
    trunk_prefix: str = option(
        digits(2), default="0", help="What stands before a national number at home and is dropped."
    )
    max_segments: int = option(
        values.integer(1, 255), default=10, help="Segments of one message at most; each is paid for."
    )
    max_recipients: int = option(values.integer(1, 1000), default=100, help="Numbers of one message at most.")
    limit_per_number: tuple[Rate, ...] = option(
        rates(), default=(), help="Messages to one number, as 1/m, 10/d; a restart does not make it anew."
    )
    limit_per_template: tuple[Rate, ...] = option(
        rates(), default=(), help="Messages of one --template, to all numbers together; counted likewise."
    )
    limit_total: tuple[Rate, ...] = option(
        rates(), default=(), help="Messages of all kinds to all numbers, as 1000/d; counted likewise."
    )
    socket: Path | None = option(
        values.path(),
        default=None,
        help="UNIX socket that takes messages in; without it, sms.sock in the state directory.",
    )
    socket_mode: int = option(values.octal_mode(), default=0o660, help="Who may hand messages in: the socket's mode.")
    max_connections: int = option(
        values.integer(1, 100_000), default=256, help="Submissions at the same time; more are closed at once."
    )
    submission_timeout: float = option(
        values.duration(0.1, HOUR), default=30.0, help="Time for one submission to arrive whole."
    )
    queue_directory: Path | None = option(
        values.path(),
        default=None,
        help="Where messages wait, on a disk that keeps it; without it, outbox/SECTION in the state directory.",
    )
    concurrency: int = option(values.integer(1, 1000), default=5, help="Requests to the gateway at the same time.")
    retry_first: float = option(
        values.duration(1, DAY), default=MINUTE, help="Upper bound of the first delay; each next one doubles it."
    )
    retry_longest: float = option(values.duration(1, 7 * DAY), default=HOUR, help="Upper bound of every delay.")
    give_up_after: float = option(
        values.duration(1, 365 * DAY), default=DAY, help="Age at which a message that nobody takes is given up."
    )
    keep: float = option(
        values.duration(0, 3650 * DAY), default=30 * DAY, help="How long finished messages stay in the records."
    )
    drain_timeout: float = option(
        values.duration(0, HOUR), default=10.0, help="Time that requests have to finish when the service stops."
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What cannot stand together: (key, message) each."""
        for key in ("url", "parameters", "success"):
            if not self._part(key):
                yield key if getattr(self, key) else "preset", f"without a preset there must be {key}"
                return
        gateway = self.gateway()
        names = gateway.names()
        for key in ("account", "password", "signing_key", "country_code"):
            if not getattr(self, key) and ("national" if key == "country_code" else key) in names:
                yield "preset", f"the gateway needs {key}"
        wanted = {name for one in gateway.parameters if not one.optional for name in one.value.names()}
        if not self.sender and "sender" in wanted:
            yield "preset", "the gateway needs sender"
        if not self.without_tls and gateway.url.source.startswith("http:") and not is_here(gateway.host()):
            yield "url", "over http: passwords and texts would cross in clear; say without_tls = yes if they shall"
        if gateway.encoding == "json" and gateway.method == "GET":
            yield "method", "a GET has no body for JSON"
        if gateway.encoding == "form" and gateway.method == "GET":
            yield "method", "a GET has no body for a form; say encoding = query"
        if self.idempotent and "id" not in names:
            yield "idempotent", "no template has {id}, by which the gateway would know a message again"
        if self.retry_longest < self.retry_first:
            yield "retry_longest", "it is shorter than retry_first"
        if self.socket is not None and len(bytes(self.socket)) > MAX_UNIX_PATH:
            yield "socket", f"the path {str(self.socket)!r} is longer than {MAX_UNIX_PATH} octets"
        if "message_id" in names:
            yield "parameters", "{message_id} is known when the gateway has answered, and not before"
        yield from receipt_faults(self, {key: self._part(key) for key in RECEIPT_PARTS})
        yield from database_faults(self)

    def numbering(self) -> Numbering:
        """How numbers are written."""
        return Numbering(self.country_code, self.trunk_prefix)

    def gateway(self) -> Gateway:
        """The gateway: the preset's parts, and in their place what is said here."""
        return Gateway(
            url=self._part("url"),
            method=self._part("method") or "POST",
            encoding=self._part("encoding") or "form",
            parameters=self._merged("parameters"),
            headers=self._merged("headers"),
            auth=self._part("auth") or "none",
            idempotent=self.idempotent,
            rules=Rules(
                success=self._part("success"),
                code=self._part("code"),
                message_id=self._part("message_id"),
                reason=self._part("reason"),
                codes=tuple({**dict(self._preset("codes") or ()), **dict(self.codes)}.items()),
            ),
        )

    def question(self) -> Gateway:
        """How the gateway is asked what became of a message."""
        method = self._part("poll_method") or "GET"
        return evolve(
            self.gateway(),
            url=self._part("poll_url"),
            method=method,
            encoding="query" if method == "GET" else "form",
            parameters=self._merged("poll_parameters"),
            headers=(),
        )

    def receipt_rules(self, *, polled: bool) -> ReceiptRules:
        """How receipts are read that come by themselves, or that are asked for."""
        return ReceiptRules(
            id=self._part("receipt_id") or reply_path().parse("http", Context(Path("/"))),
            status=self._part("poll_status" if polled else "receipt_status"),
            reason=self._part("poll_reason" if polled else "receipt_reason"),
            table=tuple({**dict(self._preset("receipts") or ()), **dict(self.receipts)}.items()),
        )

    def signature(self) -> tuple[str, Secret | None]:
        """How the gateway signs its receipts, and by which key."""
        kind = self._part("receipt_signature") or "none"
        return kind, self.password if kind == "twilio" else self.signing_key

    def thanks(self) -> str:
        """What the gateway wants to hear when it told of a receipt."""
        return self._part("receipt_thanks") or "OK"

    def full_receipt_url(self) -> Secret | None:
        """Where the gateway tells of receipts, with the token."""
        if not self.receipt_listen:
            return None
        token = f"/{self.receipt_token.reveal()}" if self.receipt_token else ""
        return Secret("receipt_token", self.receipt_url + token)

    def _preset(self, key: str) -> Any:
        text = PRESETS[self.preset].get(key)
        return None if text is None else _GATEWAY[key].parse(text, Context(Path("/")))

    def _part(self, key: str) -> Any:
        return getattr(self, key) or self._preset(key)

    def _merged(self, key: str) -> tuple[Entry, ...]:
        both = (*(self._preset(key) or ()), *getattr(self, key))
        return tuple({one.name: one for one in both}.values())


def socket_path(settings: SmsSettings, state_directory: Path, name: str) -> Path:
    """Where a section's socket is: ``sms.sock``, or ``sms-INSTANCE.sock`` for ``[sms:INSTANCE]``."""
    if settings.socket is not None:
        return settings.socket
    instance = name.partition(":")[2]
    return state_directory / (f"sms-{instance}.sock" if instance else "sms.sock")


def queue_path(settings: SmsSettings, state_directory: Path, name: str) -> Path:
    """Where a section's queue is: ``outbox/sms``, or ``outbox/sms-INSTANCE``."""
    if settings.queue_directory is not None:
        return settings.queue_directory
    return state_directory / "outbox" / name.replace(":", "-")


def key_path(settings: SmsSettings, state_directory: Path, name: str) -> Path:
    """Where the key is that makes numbers known again: beside the socket, and not in the queue."""
    return socket_path(evolve(settings, socket=None), state_directory, name).with_suffix(".key")
