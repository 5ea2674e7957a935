"""A place that takes files, over the connections of http_rig; threads run at once, or when they are let."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred

from netsvc.services.http.listing.lists import Listings
from netsvc.services.http.site.routes import Equipment, Routes
from netsvc.services.http.site.sites import Place, Sites
from netsvc.services.http.site.style import PLAIN
from netsvc.services.http.static.files import StaticFiles
from netsvc.services.http.upload.offers import file_fields
from netsvc.services.http.upload.stores import Stores
from netsvc.services.http.upload.uploads import Uploads
from tests.services.http.http_rig import Answer, Peer, Rig


class Threads:
    """Runs blocking work at once or, while `held`, when it is let go."""

    def __init__(self) -> None:
        self.held = False
        self._waiting: list[Callable[[], object]] = []

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self.held:
            return maybeDeferred(function, *args, **kwargs)
        done: Deferred[Any] = Deferred()
        self._waiting.append(lambda: maybeDeferred(function, *args, **kwargs).chainDeferred(done))
        return done

    def let_last_go(self) -> None:
        """What was asked for last is done while all else still waits: threads keep no order."""
        self._waiting.pop()()

    def let_go(self) -> None:
        """All that waits, and what follows from it."""
        self.held = False
        while self._waiting:
            self._waiting.pop(0)()


class UploadRig(Rig):
    """A service over a directory that takes files. Who a request says to be in X-User is taken to have signed in.

    :ivar host: the address of whoever connects from now on.

    :param run_script: as of Equipment.
    :param options: of the section; all that can be allowed is, unless they say otherwise.
    """

    def __init__(self, root: Path | str, run_script: Any = None, **options: Any) -> None:
        chosen = {
            "upload": True,
            "upload_delete": True,
            "upload_directories": True,
            "names": ("example.com",),
            **options,
        }
        super().__init__(root, route=self._route, **chosen)
        self.host = "192.0.2.1"
        self.threads = Threads()
        self._run_script = run_script
        self.stores = Stores()
        self.uploads = Uploads(self.stores, self.threads, self.clock, self.settings.max_body)
        self.sites = Sites(self.settings)
        self.upload_routes = Routes(self.sites, self._equipment)

    def connect(self) -> Peer:
        """As Rig."""
        peer = super().connect()
        peer.transport.peerAddr = (IPv6Address if ":" in self.host else IPv4Address)("TCP", self.host, 40000)
        return peer

    def _equipment(self, place: Place) -> Equipment:
        return Equipment(
            style=PLAIN,
            static=StaticFiles(
                place.settings, self.ready, self.clock, self.clock.seconds, fields=file_fields(place.settings)
            ),
            listings=Listings(
                place.policy,
                place.settings,
                maybeDeferred,
                self.clock,
                offers=lambda exchange: self.uploads.offers(place, exchange.user),
                kept_digest=lambda *which: self.uploads.kept_digest(place, *which),
            ),
            run_script=self._run_script,
            uploads=self.uploads if place.settings.upload else None,
        )

    def _route(self, exchange: Any) -> None:
        exchange.user = (exchange.head.first(b"x-user") or b"").decode("latin-1")
        self.upload_routes.route(exchange)

    def send(self, method: str, path: str, body: bytes = b"", *fields: str) -> Answer:
        """The answer to one request with a body."""
        head = "\r\n".join(
            [f"{method} {path} HTTP/1.1", "Host: example.com", f"Content-Length: {len(body)}", *fields, "", ""]
        )
        found = self.ask(head.encode("latin-1") + body, method)
        assert len(found) == 1, found
        return found[0]

    def put(self, path: str, body: bytes, *fields: str) -> Answer:
        """The answer to a PUT."""
        return self.send("PUT", path, body, *fields)


def left_over(root: Path) -> list[str]:
    """What the store has beneath a root beside its files: nothing, once no upload goes on."""
    return sorted(
        str(one.relative_to(root)) for one in root.rglob(".netsvc*") if one.is_file() and one.suffix == ".part"
    )
