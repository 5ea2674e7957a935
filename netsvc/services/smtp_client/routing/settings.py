"""Options of routing: tables, credentials, the DNS, and what this machine is called. No Twisted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.config.secrets import Secret, secret
from netsvc.errors import BadValue, together
from netsvc.services.smtp_client.routing.places import LOGIN, SMTP_PORT, Place, ToSmarthosts, host_name
from netsvc.services.smtp_client.routing.servers import Server, dns_servers
from netsvc.services.smtp_client.routing.table import Table, routes, tls_policies


@frozen
class Login:
    """Credentials that smarthosts name with ``login=``."""

    name: str
    username: str
    password: Secret

    def __str__(self) -> str:
        return f"{self.name} {self.username} {self.password.reference}"


def logins() -> ValueType[tuple[Login, ...]]:
    """Lines of ``NAME USERNAME SECRET``, the last as in :func:`netsvc.config.secrets.secret`."""

    def parse(text: str, context: Context) -> tuple[Login, ...]:
        found: dict[str, Login] = {}
        wrong: list[BadValue] = []
        for match in re.finditer(r"[^\n]*\S[^\n]*", text):
            words = re.fullmatch(r"\s*(\S+)\s+(\S+)\s+(\S.*?)\s*", match[0])
            at = match.start() + len(match[0]) - len(match[0].lstrip())
            if words is None:  # the line is not repeated here: a password may stand in it
                wrong.append(BadValue("a login is NAME USERNAME SECRET", at=at))
                continue
            try:
                if not LOGIN.fullmatch(words[1]) or words[1] in found:
                    problem = "a second time" if words[1] in found else "no name of letters, digits, '.', '_' and '-'"
                    raise BadValue(f"{words[1]!r} is here {problem}", at=words.start(1))
                try:
                    password = secret().parse(words[3], context)
                except BadValue as bad:
                    raise BadValue(bad.message, at=words.start(3) + bad.at, suggestion=bad.suggestion) from None
                found[words[1]] = Login(words[1], words[2], password)  # type: ignore[arg-type]  # it gives one or raises
            except BadValue as bad:
                wrong.append(BadValue(bad.message, at=match.start() + bad.at, suggestion=bad.suggestion))
        if wrong:
            raise together(wrong)
        return tuple(found.values())

    return ValueType(
        name="logins",
        bounds="lines of NAME USERNAME SECRET",
        parse=parse,
        show=lambda value: "\n".join(map(str, value)),
        multiline=True,
    )


def _own(word: str) -> str:
    try:
        return host_name(word)
    except ValueError:
        raise BadValue(f"{word!r} is neither a host name nor an address") from None


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class RoutingSettings:
    """Where mail goes that does not go the way of everything else, and how hosts are looked up."""

    routes: Table[Place] = option(
        routes(),
        default=Table(),
        help="Lines of a recipient's domain (.domain: below it; *), or from:SENDER, and a place; the first counts.",
    )
    credentials: tuple[Login, ...] = option(
        logins(), default=(), help="Lines of NAME USERNAME SECRET, for smarthosts with login=NAME."
    )
    tls_policies: Table[str] = option(
        tls_policies(),
        default=Table(),
        help="Lines of a smarthost or a recipient's domain, and the TLS it must have; else tls, DANE, MTA-STS decide.",
    )
    mta_sts: bool = option(
        values.boolean(), default=True, help="Heed what domains publish about their mail hosts' TLS (RFC 8461)."
    )
    dns_servers: tuple[Server, ...] = option(
        dns_servers(), default=(), help="Who looks mail hosts up, three at most; without it, as /etc/resolv.conf says."
    )
    dns_trust_ad: str = option(
        values.choice("loopback", "yes", "no"),
        default="loopback",
        help="Whose word is taken that DNSSEC holds: those of dns_servers on this machine, all of them, or nobody's.",
    )
    dns_timeout: float = option(
        values.duration(0.1, 60), default=5.0, help="Time that one DNS server has for one answer; each is asked twice."
    )
    own_names: tuple[str, ...] = option(
        values.items(_own, name="hosts", bounds="names and addresses"),
        default=(),
        help="What else this machine is in MX records: names, and addresses before a NAT. Mail there would loop.",
    )
    own_addresses: bool = option(
        values.boolean(), default=True, help="A mail host with an address that this machine has is this machine."
    )
    mx_port: int = option(values.integer(1, 65535), default=SMTP_PORT, help="The port of mail hosts found by MX.")


def routing_faults(settings: RoutingSettings, relay: Iterable[Place] = ()) -> Iterator[tuple[str, str]]:
    """What cannot stand together: (key, message) each.

    :param relay: where everything else goes.
    """
    known = {one.name for one in settings.credentials}
    for key, places in (("routes", [line.value for line in settings.routes.lines]), ("relay", list(relay))):
        for place in places:
            for host in place.hosts if isinstance(place, ToSmarthosts) else ():
                if host.login is not None and host.login not in known:
                    yield key, f"credentials has no login {host.login!r}"
