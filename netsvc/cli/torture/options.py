"""Which of the user's options go with the adversary, and why the others do not. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen

from netsvc.cli.torture.terms import Way

if TYPE_CHECKING:
    from netsvc.services.smtp_client.settings import SmtpClientSettings

# What decides how a message is kept and how servers are spoken to.
KEPT = frozenset(
    (
        *("ambiguous", "concurrency", "helo_name", "per_destination", "destination_failures"),
        *("keep_connections", "keep_idle", "messages_per_connection", "bounce_return", "bounce_window"),
    )
)
# Played in the user's way, with the adversary's own certificate, user name and password.
PLAYED = frozenset(("relay", "tls", "trust_roots", "username", "password", "auth_without_tls"))
# The play sets these itself: short times, a place of its own, on any disk; no processes, which would be one a fault.
SET = frozenset(
    (
        *("retry_first", "retry_longest", "destination_retry_first", "destination_retry_longest", "phase_timeout"),
        *("socket", "queue_directory", "allow_volatile", "delivery_processes"),
    )
)
# The others are left out. The play is by smarthost, so nothing is looked up and no table is asked.
LEFT: Mapping[str, frozenset[str]] = {
    "the adversary is the one server there is": frozenset(
        (
            *("routes", "credentials", "tls_policies", "mta_sts", "mx_port", "own_names", "own_addresses"),
            *("dns_servers", "dns_trust_ad", "dns_timeout"),
        )
    ),
    "it takes a password by PLAIN and LOGIN": frozenset(("token_command", "auth_mechanisms")),
    "mail comes in by a socket of the play's own": frozenset(
        (
            *("socket_mode", "max_connections", "submission_timeout", "submission_listen", "submission_users"),
            *("submission_tls", "http_listen", "http_token"),
        )
    ),
    "the books compare addresses and content as they went in": frozenset(
        (
            *("origin", "canonical", "canonical_classes", "masquerade_domains", "masquerade_exceptions"),
            *("masquerade_classes", "generic", "aliases", "local_domains", "dkim", "bounce_from"),
        )
    ),
    "the play has messages of 8 MB and to many, and must see each one's end": frozenset(
        (
            "max_message",
            "max_recipients",
            "give_up_after",
            "keep",
            "delay_notice",
            "rate_per_destination",
            "drain_timeout",
        )
    ),
    "nobody is to get a text message": frozenset(("sms_service",)),
    "its queue is in SQLite": frozenset(("queue_database", "queue_schema", "lease_timeout")),
}


@frozen(kw_only=True)
class Own:
    """What the user's section means for the play.

    :param kept: options that go along, as INI text.
    :param left: options that the user has set and that do not go along, in order.
    """

    way: Way = field(factory=Way)
    kept: Mapping[str, str] = field(factory=dict)
    left: tuple[str, ...] = ()


def own(settings: SmtpClientSettings) -> Own:
    """Choose from the user's options."""
    from netsvc.config.options import options
    from netsvc.services.smtp_client.settings import SmtpClientSettings

    known = options(SmtpClientSettings)
    left = frozenset().union(*LEFT.values())
    changed = [one for one in known if getattr(settings, one.key) != one.default]
    return Own(
        way=_way(settings),
        kept={one.key: one.value.show(getattr(settings, one.key)) for one in changed if one.key in KEPT},
        left=tuple(sorted(one.key for one in changed if one.key in left)),
    )


def _way(settings: SmtpClientSettings) -> Way:
    """How mail goes to the first server of the relay, or to a mail host."""
    from netsvc.services.smtp_client.routing.places import ToMX, ToSmarthosts

    if isinstance(settings.relay, ToMX):
        return Way("may")
    if not isinstance(settings.relay, ToSmarthosts):
        return Way()
    first = settings.relay.hosts[0]
    rule = settings.tls_policies.find(first.host)
    policy = rule.value if rule is not None else settings.tls
    login = first.login is not None or settings.username is not None
    softer = ("require",) if first.implicit else ("none", "may", "require")
    return Way(policy if policy in softer else "verify", first.implicit, login)


def reasons(left: tuple[str, ...]) -> Iterator[str]:
    """Sentences about what was left out."""
    for reason, names in LEFT.items():
        some = [one for one in left if one in names]
        if some:
            yield f"{', '.join(some)}: left out, as {reason}."
