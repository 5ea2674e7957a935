"""A guide for tests: its DNS is in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from netsvc.config.options import Context
from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.aliases import Aliases
from netsvc.services.smtp_client.arrival import Arrival
from netsvc.services.smtp_client.guide import Guide
from netsvc.services.smtp_client.rewriting.rules import Rewriting
from netsvc.services.smtp_client.routing.places import place
from netsvc.services.smtp_client.routing.policy import Policies
from netsvc.services.smtp_client.routing.route import Router, Rules
from netsvc.services.smtp_client.routing.settings import Login
from netsvc.services.smtp_client.routing.table import Table, routes, tls_policies
from netsvc.services.smtp_client.terms import Relay
from tests.services.smtp_client.routing.names import NOBODY, Names

SECRET = "geheim"


async def _no_policy(_: str) -> None:
    """No domain has one."""


def make_guide(
    clock: Clock, names: Any = None, *, table: str = "", default: str = "maildir:m", policies: str = ""
) -> Guide:
    """A guide; root is jo@far.example and ed here.

    :param table: the option routes.
    :param default: the option relay.
    :param policies: the option tls_policies.
    """
    here = Context(Path("/"))
    names = names or Names()
    secret = Secret("literal", SECRET)
    smarthost = Relay(
        host="", port=25, tls="verify", username="own", password=secret, login_source="username", trust_roots=None
    )
    router = Router(
        rules=Rules(
            routes=routes().parse(table, here) if table else Table(),
            default=place(default),
            smarthost=smarthost,
            logins={"work": Login("work", "anna", secret)},
        ),
        resolver=names,
        policies=Policies(
            table=tls_policies().parse(policies, here), resolver=names, sts=_no_policy, trust_roots=None, port=25
        ),
        ourselves=NOBODY,
        random=lambda: 0.5,
    )
    aliases = Aliases((("root", ("jo@far.example", "ed")),))
    return Guide(router, Arrival(rewriting=Rewriting(origin="here.example"), aliases=aliases), clock)
