"""What becomes of an address on its way through: qualified, looked up, masked. Pure.

In this order, as people know it from other mailers: a name without a domain gets the origin; the canonical table; the
host part is stripped where a masqueraded domain remains; and, only when mail leaves by SMTP, the generic table.
"""

from __future__ import annotations

from typing import Literal, get_args

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import ValueType
from netsvc.errors import BadValue
from netsvc.services.smtp_client.rewriting.lines import is_domain, is_local_part
from netsvc.services.smtp_client.rewriting.tables import EMPTY, Table, qualified

AddressClass = Literal["envelope_sender", "envelope_recipient", "header_sender", "header_recipient"]
CLASSES: tuple[AddressClass, ...] = get_args(AddressClass)
# A recipient's host says where the mail goes, so that it is not stripped from the envelope.
MASQUERADED: frozenset[AddressClass] = frozenset(CLASSES) - {"envelope_recipient"}


@frozen(kw_only=True)
class Masquerade:
    """Which host parts are stripped.

    :param domains: ``example.com`` makes ``a@web.example.com`` to ``a@example.com``; ``!web.example.com`` leaves that
        host and all below it as they are. The longest that matches counts.
    :param exceptions: local parts that keep their host, such as ``root``.
    """

    domains: tuple[str, ...] = ()
    exceptions: frozenset[str] = frozenset()

    def apply(self, address: str) -> str:
        """The address without its host part, if that is to be stripped."""
        if not self.domains:
            return address
        local, _, domain = address.rpartition("@")
        lower = domain.lower()
        best = ""
        for one in self.domains:
            bare = one.removeprefix("!").lower()
            if (lower == bare or lower.endswith("." + bare)) and len(bare) > len(best.removeprefix("!")):
                best = one.lower()
        if not best or best.startswith("!") or lower == best or local.lower() in self.exceptions:
            return address
        return f"{local}@{domain[-len(best) :]}"


NO_MASK = Masquerade()


@frozen(kw_only=True)
class Rewriting:
    """All rules of one section.

    :param origin: the domain of addresses that have none; empty leaves them alone.
    :param canonical_classes: where the canonical table is used.
    :param masquerade_classes: where host parts are stripped.
    :param generic: used everywhere, when mail leaves by SMTP.
    """

    origin: str
    canonical: Table = EMPTY
    canonical_classes: frozenset[AddressClass] = frozenset(CLASSES)
    masquerade: Masquerade = NO_MASK
    masquerade_classes: frozenset[AddressClass] = MASQUERADED
    generic: Table = EMPTY

    @property
    def only_qualifies(self) -> bool:
        """Whether an address that has its domain stays as it is."""
        return not (self.canonical or self.masquerade.domains or self.generic)

    def accepted(self, address: str, of: AddressClass) -> str:
        """The address as the queue keeps it; the null sender stays."""
        address = qualified(address, self.origin)
        if "@" not in address:
            return address
        if of in self.canonical_classes:
            address = self.canonical.look_up(address, self.origin)
        return self.masquerade.apply(address) if of in self.masquerade_classes and "@" in address else address

    def outgoing(self, address: str) -> str:
        """The address as it leaves by SMTP; the null sender stays."""
        return self.generic.look_up(address, self.origin) if "@" in address and self.generic else address


def _mask_domain(text: str) -> str:
    if not is_domain(text.removeprefix("!")):
        raise BadValue(f"{text!r} is no domain, with or without a ! before it")
    return text.lower()


def _mask_exception(text: str) -> str:
    if not is_local_part(text):
        raise BadValue(f"{text!r} is no name that can stand before an @")
    return text.lower()


def mask_domains() -> ValueType[tuple[str, ...]]:
    """Domains below which host parts are stripped, and with ``!`` those where they are not."""
    return values.items(_mask_domain, name="domains", bounds="domains, each with a ! before it or not")


def mask_exceptions() -> ValueType[tuple[str, ...]]:
    """Names that keep their host part."""
    return values.items(_mask_exception, name="names", bounds="names without a domain")
