"""Uploads: what is answered at places that take files, besides plain GET and HEAD."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from netsvc.filestore.access import Access
from netsvc.filestore.errors import BadNameError, StoreError, store_error
from netsvc.filestore.names import check_name, parse_path
from netsvc.filestore.store import FileStore
from netsvc.net.addresses import canonical, prefix
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.listing.offers import Offers
from netsvc.services.http.listing.page import drop_page
from netsvc.services.http.listing.panel import panel_headers
from netsvc.services.http.site.paths import File
from netsvc.services.http.site.sites import Found, Place
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.names import delete, make_directory
from netsvc.services.http.upload.offers import offers_of
from netsvc.services.http.upload.origin import check_host, check_origin
from netsvc.services.http.upload.problems import RefusedError, refuse
from netsvc.services.http.upload.protocols import PROTOCOLS
from netsvc.services.http.upload.put import put
from netsvc.services.http.upload.settings import access_of
from netsvc.services.http.upload.stores import Stores, terms_of

READS = ("GET", "HEAD")


def names_of(place: Place, names: tuple[bytes, ...]) -> tuple[str, ...]:
    """The names of a path as the store has them: below the root of its place.

    :raises BadNameError: one is not UTF-8, or none that a file may have.
    :raises RefusedError: it leads into a CGI directory, where a file would be a program.
    """
    cgi = {name.lower() for name in place.policy.cgi}
    if any(name.lower() in cgi for name in (*names, place.docroot.name.encode("utf-8", "surrogateescape"))):
        raise RefusedError(403, "nothing may be stored in a CGI directory")
    try:
        return parse_path("/".join(name.decode("utf-8") for name in names[len(place.docroot_at) :]))
    except UnicodeDecodeError:
        raise BadNameError("the name has control characters, or is not UTF-8") from None


def _below(found: Found, place: Place, name: str) -> tuple[str, ...]:
    """As Door.below."""
    names = (*found.names, check_name(name).encode())
    if found.site.place(names) is not place:  # what holds there may be more: a password, no uploads
        raise RefusedError(403, "the name has options of its own")
    return names_of(place, names)


class Uploads:
    """Answers at the places of one service.

    :param stores: of the service.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param clock: IReactorTime.
    :param longest: octets that the body of a request may have.
    """

    def __init__(self, stores: Stores, in_thread: Callable[..., Deferred[Any]], clock: Any, longest: int) -> None:
        self._stores = stores
        self._in_thread = in_thread
        self._clock = clock
        self._longest = longest

    def answer(self, exchange: Any, found: Found, place: Place) -> bool:
        """Answer an exchange, now or later, if it is for this room. False: it is for a script, or a GET or HEAD."""
        head: RequestHead = exchange.head
        try:
            if head.method not in ("GET", "HEAD", "OPTIONS"):
                check_origin(head)
                if place.settings.auth_file is None:
                    check_host(head, (place.host, *place.settings.names))
            access = access_of(place.settings, exchange.user)
            store = self._store(place, exchange.user)
            protocol = next((one for one in PROTOCOLS if one.takes(head)), None)
            if protocol is None and head.method in READS:
                if access is Access.UPLOAD_ONLY:
                    self._drop_box(exchange, found, place)
                    return True
                return False
            if access is not Access.UPLOAD_ONLY and not place.policy.cgi.isdisjoint(found.names):
                return False  # what a script does with a method is its own
            door = Door(
                store=store,
                root=place.docroot_at,
                names=names_of(place, found.names),
                directory=found.directory,
                below=lambda name: _below(found, place, name),
                owner=exchange.user,
                source="" if exchange.user else prefix(canonical(exchange.peer[0])).hex(),
                access=access,
                settings=place.settings,
                longest=self._longest,
                in_thread=self._in_thread,
                clock=self._clock,
            )
        except (StoreError, RefusedError) as error:
            refuse(exchange, error)
            return True
        if protocol is not None:
            protocol.answer(exchange, door)
        else:
            self._enter(exchange, door)
        return True

    def offers(self, place: Place, user: str) -> Offers | None:
        """What somebody may change from the page that lists a directory."""
        return offers_of(place.settings, access_of(place.settings, user), self._longest)

    def _drop_box(self, exchange: Any, found: Found, place: Place) -> None:
        """The page of a directory for who may put files there and see none."""
        offers = self.offers(place, exchange.user)
        if offers is None or not (found.directory and place.settings.listing):
            raise RefusedError(403, "the account may only upload")
        exchange.answer(200, panel_headers(), drop_page(found.names, offers))

    def kept_digest(
        self, place: Place, user: str, names: tuple[bytes, ...], descriptor: int, found: os.stat_result
    ) -> bytes | None:
        """The SHA-256 that is kept of an open file. Blocks.

        :param names: its decoded URL path.
        """
        try:
            store = self._store(place, user)
            return store.commons.digests.kept(descriptor, names_of(place, names), found)
        except (StoreError, RefusedError):
            return None

    def digested(self, place: Place, user: str, file: File) -> File:
        """A file with the SHA-256 that the store keeps for it, if it does."""
        try:
            stored = self._store(place, user).open(names_of(place, file.names))
        except (StoreError, RefusedError):
            return file
        try:
            same = (stored.stat.st_dev, stored.stat.st_ino) == (file.stat.st_dev, file.stat.st_ino)
            return evolve(file, digest=stored.digest()) if same else file
        finally:
            stored.close()

    def _store(self, place: Place, user: str) -> FileStore:
        try:
            terms = terms_of(place.settings, access_of(place.settings, user))
            return self._stores.store(place.root_of(user), terms, make=place.fixed_root != place.docroot)
        except BadNameError:
            raise RefusedError(403, "nobody has signed in whose name a directory may have") from None
        except OSError as error:
            raise store_error(error) from error

    def _enter(self, exchange: Any, door: Door) -> None:
        method = exchange.head.method
        allow = b", ".join(one.encode("ascii") for one in self._allowed(door))
        if method == "PUT":
            put(exchange, door)
        elif method == "DELETE" and door.settings.upload_delete:
            delete(exchange, door)
        elif method == "MKCOL" and door.settings.upload_directories:
            make_directory(exchange, door, allow)
        elif method == "OPTIONS":
            offered: Headers = tuple(field for one in PROTOCOLS for field in one.offered(door))
            exchange.answer(204, ((b"Allow", allow), *offered), b"")
        else:
            refuse(exchange, RefusedError(405, "this cannot be done here", ((b"Allow", allow),)))

    def _allowed(self, door: Door) -> list[str]:
        """The methods that something comes of, for this account."""
        methods = ["OPTIONS"]
        if door.access is not Access.UPLOAD_ONLY:
            methods = ["GET", "HEAD", "OPTIONS"]
        if door.access is Access.READ_ONLY:
            return methods
        methods.append("PUT")
        if door.access is Access.FULL:
            methods += ["DELETE"] * door.settings.upload_delete + ["MKCOL"] * door.settings.upload_directories
        return list(dict.fromkeys((*methods, *(name for one in PROTOCOLS for name in one.methods))))
