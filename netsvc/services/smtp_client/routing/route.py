"""Decides where one message goes: the table, the DNS and the policies together. Never raises."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from netsvc.services.smtp_client.routing.answers import Decision, Resolve
from netsvc.services.smtp_client.routing.mx import Random, exchangers
from netsvc.services.smtp_client.routing.ourselves import Ourselves
from netsvc.services.smtp_client.routing.places import Place, Smarthost, ToMaildir, ToMX, ToSmarthosts
from netsvc.services.smtp_client.routing.policy import Avoid, Policies
from netsvc.services.smtp_client.routing.settings import Login
from netsvc.services.smtp_client.routing.table import Table, normal
from netsvc.services.smtp_client.terms import Relay, TLSWish

log = Logger()


@frozen
class Hops:
    """Servers to try in order: the next when one cannot be reached or takes no mail at all.

    :param source: which option says so, in words.
    """

    relays: tuple[Relay, ...]
    source: str


@frozen
class Local:
    """A Maildir on this machine."""

    maildir: ToMaildir
    source: str


@frozen(kw_only=True)
class Rules:
    """What the configuration says about routing.

    :param routes: by destination and sender.
    :param default: where everything else goes.
    :param smarthost: what all smarthosts have in common: tls, trust_roots, auth_without_tls, and the login of those
        that name none.
    :param logins: by name.
    """

    routes: Table[Place]
    default: Place
    smarthost: Relay
    logins: Mapping[str, Login] = field(factory=dict)


@frozen
class Router:
    """Decides where messages go.

    :param policies: TLS of hops, and the port of mail hosts.
    :param random: 0.0 <= random() < 1.0.
    """

    rules: Rules
    resolver: Resolve
    policies: Policies
    ourselves: Ourselves
    random: Random

    def destination(self, domain: str, sender: str) -> str:
        """The word for where a message goes, without a look-up: its domain where mail hosts are asked, else the place.

        What has one word from one sender has one route, and is sent in one transaction.
        """
        line = self.rules.routes.find(domain, sender)
        place = line.value if line else self.rules.default
        return normal(domain) if isinstance(place, ToMX) else str(place)

    def rule(self, domain: str, sender: str) -> tuple[Place, str]:
        """What the configuration says of mail to a domain, and which option says so, in words. Looks nothing up."""
        line = self.rules.routes.find(domain, sender)
        if line is None:
            return self.rules.default, "relay"
        return line.value, f"routes, line {line.number} ({line.pattern})"

    async def route(self, destination: str, sender: str, wish: TLSWish = TLSWish()) -> Hops | Local | Decision:  # noqa: B008
        """Where mail to a domain goes.

        :param destination: what stands behind the @ of the recipient.
        :param sender: the reverse-path; empty for bounces.
        :param wish: what the message asks of TLS.
        """
        if not sender:
            wish = evolve(wish, required=False)  # RFC 8689 5: no reason to throw a bounce away
        try:
            return await self._route(destination, sender, wish)
        except CancelledError:
            return Decision.later("4.3.2", "the look-up of the route was stopped here")
        except Exception:  # noqa: BLE001 - a fault of ours delays mail, it does not lose it
            log.failure("a route could not be found", event="smtp-route-fault")
            return Decision.later("4.3.0", "an internal error while the route was looked up")

    async def _route(self, destination: str, sender: str, wish: TLSWish) -> Hops | Local | Decision:
        place, source = self.rule(destination, sender)
        match place:
            case ToMaildir():
                return Local(place, source)
            case ToSmarthosts(hosts):
                return await self._smarthosts(hosts, source, wish)
            case _:
                return await self._mail_hosts(destination, source, wish)

    async def _mail_hosts(self, destination: str, source: str, wish: TLSWish) -> Hops | Decision:
        found = await exchangers(destination, self.resolver, self.ourselves, self.random)
        if isinstance(found, Decision):
            return found
        relays = await self.policies.mail_hosts(found, wish)
        return relays if isinstance(relays, Decision) else Hops(relays, f"{source}: mx")

    async def _smarthosts(self, hosts: tuple[Smarthost, ...], source: str, wish: TLSWish) -> Hops | Decision:
        relays: list[Relay] = []
        avoided: list[str] = []
        for host in hosts:
            must = await self.policies.smarthost(host.host, host.port, self.rules.smarthost.tls)
            if isinstance(must, Avoid):
                avoided.append(must.reason)
                continue
            tls, words = must.tls, must.source
            if host.implicit and tls in ("none", "may"):
                tls, words = "require", f"{words}; smtps: is TLS in any case"
            if wish.required and tls != "verify":
                tls, words = "verify", f"{words}; the message says REQUIRETLS"
            relay = evolve(
                self.rules.smarthost,
                host=host.host,
                port=host.port,
                implicit=host.implicit,
                tls=tls,
                tls_source=words,
                tlsa=must.tlsa,
                names=must.names,
            )
            if host.login is not None:
                login = self.rules.logins[host.login]
                relay = evolve(
                    relay,
                    username=login.username,
                    password=login.password,
                    login_source=f"credentials, {login.name}",
                )
            relays.append(relay)
        return Hops(tuple(relays), source) if relays else Decision.later("4.7.5", "; ".join(avoided))
