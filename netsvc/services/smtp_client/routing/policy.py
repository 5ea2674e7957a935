"""Which TLS one hop must have, and who says so, in words. No Twisted.

For a smarthost: its line of ``tls_policies``, or else the section's ``tls``. For a mail host of a domain, in order:
the domain's line of ``tls_policies``; DANE (RFC 7672); MTA-STS (RFC 8461), which never softens what DANE says;
TLS where it is offered. ``dane`` in a line asks for TLSA records: without any that can be used, no mail goes there.

A message may ask for more or for less (RFC 8689). With REQUIRETLS each server must be verified, and its name known for
certain: by DNSSEC, by MTA-STS, or by a line. With ``TLS-Required: No`` what domains ask for does not count, lines do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import frozen

from netsvc.services.smtp_client.replies import clean
from netsvc.services.smtp_client.routing.answers import TLSA, Decision, Resolve
from netsvc.services.smtp_client.routing.dane import usable
from netsvc.services.smtp_client.routing.mta_sts import Policy
from netsvc.services.smtp_client.routing.mx import Exchanger, Exchangers
from netsvc.services.smtp_client.routing.table import Line, Table
from netsvc.services.smtp_client.terms import Relay, TLSPolicy, TLSWish


@frozen
class Requirement:
    """What TLS towards one host must be; the words and fields of :class:`Relay`."""

    tls: TLSPolicy
    source: str
    tlsa: tuple[TLSA, ...] = ()
    names: tuple[str, ...] = ()


DEFAULT = Requirement("may", "no policy: TLS where it is offered")
WAIVED = Requirement("may", "the message says TLS-Required: No: TLS where it is offered")


@frozen
class Avoid:
    """The host must not be used now, and why.

    :param ever: nor will it be for this message.
    """

    reason: str
    ever: bool = False


@frozen
class Policies:
    """Decides for hops.

    :param table: ``tls_policies``.
    :param sts: the MTA-STS policy of a domain.
    :param trust_roots: PEM file of the CAs to believe; None: those of this machine.
    :param port: of mail hosts; 25.
    """

    table: Table[str]
    resolver: Resolve
    sts: Callable[[str], Awaitable[Policy | None]]
    trust_roots: Path | None
    port: int

    async def smarthost(self, host: str, port: int, tls: TLSPolicy) -> Requirement | Avoid:
        """What a smarthost must have.

        :param tls: the section's own policy.
        """
        line = self.table.find(f"[{host}]" if ":" in host else host)
        if line is None:
            return Requirement(tls, "tls of the section")
        if line.value != "dane":
            return _by_line(line)
        answer = await self.resolver.addresses(host)
        if answer.status == "failed":
            return Avoid(f"the addresses of {host} cannot be looked up: {answer.reason}")
        found = Exchanger(host, answer.records, answer.name, secure=answer.secure)
        return _only_dane(await self._dane(found, port, ()), host, line)

    async def mail_hosts(self, to: Exchangers, wish: TLSWish) -> tuple[Relay, ...] | Decision:
        """One relay for each address of each host that may be used, in order; or why none may be."""
        line = self.table.find(to.domain)
        waived = line is None and not wish.required and wish.waived()
        relays: list[Relay] = []
        avoided: list[Avoid] = []
        for host in to.hosts:
            must = WAIVED if waived else await self._mail_host(to, host, line)
            if wish.required and isinstance(must, Requirement):
                must = _verified(must, to, host)
            if isinstance(must, Avoid):
                avoided.append(must)
            else:
                relays += self._relays(host, must)
        reasons = "; ".join(dict.fromkeys(one.reason for one in avoided))
        if not relays and all(one.ever for one in avoided):
            return Decision.never("5.7.10", reasons)  # RFC 8689 4.2.1
        return tuple(relays) or Decision.later("4.7.5", reasons)

    async def _mail_host(self, to: Exchangers, host: Exchanger, line: Line[str] | None) -> Requirement | Avoid:
        if line is not None and line.value != "dane":
            return _by_line(line)
        # RFC 7672 2.2.1: who can forge the list of hosts need not touch the records of the true ones.
        dane = await self._dane(host, self.port, (to.domain,)) if to.secure else None
        if line is not None:
            return _only_dane(dane, host.host, line)
        if isinstance(dane, Avoid) or (dane is not None and dane.tlsa) or to.how == "literal":
            return dane or DEFAULT
        sts = _by_sts(await self.sts(to.domain), to.domain, host.host)
        if isinstance(sts, Requirement) and sts.tls == "may":
            return dane or sts
        return sts or dane or DEFAULT

    def _relays(self, host: Exchanger, must: Requirement) -> list[Relay]:
        return [
            Relay(
                host=host.host,
                port=self.port,
                tls=must.tls,
                trust_roots=self.trust_roots,
                address=address,
                tlsa=must.tlsa,
                names=must.names,
                tls_source=clean(must.source),
            )
            for address in host.addresses
        ]

    async def _dane(self, host: Exchanger, port: int, names: tuple[str, ...]) -> Requirement | Avoid | None:
        """What TLSA records say; None when there are none, or its addresses are not secure (RFC 7672 2.2)."""
        if not host.secure:
            return None
        for base in dict.fromkeys((host.name or host.host, host.host)):
            answer = await self.resolver.tlsa(base, port)
            if answer.status == "failed":
                return Avoid(f"the TLSA records of {base} cannot be looked up: {answer.reason}")
            if answer.status != "found" or not answer.secure:
                continue
            records = usable(answer.records)
            if not records:
                return Requirement("require", f"DANE: no TLSA record of {base} can be used, so any certificate will do")
            return Requirement(
                "verify", f"DANE: TLSA records of {base}", records, tuple(dict.fromkeys((base, host.host, *names)))
            )
        return None


def _by_line(line: Line[str]) -> Requirement:
    return Requirement(line.value, f"tls_policies, line {line.number} ({line})")  # type: ignore[arg-type]  # not dane


def _only_dane(found: Requirement | Avoid | None, host: str, line: Line[str]) -> Requirement | Avoid:
    if isinstance(found, Avoid) or (found is not None and found.tlsa):
        return found
    return Avoid(
        f"{host} has no secure TLSA records that can be used, which tls_policies, line {line.number} ({line}) asks for"
    )


def _verified(must: Requirement, to: Exchangers, host: Exchanger) -> Requirement | Avoid:
    """What REQUIRETLS makes of it: RFC 8689 4.2.1."""
    if must.tls == "verify":
        return must
    if to.secure or to.how != "mx":  # without MX the name is the one that the sender wrote
        return Requirement("verify", f"{must.source}; the message says REQUIRETLS")
    reason = f"the message requires TLS, and neither DNSSEC nor MTA-STS vouches for {host.host} as mail host"
    return Avoid(f"{reason} of {to.domain}", ever=True)


def _by_sts(policy: Policy | None, domain: str, host: str) -> Requirement | Avoid | None:
    """What MTA-STS says of a host, RFC 8461 5."""
    if policy is None or policy.mode == "none":
        return None
    allowed = policy.allows(host)
    if policy.mode == "testing":
        beside = "" if allowed else ", which does not name this host"
        return Requirement("may", f"MTA-STS of {domain}, mode testing{beside}: TLS where it is offered")
    if not allowed:
        return Avoid(f"the MTA-STS policy of {domain} does not name its mail host {host}")
    return Requirement("verify", f"MTA-STS of {domain}, mode enforce")
