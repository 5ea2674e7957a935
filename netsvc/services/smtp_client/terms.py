"""The terms of a delivery: relay, envelope, time limits, outcome. No Twisted, no I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import frozen

from netsvc.config.secrets import Secret

Result = Literal["delivered", "retry", "permanent", "ambiguous"]
TLSPolicy = Literal["none", "may", "require", "verify"]


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
    """

    host: str
    port: int
    tls: TLSPolicy
    implicit: bool = False
    username: str | None = None
    password: Secret | None = None
    trust_roots: Path | None = None
    auth_without_tls: bool = False


@frozen(kw_only=True)
class Envelope:
    """RFC 5321 3.3: who sends and who receives, apart from what the header fields say.

    :param sender: the reverse-path without angle brackets; empty for the null sender of bounces.
    :param recipients: forward-paths without angle brackets.
    """

    sender: str
    recipients: tuple[str, ...]


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
    """

    recipient: str
    result: Result
    code: int | None
    enhanced: str | None
    text: str
    phase: str = ""
