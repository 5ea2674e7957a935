"""Options of what is done to addresses, and of signatures. No Twisted."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.services.smtp_client.aliases import NO_ALIASES, Aliases, aliases
from netsvc.services.smtp_client.dkim_keys import DkimKey, dkim_keys
from netsvc.services.smtp_client.rewriting import rules
from netsvc.services.smtp_client.rewriting.rules import AddressClass, Masquerade, Rewriting
from netsvc.services.smtp_client.rewriting.tables import NO_TABLE, Table, table


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class RewritingSettings:
    """Addresses of machines that have no mail of their own, aliases, DKIM."""

    origin: str = option(
        values.text(longest=253), default="", help="The domain of addresses that have none; empty leaves them alone."
    )
    canonical: tuple[str, Table] = option(
        table(), default=NO_TABLE, help="File of addresses to replace in what comes in."
    )
    canonical_classes: frozenset[AddressClass] = option(
        values.choices(*rules.CLASSES), default=frozenset(rules.CLASSES), help="Where the canonical table is used."
    )
    masquerade_domains: tuple[str, ...] = option(
        rules.mask_domains(), default=(), help="Domains below which host parts are stripped; ! excepts one."
    )
    masquerade_exceptions: tuple[str, ...] = option(
        rules.mask_exceptions(), default=(), help="Names that keep their host, such as root."
    )
    masquerade_classes: frozenset[AddressClass] = option(
        values.choices(*rules.CLASSES),
        default=rules.MASQUERADED,
        help="Where host parts are stripped.",
    )
    generic: tuple[str, Table] = option(
        table(), default=NO_TABLE, help="File of addresses to replace when mail leaves by SMTP."
    )
    aliases: tuple[str, Aliases] = option(
        aliases(), default=NO_ALIASES, help="File like /etc/aliases: who gets the mail of root and others."
    )
    local_domains: tuple[str, ...] = option(
        values.items(str.lower, name="domains", bounds="domains"),
        default=(),
        help="Domains whose names may have aliases, beside this machine's own name and localhost.",
    )
    dkim: tuple[DkimKey, ...] = option(
        dkim_keys(),
        default=(),
        help="Lines of DOMAIN SELECTOR SECRET, a private key: mail from that domain is signed; RSA and Ed25519 both.",
    )


def rewriting_of(settings: RewritingSettings) -> Rewriting:
    """The rules that the options come to."""
    return Rewriting(
        origin=settings.origin,
        canonical=settings.canonical[1],
        canonical_classes=settings.canonical_classes,
        masquerade=Masquerade(
            domains=settings.masquerade_domains, exceptions=frozenset(settings.masquerade_exceptions)
        ),
        masquerade_classes=settings.masquerade_classes,
        generic=settings.generic[1],
    )
