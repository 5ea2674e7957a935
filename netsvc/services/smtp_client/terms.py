"""The terms of a delivery: relay, envelope, time limits, outcome. No Twisted, no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from attrs import field, fields, frozen

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.routing.answers import TLSA

Result = Literal["delivered", "retry", "permanent", "ambiguous"]
TLSPolicy = Literal["none", "may", "require", "verify"]
VERIFIED: frozenset[TLSPolicy] = frozenset({"verify"})  # the policies that know whom they speak to
Wish = Literal["never", "success", "failure", "delay"]  # RFC 3461 4.1

MAX_ENVID = 100  # characters, RFC 3461 4.4
_PRINTABLE = re.compile(r"[\x20-\x7e]*\Z")
_NO_NOTICES: Mapping[str, Notice] = MappingProxyType({})
_ORCPT = re.compile(r"(?:(?!utf-8;)[A-Za-z0-9-]+;[\x21-\x7e]+|(?i:utf-8);[^\x00-\x20\x7f-\x9f\ud800-\udfff]+)?\Z")


@frozen(kw_only=True)
class Relay:
    """One server to hand mail to, and what must hold on the way there.

    :param host: DNS name or address; with ``verify`` also the name that the certificate must bear.
    :param port: 1 to 65535; commonly 25, 587 (STARTTLS) or 465 (implicit).
    :param tls: ``none``: never; ``may``: when offered, unverified; ``require``: encrypted or not at all, unverified;
        ``verify``: encrypted, with chain and name verified.
    :param implicit: TLS from the first octet (RFC 8314 3.3) instead of STARTTLS (RFC 3207).
    :param username: log in with this name; None sends no AUTH.
    :param password: the secret that belongs to the name.
    :param trust_roots: PEM file of the CAs to trust; None trusts what the platform trusts.
    :param auth_without_tls: send credentials in clear where there is no TLS.
    :param address: connect to this address; empty looks the host up.
    :param tlsa: with ``verify``: the certificate must match one of these records (RFC 7672), and no CA is asked.
    :param names: with ``verify``: other names than the host that the certificate may bear instead.
    :param tls_source: where the policy comes from, in words, for people.
    :param login_source: where name and secret come from, in words, for people.
    :param token_command: a program and its arguments that print an OAuth 2.0 access token for the name; it takes the
        place of the password.
    :param mechanisms: names of the only SASL mechanisms to use, best first; empty: all that are known here.
    """

    host: str
    port: int
    tls: TLSPolicy
    implicit: bool = False
    username: str | None = None
    password: Secret | None = None
    trust_roots: Path | None = None
    auth_without_tls: bool = False
    address: str = ""
    tlsa: tuple[TLSA, ...] = ()
    names: tuple[str, ...] = ()
    tls_source: str = ""
    login_source: str = ""
    token_command: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.implicit else 'smtp'}:{host}:{self.port}"


@frozen(kw_only=True)
class Notice:
    """What the sender wants to hear about one recipient (RFC 3461 4.1, 4.2). ValueError for what cannot be said.

    :param notify: ``never`` alone, or any of the others; empty: the sender did not say.
    :param orcpt: the recipient as the sender first wrote it, decoded: ``rfc822;ann@example.com``, or ``utf-8;`` and an
        address in any script (RFC 6533 3); empty: the sender did not say.
    """

    notify: tuple[Wish, ...] = field(default=())
    orcpt: str = field(default="")

    @notify.validator
    def _consistent(self, _: object, value: tuple[Wish, ...]) -> None:
        if len(set(value)) != len(value) or ("never" in value and len(value) > 1):
            raise ValueError("NOTIFY is NEVER alone, or each of the others once")

    @orcpt.validator
    def _typed(self, _: object, value: str) -> None:
        if not _ORCPT.match(value) or len(value.encode("utf-8", "replace")) > 500:  # RFC 3461 4.2
            raise ValueError("ORCPT is TYPE;ADDRESS, at most 500 octets long")


NO_WISHES = Notice()


@frozen(kw_only=True)
class Envelope:
    """RFC 5321 3.3: who sends and who receives, apart from what the header fields say.

    :param sender: the reverse-path without angle brackets; empty for the null sender of bounces.
    :param recipients: forward-paths without angle brackets.
    :param ret: what a notice shall return, the whole message or its header (RFC 3461 4.3); None: not said.
    :param envid: the sender's name for this message, decoded (RFC 3461 4.4); empty: none.
    :param notices: recipient -> what is wanted; who is not in it has no wishes.
    :param require_tls: every server on the way must be verified and promise the same (RFC 8689); of the null sender:
        those that promise it are told, and no other is avoided.
    :param is_canonical: the line ends of the message's body are known to be CR LF.
    """

    sender: str
    recipients: tuple[str, ...]
    ret: Literal["full", "hdrs"] | None = None
    envid: str = field(default="")
    notices: Mapping[str, Notice] = _NO_NOTICES
    require_tls: bool = False
    is_canonical: bool = False

    @envid.validator
    def _short(self, _: object, value: str) -> None:
        if not _PRINTABLE.match(value) or len(value) > MAX_ENVID:
            raise ValueError(f"ENVID is printable ASCII, at most {MAX_ENVID} characters")


@frozen(kw_only=True)
class TLSWish:
    """What a message itself asks of TLS on its way (RFC 8689).

    :param required: it came with REQUIRETLS: each server is verified, and promises the same.
    :param waived: tells whether its header says ``TLS-Required: No``: what the recipient's domain asks for does not
        count then. It is asked only where a domain may ask for something.
    """

    required: bool = False
    waived: Callable[[], bool] = field(default=lambda: False)


@frozen(kw_only=True)
class Timeouts:
    """How long each phase may last, in seconds. Defaults: RFC 5321 4.5.3.2, but for those marked ours.

    A phase ends when its reply is complete: octets that drip in prolong nothing.

    :param connect: name look-up and TCP connection together (ours).
    :param greeting: the 220 of the server, 4.5.3.2.1.
    :param ehlo: EHLO and HELO (ours, as MAIL).
    :param starttls: the reply to STARTTLS (ours).
    :param handshake: the TLS handshake (ours).
    :param auth: each step of AUTH (ours, RFC 4954 4 leaves it open).
    :param mail: MAIL and RSET, 4.5.3.2.2.
    :param rcpt: each RCPT, 4.5.3.2.3.
    :param data: the 354, 4.5.3.2.4.
    :param block: each block of the body until the transport has taken it, 4.5.3.2.5.
    :param termination: the reply to the final dot, 4.5.3.2.6.
    :param quit: from QUIT to the end of the connection (ours).
    """

    connect: float = 30.0
    greeting: float = 300.0
    ehlo: float = 300.0
    starttls: float = 120.0
    handshake: float = 60.0
    auth: float = 120.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    termination: float = 600.0
    quit: float = 5.0

    @classmethod
    def within(cls, longest: float) -> Timeouts:
        """These limits, none of them longer than so many seconds."""
        limits = cls()
        return cls(**{one.name: min(getattr(limits, one.name), longest) for one in fields(cls)})


@frozen
class Outcome:
    """What became of the message for one recipient.

    :param recipient: as in the envelope.
    :param result: ``delivered``: the server took custody; ``retry``: try again later; ``permanent``: will never be
        taken; ``ambiguous``: the connection broke after the final dot and before its reply.
    :param code: the server's reply code, or None when the decision is ours.
    :param enhanced: RFC 3463 status, from the server or ours; None when there is none.
    :param text: the server's words without the codes, cleaned of control characters and bounded; or our reason.
    :param phase: where it was decided: connect, greeting, ehlo, starttls, tls, auth, content, rset, mail, rcpt, data,
        body, dot. With connect to auth nothing was said about this message: the next relay may be tried at once.
    :param notified: the server took over the duty of notices (it offers DSN). Where it is False and the sender wants
        to hear of success, whoever keeps the message owes a notice that it was relayed (RFC 3461 5.2.2).
    :param via: the relay that was spoken to, ``smtp:HOST:PORT`` or ``smtps:HOST:PORT``; empty: none.
    :param tls: what protected the connection, such as ``TLSv1.3 TLS_AES_256_GCM_SHA384 verified``; empty: nothing.
    """

    recipient: str
    result: Result
    code: int | None
    enhanced: str | None
    text: str
    phase: str = ""
    notified: bool = False
    via: str = ""
    tls: str = ""
