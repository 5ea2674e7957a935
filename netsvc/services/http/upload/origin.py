"""Tells whether a browser sends a request for the page of another site, which must change nothing here. No I/O.

A browser adds the credentials that a person once gave (Basic, a certificate, or just the address that is let in) to
whatever any page has it send. Programs send neither field, and are nobody's page.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from netsvc.services.http.exchange import RequestHead
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
