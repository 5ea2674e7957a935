"""Options of the outbound mail client: where mail goes, how long it is tried, who may hand it in. No Twisted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.listen import MAX_UNIX_PATH
from netsvc.config.options import Context, ValueType, option
from netsvc.config.secrets import Secret, secret
from netsvc.config.values import nearest
from netsvc.errors import BadValue
from netsvc.outbox.settings import database_faults
from netsvc.services.smtp_client.auth.choice import NAMES
from netsvc.services.smtp_client.bounce.settings import NoticeSettings
from netsvc.services.smtp_client.endpoint.settings import EndpointSettings, endpoint_faults
from netsvc.services.smtp_client.listener.settings import ListenerSettings, listener_faults
from netsvc.services.smtp_client.queue_settings import QueueSettings
from netsvc.services.smtp_client.rewriting.settings import RewritingSettings
from netsvc.services.smtp_client.routing.places import HOST_NAME, Place, ToMaildir, ToSmarthosts, a_place
from netsvc.services.smtp_client.routing.settings import RoutingSettings, routing_faults

KIND_WORD = "smtp_client"
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MAX_MESSAGE = 1 << 29  # octets: SQLite keeps rows below 1,000,000,000 octets, and a message passes through memory

_HELO = re.compile(rf"{HOST_NAME.pattern}|\[[A-Za-z0-9.:]+\]")  # a domain or an address literal, RFC 5321 4.1.1.1


def command() -> ValueType[tuple[str, ...]]:
    """A program and its arguments, quoted as in a shell, but run without one."""

    def parse(text: str, _: Context) -> tuple[str, ...]:
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise BadValue(f"{text!r} cannot be read as a command: {error}") from None
        if words and not words[0].startswith("/"):
            raise BadValue(f"{words[0]!r} is not the absolute path of a program")
        return words

    return ValueType(name="command", bounds="PROGRAM ARGUMENT ...", parse=parse, show=shlex.join)


def _mechanism(word: str) -> str:
    if word.upper() not in NAMES:
        raise BadValue(f"{word!r} is not one of {', '.join(NAMES)}", suggestion=nearest(word.upper(), NAMES))
    return word.upper()


@frozen(kw_only=True)
class SmtpClientSettings(
    ListenerSettings, EndpointSettings, RoutingSettings, QueueSettings, NoticeSettings, RewritingSettings
):
    """Options of the outbound mail client."""

    relay: Place = option(
        a_place(),
        default=ToMaildir(Path("mail")),
        help="Where mail goes: a Maildir, smarthosts in their order (smtps: is TLS at once), or mx, each domain's own.",
    )
    tls: str = option(
        values.choice("none", "may", "require", "verify"),
        default="verify",
        help="On the way to a smarthost: never, if offered, always, or always with chain and name verified.",
    )
    trust_roots: Path | None = option(
        values.path(), default=None, help="PEM file of the authorities to believe; without it, those of this machine."
    )
    username: str | None = option(
        values.optional(values.text(longest=255, empty=False)), default=None, help="Log in to the smarthost as this."
    )
    password: Secret | None = option(secret(), default=None, help="The password that belongs to the username.")
    token_command: tuple[str, ...] = option(
        command(),
        default=(),
        help="In place of a password: a program that prints an OAuth 2.0 access token, run when a new one is needed.",
    )
    auth_mechanisms: tuple[str, ...] = option(
        values.items(_mechanism, name="mechanisms", bounds=", ".join(NAMES)),
        default=(),
        help="The only ways to log in that are used, best first; empty is all that are known.",
    )
    auth_without_tls: bool = option(
        values.boolean(), default=False, help="Log in even where there is no TLS: the password crosses in clear."
    )
    helo_name: str = option(
        values.text(longest=255),
        default="",
        help="Our name in EHLO and in Received lines; empty is this machine's name.",
    )
    socket: Path | None = option(
        values.path(),
        default=None,
        help="UNIX socket that takes mail in; without it, mail.sock in the state directory.",
    )
    socket_mode: int = option(values.octal_mode(), default=0o660, help="Who may hand mail in: the mode of the socket.")
    max_connections: int = option(
        values.integer(1, 100_000), default=256, help="Submissions at the same time; more are closed at once."
    )
    submission_timeout: float = option(
        values.duration(0.1, HOUR), default=5 * MINUTE, help="Time for one submission to arrive whole."
    )
    max_message: int = option(
        values.size(1 << 10, MAX_MESSAGE), default=50 << 20, help="The largest message that is accepted."
    )
    max_recipients: int = option(values.integer(1, 1000), default=1000, help="Recipients of one message at most.")
    queue_directory: Path | None = option(
        values.path(),
        default=None,
        help="Where mail waits, on a disk that keeps it; without it, outbox/SECTION in the state directory.",
    )
    concurrency: int = option(values.integer(1, 1000), default=100, help="Deliveries at the same time.")
    delivery_processes: int = option(
        values.integer(0, 64),
        default=1,
        help="Processes that speak to the servers, started when there is mail for them; 0: the daemon does it itself.",
    )
    phase_timeout: float = option(
        values.duration(1, 10 * MINUTE),
        default=10 * MINUTE,
        help="Upper bound of each phase of a delivery; RFC 5321's own limits, 30 s to 10 minutes, hold where shorter.",
    )
    retry_first: float = option(
        values.duration(1, DAY), default=5 * MINUTE, help="Upper bound of the first delay; each next one doubles it."
    )
    retry_longest: float = option(values.duration(1, 7 * DAY), default=4 * HOUR, help="Upper bound of every delay.")
    give_up_after: float = option(
        values.duration(1, 365 * DAY),
        default=5 * DAY,
        help="Age at which a message that cannot be delivered is given up.",
    )
    ambiguous: str = option(
        values.choice("retry", "hold"),
        default="retry",
        help="A connection that broke after the last octet: send again (perhaps twice), or hold for a person.",
    )
    keep: float = option(
        values.duration(0, 3650 * DAY), default=30 * DAY, help="How long finished messages stay in the records."
    )
    drain_timeout: float = option(
        values.duration(0, HOUR), default=10.0, help="Time that deliveries have to finish when the service stops."
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What cannot stand together: (key, message) each."""
        yield from listener_faults(self)
        yield from endpoint_faults(self)
        yield from database_faults(self)
        if self.password is not None and self.token_command:
            yield "token_command", "there is a password: one of the two"
        secret_key = "password" if self.password is not None else "token_command" if self.token_command else ""
        if self.username is not None and not secret_key:
            yield "username", "a username needs a password or a token_command"
        if self.username is None and secret_key:
            yield secret_key, f"a {secret_key} needs a username"
        yield from routing_faults(self, [self.relay])
        hosts = self.relay.hosts if isinstance(self.relay, ToSmarthosts) else ()
        if any(host.implicit for host in hosts) and self.tls in ("none", "may"):
            yield "tls", f"smtps: is TLS from the first octet; {self.tls!r} is for smtp:"
        if self.username is not None and self.tls == "none" and not self.auth_without_tls:
            yield "tls", "without TLS the password would cross in clear; say auth_without_tls = yes if it shall"
        if self.helo_name and not _HELO.fullmatch(self.helo_name):
            yield "helo_name", f"{self.helo_name!r} is neither a host name nor an address in brackets"
        if self.retry_longest < self.retry_first:
            yield "retry_longest", "it is shorter than retry_first"
        if self.socket is not None and len(bytes(self.socket)) > MAX_UNIX_PATH:
            yield "socket", f"the path {str(self.socket)!r} is longer than {MAX_UNIX_PATH} octets"


def _instance(name: str) -> str:
    return name.partition(":")[2]


def socket_path(settings: SmtpClientSettings, state_directory: Path, name: str) -> Path:
    """Where a section's socket is: ``mail.sock``, or ``mail-INSTANCE.sock`` for ``[smtp_client:INSTANCE]``."""
    if settings.socket is not None:
        return settings.socket
    instance = _instance(name)
    return state_directory / (f"mail-{instance}.sock" if instance else "mail.sock")


def queue_path(settings: SmtpClientSettings, state_directory: Path, name: str) -> Path:
    """Where a section's queue is: ``outbox/smtp_client``, or ``outbox/smtp_client-INSTANCE``."""
    if settings.queue_directory is not None:
        return settings.queue_directory
    return state_directory / "outbox" / name.replace(":", "-")
