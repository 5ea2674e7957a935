"""Finds the hosts that take mail for a domain, best first: RFC 5321 5.1, RFC 7505. No Twisted; chance is a parameter.

- The hosts go by preference, equal ones in an order that chance gives; the addresses of each as the resolver has them.
- No MX: the domain itself is its host (implicit MX). A name that does not exist takes no mail, ever. What cannot be
  looked up now is tried later.
- One MX whose host is the root says that the domain takes no mail (null MX).
- Where this machine is among the hosts, it and those of equal or worse preference are left out; with none better left,
  mail would loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from itertools import groupby
from typing import TypeVar

from attrs import frozen

from netsvc.services.smtp_client.domains import a_labels
from netsvc.services.smtp_client.routing.answers import MX, Decision, Resolve
from netsvc.services.smtp_client.routing.ourselves import Ourselves, plain
from netsvc.services.smtp_client.routing.places import HOST_NAME

T = TypeVar("T")

MAX_HOSTS = 16  # looked up for one message, ours; the largest providers have about 5
MAX_ADDRESSES = 8  # that are tried for one message, ours; RFC 5321 5.1 asks for at least 2, Postfix tries 5
MAX_OF_HOST = 4  # of them one host's, ours: a host with many addresses leaves room for the next

Random = Callable[[], float]  # 0.0 <= random() < 1.0


@frozen
class Exchanger:
    """A host that takes mail.

    :param host: the name that the MX record bears, A-labels in small letters; for a literal, the address.
    :param addresses: at least one, in the order to try.
    :param name: the host's name after aliases.
    :param secure: its addresses were validated with DNSSEC.
    """

    host: str
    addresses: tuple[str, ...]
    name: str = ""
    secure: bool = False


@frozen
class Exchangers:
    """All that are worth trying for a domain, best first.

    :param domain: in A-labels; for an address literal, as it stands in brackets.
    :param how: ``mx``, ``implicit``, or ``literal``.
    :param secure: the list of hosts, or that there is none, was validated with DNSSEC.
    """

    domain: str
    hosts: tuple[Exchanger, ...]
    how: str
    secure: bool = False


def shuffled(items: Sequence[T], random: Random) -> list[T]:
    """The items in an order that chance gives, each as probable (Fisher and Yates)."""
    found = list(items)
    for last in range(len(found) - 1, 0, -1):
        other = int(random() * (last + 1))
        found[last], found[other] = found[other], found[last]
    return found


def in_order(records: Sequence[MX], random: Random) -> list[MX]:
    """By preference, equal ones shuffled (RFC 5321 5.1)."""
    return sorted(shuffled(records, random), key=lambda one: one.preference)


async def exchangers(domain: str, resolver: Resolve, ourselves: Ourselves, random: Random) -> Exchangers | Decision:
    """Where mail for a domain goes, or why it goes nowhere.

    :param domain: what stands behind the @: a name, perhaps with U-labels, or an address literal in brackets.
    """
    if domain.startswith("["):
        return _literal(domain, ourselves)
    try:
        name = a_labels(domain).lower().rstrip(".")
    except ValueError:
        name = ""
    if not HOST_NAME.fullmatch(name) or len(name) > 253:  # RFC 1035 2.3.4
        return Decision.never("5.1.2", f"{domain} is not a domain name")
    answer = await resolver.mx(name)
    match answer.status:
        case "no-name":
            return Decision.never("5.1.2", f"the domain {name} does not exist")
        case "failed":
            return Decision.later("4.4.3", f"the mail hosts of {name} cannot be looked up: {answer.reason}")
        case "nothing":
            # RFC 5321 5.1: an alias is followed, and what it ends in is treated as if it had been asked for.
            records, how = [MX(0, answer.name or name)], "implicit"
        case _:
            if all(not one.host for one in answer.records):
                # RFC 7505 4.1 and 5: 556 and 5.1.10
                return Decision.never("5.1.10", f"the domain {name} takes no mail (null MX)", code=556)
            records, how = [one for one in answer.records if HOST_NAME.fullmatch(one.host)], "mx"
    return await _Search(name, how, answer.secure, resolver, ourselves).run(in_order(records, random))


def _literal(domain: str, ourselves: Ourselves) -> Exchangers | Decision:
    """RFC 5321 4.1.3: the address is the host; no look-up, no MX."""
    inner = domain[1:-1] if domain.endswith("]") else ""
    try:
        kind = IPv6Address if inner[:5].lower() == "ipv6:" else IPv4Address
        address = plain(str(kind(inner[5:] if kind is IPv6Address else inner)))
    except AddressValueError:
        return Decision.never("5.1.2", f"{domain} is no address literal that is known here")
    if ourselves.are("", (address,)):
        return Decision.never("5.4.6", f"mail for {domain} loops: the address is this machine's")
    return Exchangers(domain, (Exchanger(address, (address,)),), "literal")


class _Search:
    """Looks the hosts up, best first, until enough addresses are known."""

    def __init__(self, domain: str, how: str, secure: bool, resolver: Resolve, ourselves: Ourselves) -> None:
        self._domain = domain
        self._how = how
        self._secure = secure
        self._resolver = resolver
        self._ourselves = ourselves
        self._found: list[Exchanger] = []
        self._failed = ""

    async def run(self, records: Sequence[MX]) -> Exchangers | Decision:
        looped = False
        for _, equals in groupby(records[:MAX_HOSTS], key=lambda one: one.preference):
            hosts = await self._look_up(list(equals))
            if hosts is None:
                looped = True
                break
            self._found += hosts
            if sum(len(one.addresses) for one in self._found) >= MAX_ADDRESSES:
                break
        if self._found:
            return Exchangers(self._domain, self._cut(), self._how, self._secure)
        if self._failed:
            return Decision.later("4.4.3", f"no mail host of {self._domain} can be looked up now: {self._failed}")
        if looped:
            return Decision.never("5.4.6", f"mail for {self._domain} loops: its best mail host is this machine")
        if self._how == "implicit":
            return Decision.never("5.1.2", f"the domain {self._domain} has neither mail hosts nor addresses")
        return Decision.never("5.4.4", f"no mail host of {self._domain} has an address")

    async def _look_up(self, equals: Sequence[MX]) -> list[Exchanger] | None:
        """The usable hosts among those of one preference; None where this machine is one of them."""
        hosts = []
        here = any(self._ourselves.are(one.host, ()) for one in equals)
        for record in equals if not here else ():
            answer = await self._resolver.addresses(record.host)
            if answer.status == "failed":
                self._failed = self._failed or f"{record.host}: {answer.reason}"
            elif answer.status == "found":
                addresses = tuple(dict.fromkeys(map(plain, answer.records)))
                here = here or self._ourselves.are(answer.name, addresses)
                hosts.append(Exchanger(record.host, addresses[:MAX_OF_HOST], answer.name or record.host, answer.secure))
        return None if here else hosts

    def _cut(self) -> tuple[Exchanger, ...]:
        """The first hosts, together with no more than MAX_ADDRESSES."""
        left, cut = MAX_ADDRESSES, []
        for one in self._found:
            if left <= 0:
                break
            cut.append(Exchanger(one.host, one.addresses[:left], one.name, one.secure))
            left -= len(one.addresses)
        return tuple(cut)
