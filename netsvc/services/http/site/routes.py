"""Goes the way of a request: site, place, TLS, credentials, redirects, then what stands there.

What a URL means is decided in :mod:`.sites`; here it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from netsvc.services.http.listing.lists import Listings
from netsvc.services.http.pages import PAGE_HEADERS, page
from netsvc.services.http.site.paths import Decision, Directory, File, Redirect, Refused, Script, close, join
from netsvc.services.http.site.sites import Found, Moved, Place, Request, Sites, elsewhere, to_https
from netsvc.services.http.site.style import AnswerStyle
from netsvc.services.http.static.files import StaticFiles
from netsvc.services.http.upload.uploads import Uploads

log = Logger()

ALLOWED = b"GET, HEAD, OPTIONS"  # for files and lists; scripts decide for themselves
ALLOWED_SCRIPT = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"


@frozen(kw_only=True)
class Equipment:
    """What answers at a place.

    :param style: what every answer there has.
    :param static: sends files.
    :param listings: lists directories.
    :param run_script: called with (exchange, script); None where no scripts are run.
    :param authenticator: admits an exchange or refuses it; None where everybody may come.
    :param mounted: a mounted Twisted resource, if there is one.
    :param uploads: takes files; None where none are taken.
    """

    style: AnswerStyle
    static: StaticFiles
    listings: Listings
    run_script: Callable[[Any, Script], object] | None = None
    authenticator: Any = None
    mounted: Any = None
    uploads: Uploads | None = None


class Routes:
    """Answers exchanges.

    :param sites: what URLs mean.
    :param equipment: what answers, for each place.
    """

    def __init__(self, sites: Sites, equipment: Callable[[Place], Equipment]) -> None:
        self._sites = sites
        self._equipment = {place: equipment(place) for place in sites.places}

    def route(self, exchange: Any) -> None:
        """Answer an exchange."""
        head = exchange.head
        if head.method == "CONNECT" or (head.method, head.path) == ("OPTIONS", b"*"):  # about nothing of the site
            exchange.style = self._equipment[self._sites.root(head.host)].style
            if head.method == "OPTIONS":
                exchange.answer(204, ((b"Allow", ALLOWED),), b"")
            else:  # this is no proxy
                exchange.refuse(405, headers=((b"Allow", ALLOWED),))
            return
        found = self._sites.find(head.host, head.path)
        if isinstance(found, tuple):
            place, refused = found
            exchange.style = self._equipment[place].style
            exchange.refuse(refused.status)
            return
        equipment = self._equipment[found.place]
        exchange.style = equipment.style
        moved = to_https(
            found,
            Request(
                host=head.host or _bracketed(exchange.local[0]),
                path=head.path,
                query=head.query,
                secure=exchange.secure,
                method=head.method,
            ),
        )
        if isinstance(moved, Refused):
            exchange.refuse(moved.status)
        elif moved is not None:
            self._moved(exchange, moved)
        elif equipment.authenticator is not None:
            equipment.authenticator.admit(exchange, lambda: self._enter(exchange, found))
        else:
            self._enter(exchange, found)

    def _enter(self, exchange: Any, found: Found) -> None:
        """Answer whoever may come in."""
        other = elsewhere(found, exchange.head.query)
        if isinstance(other, Moved):
            self._moved(exchange, other)
            return
        if other is not None:
            at = len(other.at)
            mounted = self._equipment[found.place].mounted
            mounted.answer(exchange, found.names[:at], found.names[at:], found.directory)
            return
        uploads = self._equipment[found.place].uploads
        if uploads is not None and uploads.answer(exchange, found, found.place):
            return
        place, decision = self._sites.look(found, exchange.user)
        exchange.style = self._equipment[place].style
        instead = self._sites.instead(found, decision, exchange.head.method, exchange.user)
        if self._sites.takes_nothing(found, decision, exchange.head.method):
            exchange.refuse(405, headers=((b"Allow", ALLOWED),))
            return
        self._answer(exchange, found, *(instead or (place, decision)))

    def _answer(self, exchange: Any, found: Found, place: Place, decision: Decision) -> None:
        method = exchange.head.method
        equipment = self._equipment[place]
        if isinstance(decision, Script):
            if equipment.run_script is None:
                exchange.refuse(403)
            elif method == "TRACE":  # it would show a script's peer what proxies added (RFC 9110 9.3.8)
                exchange.refuse(405, headers=((b"Allow", ALLOWED_SCRIPT),))
            else:
                equipment.run_script(exchange, decision)
            return
        if isinstance(decision, Refused):
            if decision.status >= 500:
                log.error(
                    "{path}: {reason}",
                    event="http-path-failed",
                    path=exchange.head.path.decode("latin-1"),
                    reason=decision.reason,
                    request_id=exchange.request_id,
                )
            exchange.refuse(decision.status)
            return
        if method not in ("GET", "HEAD"):
            close(decision)
            if method == "OPTIONS":
                exchange.answer(204, ((b"Allow", ALLOWED),), b"")
            else:
                exchange.refuse(405, headers=((b"Allow", ALLOWED),))
        elif isinstance(decision, File):
            if equipment.uploads is not None:
                decision = equipment.uploads.digested(place, exchange.user, decision)
            equipment.static.answer(exchange, decision, keep=self._may_keep(exchange, found, place))
        elif isinstance(decision, Redirect):
            self._redirect(exchange, decision.location)
        else:
            self._list(exchange, place, decision)

    def _may_keep(self, exchange: Any, found: Found, place: Place) -> bool:
        """Whether others may be given this answer from memory.

        Only under the one canonical spelling of its path, so that nobody fills the memory with spellings.
        """
        personal = self._equipment[place].authenticator is not None or place.fixed_root != place.docroot
        return not personal and join(found.names, directory=found.directory) == exchange.head.path

    def _moved(self, exchange: Any, moved: Moved) -> None:
        body = page(
            f"{moved.status} Moved", "<h1>Moved</h1>\n<p>What you asked for has another address. Browsers go there.</p>"
        )
        exchange.answer(moved.status, (*PAGE_HEADERS, (b"Location", moved.location)), body)

    def _redirect(self, exchange: Any, location: bytes) -> None:
        if exchange.head.query:
            location += b"?" + exchange.head.query
        body = page("301 Moved Permanently", "<h1>Moved</h1>\n<p>The address of a directory ends with a slash.</p>")
        exchange.answer(301, (*PAGE_HEADERS, (b"Location", location)), body)

    def _list(self, exchange: Any, place: Place, found: Directory) -> None:
        if place.settings.listing:
            self._equipment[place].listings.answer(exchange, found)
        else:
            found.close()
            exchange.refuse(403)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
