"""Tells whether a browser sends a request for the page of another site, which must change nothing here. No I/O.

A browser adds the credentials that a person once gave (Basic, a certificate, or just the address that is let in) to
whatever any page has it send. Programs send neither field, and are nobody's page.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.site.sites import host_of
from netsvc.services.http.upload.problems import RefusedError

_PORTS = {"http": 80, "https": 443}


def check_origin(head: RequestHead) -> None:
    """Let a request pass that may change something.

    Sec-Fetch-Site (Fetch Metadata, section 2.4) decides where a browser sends it: to https, and to its own machine.
    Elsewhere Origin (RFC 6454 7) does, by host and port: whether TLS ends here or before us cannot be known.

    :raises RefusedError: 403, it comes from another site.
    """
    sites = head.all(b"sec-fetch-site")
    origins = head.all(b"origin")
    if sites:
        own = all(site.strip().lower() in (b"same-origin", b"none") for site in sites)  # none: the person's own doing
    else:
        own = all(_is_own(origin, head.host) for origin in origins)
    if not own:
        raise RefusedError(403, "this was sent by a page of another site")


def check_host(head: RequestHead, names: Collection[str]) -> None:
    """Let a request pass to a place that asks for no password, if it names this machine as its page may.

    Who makes his name resolve to this machine's address, once his page is loaded, has a page of "this" site (DNS
    rebinding). So a browser must have been told an address, localhost, or a name that the configuration knows.

    :param names: those of the site; ``*.example.org`` too.
    :raises RefusedError: 403, the name is nobody's here.
    """
    if not (head.all(b"sec-fetch-site") or head.all(b"origin")):
        return  # a program
    host = host_of(head.host)
    if host == "localhost" or host.endswith(".localhost") or _is_address(host):
        return
    if not host or not any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in names):
        raise RefusedError(403, f"{host} is no name of this site: its configuration may say so (names)")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_own(origin: bytes, host: str) -> bool:
    try:
        asked = urlsplit(origin.decode("ascii"))
        default = _PORTS.get(asked.scheme)
        if default is None or not asked.hostname:  # "null" too: a page that has no origin, or hides it
            return False
        ours = urlsplit(f"//{host}")
        return (asked.hostname, asked.port or default) == (ours.hostname, ours.port or default)
    except ValueError:
        return False
