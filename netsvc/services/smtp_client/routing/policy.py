"""Which TLS one hop must have, and who says so, in words. No Twisted.

For a smarthost: its line of ``tls_policies``, or else the section's ``tls``. For a mail host of a domain, in order:
the domain's line of ``tls_policies``; DANE (RFC 7672); MTA-STS (RFC 8461), which never softens what DANE says;
TLS where it is offered. ``dane`` in a line asks for TLSA records: without any that can be used, no mail goes there.
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
from netsvc.services.smtp_client.terms import Relay, TLSPolicy


@frozen
class Requirement:
    """What TLS towards one host must be; the words and fields of :class:`Relay`."""

    tls: TLSPolicy
    source: str
    tlsa: tuple[TLSA, ...] = ()
    names: tuple[str, ...] = ()


DEFAULT = Requirement("may", "no policy: TLS where it is offered")


@frozen
class Avoid:
    """The host must not be used now, and why."""

    reason: str


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

    async def mail_hosts(self, to: Exchangers) -> tuple[Relay, ...] | Decision:
        """One relay for each address of each host that may be used, in order; or why none may be."""
        line = self.table.find(to.domain)
        relays: list[Relay] = []
        avoided: list[str] = []
        for host in to.hosts:
            must = await self._mail_host(to, host, line)
            if isinstance(must, Avoid):
                avoided.append(must.reason)
            else:
                relays += self._relays(host, must)
        return tuple(relays) or Decision.later("4.7.5", "; ".join(avoided))

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
