"""The one place that decides what answers a request: a file, a directory's list, a script, or a refusal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from netsvc.services.http.listing import listing_page, read_directory
from netsvc.services.http.pages import PAGE_HEADERS, page
from netsvc.services.http.paths import Directory, File, Policy, Redirect, Refused, Script, join, resolve, split
from netsvc.services.http.static import StaticFiles

log = Logger()

ALLOWED = b"GET, HEAD, OPTIONS"  # for files and lists; scripts decide for themselves


@frozen
class Site:
    """What is served where.

    :param docroot: absolute.
    :param policy: what of it may be served.
    :param listing: whether directories without an index are listed.
    """

    docroot: Path
    policy: Policy
    listing: bool


class Routes:
    """Answers exchanges.

    :param site: what is served.
    :param static: sends files.
    :param run_script: called with (exchange, script); None when no scripts are run.
    """

    def __init__(
        self, site: Site, static: StaticFiles, run_script: Callable[[Any, Script], object] | None = None
    ) -> None:
        self._site = site
        self._static = static
        self.run_script = run_script

    def route(self, exchange: Any) -> None:
        """Answer an exchange."""
        head = exchange.head
        if head.method == "CONNECT":  # this is no proxy
            exchange.refuse(405, headers=((b"Allow", ALLOWED),))
            return
        if head.method == "OPTIONS" and head.path == b"*":
            exchange.answer(204, ((b"Allow", ALLOWED),), b"")
            return
        found = resolve(self._site.docroot, head.path, self._site.policy)
        if isinstance(found, Script):
            if self.run_script is None:
                exchange.refuse(403)
            elif head.method == "TRACE":  # it would show a script's peer what proxies added (RFC 9110 9.3.8)
                exchange.refuse(405, headers=((b"Allow", b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),))
            else:
                self.run_script(exchange, found)
            return
        if isinstance(found, Refused):
            if found.status >= 500:
                log.error(
                    "{path}: {reason}",
                    event="http-path-failed",
                    path=head.path.decode("latin-1"),
                    reason=found.reason,
                    request_id=exchange.request_id,
                )
            exchange.refuse(found.status)
            return
        if head.method not in ("GET", "HEAD"):
            if isinstance(found, File | Directory):
                os.close(found.descriptor)
            if head.method == "OPTIONS":
                exchange.answer(204, ((b"Allow", ALLOWED),), b"")
            else:
                exchange.refuse(405, headers=((b"Allow", ALLOWED),))
        elif isinstance(found, File):
            self._static.answer(exchange, found, self._key(exchange))
        elif isinstance(found, Redirect):
            self._redirect(exchange, found)
        else:
            self._list(exchange, found)

    def _key(self, exchange: Any) -> bytes | None:
        """The raw path when it is spelled the one canonical way, so that nobody fills the memory with spellings."""
        raw: bytes = exchange.head.path
        found = split(raw)
        if isinstance(found, Refused) or join(found[0], directory=found[1]) != raw:
            return None
        return raw

    def _redirect(self, exchange: Any, found: Redirect) -> None:
        location = found.location
        if exchange.head.query:
            location += b"?" + exchange.head.query
        body = page("301 Moved Permanently", "<h1>Moved</h1>\n<p>The address of a directory ends with a slash.</p>")
        exchange.answer(301, (*PAGE_HEADERS, (b"Location", location)), body)

    def _list(self, exchange: Any, found: Directory) -> None:
        try:
            if not self._site.listing:
                exchange.refuse(403)
                return
            entries, more = read_directory(found.descriptor, self._site.policy)
        finally:
            os.close(found.descriptor)
        body = listing_page(found.segments, entries, more, exchange.head.query)
        exchange.answer(200, (*PAGE_HEADERS, (b"Cache-Control", b"no-cache")), body)
