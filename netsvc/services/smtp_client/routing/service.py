"""Puts a router together for one section."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from ipaddress import ip_address

from netsvc.interfaces import IRuntime
from netsvc.services.smtp_client.routing.mta_sts import Policy
from netsvc.services.smtp_client.routing.ourselves import Ourselves
from netsvc.services.smtp_client.routing.places import Place
from netsvc.services.smtp_client.routing.policy import Policies
from netsvc.services.smtp_client.routing.resolver import Resolver
from netsvc.services.smtp_client.routing.route import Router, Rules
from netsvc.services.smtp_client.routing.servers import SystemServers, named
from netsvc.services.smtp_client.routing.settings import RoutingSettings
from netsvc.services.smtp_client.routing.sts_fetch import Fetcher
from netsvc.services.smtp_client.routing.sts_policies import StsPolicies
from netsvc.services.smtp_client.terms import Relay


def make_router(
    settings: RoutingSettings, runtime: IRuntime, *, default: Place, smarthost: Relay, names: Iterable[str]
) -> Router:
    """What decides where the messages of a section go. Nothing is looked up or read before the first.

    :param default: where goes what no line of ``routes`` is for.
    :param smarthost: see :class:`.route.Rules`.
    :param names: what this machine calls itself.
    """
    chance = random.SystemRandom().random
    given = named(settings.dns_servers, settings.dns_trust_ad)
    resolver = Resolver(
        runtime.reactor, (lambda: given) if given else SystemServers(), random=chance, timeout=settings.dns_timeout
    )
    policies = StsPolicies(
        resolver,
        Fetcher(runtime.reactor, resolver, trust_roots=smarthost.trust_roots),
        path=runtime.state_directory / f"{runtime.name.replace(':', '-')}.mta-sts.json",
        now=time.time,
        seconds=runtime.reactor.seconds,
        in_thread=runtime.in_thread,
    )
    own = [*settings.own_names, *names]
    addresses = [one for one in own if _is_address(one)]
    return Router(
        rules=Rules(
            routes=settings.routes,
            default=default,
            smarthost=smarthost,
            logins={one.name: one for one in settings.credentials},
        ),
        resolver=resolver,
        policies=Policies(
            table=settings.tls_policies,
            resolver=resolver,
            sts=policies.policy if settings.mta_sts else _no_policy,
            trust_roots=smarthost.trust_roots,
            port=settings.mx_port,
        ),
        ourselves=Ourselves([one for one in own if one not in addresses], addresses, look=settings.own_addresses),
        random=chance,
    )


async def _no_policy(_: str) -> Policy | None:
    return None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
