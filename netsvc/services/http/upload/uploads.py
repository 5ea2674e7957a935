"""Uploads: answers at places that take files whatever is no plain GET or HEAD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netsvc.filestore.errors import BadNameError
from netsvc.filestore.names import parse_path
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.site.sites import Found, Place
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.problems import RefusedError, refuse
from netsvc.services.http.upload.protocols import PROTOCOLS
from netsvc.services.http.upload.settings import access_of
from netsvc.services.http.upload.stores import Stores, terms_of


def names_of(names: tuple[bytes, ...], policy_cgi: frozenset[bytes]) -> tuple[str, ...]:
    """The names of a path as the store has them.

    :raises BadNameError: one is not UTF-8, or none that a file may have.
    :raises RefusedError: it leads into a CGI directory, where a file would be a program.
    """
    cgi = {name.lower() for name in policy_cgi}
    if any(name.lower() in cgi for name in names):
        raise RefusedError(403, "nothing may be stored in a CGI directory")
    try:
        return parse_path("/".join(name.decode("utf-8") for name in names))
    except UnicodeDecodeError:
        raise BadNameError("the name has control characters, or is not UTF-8") from None


class Uploads:
    """Answers at the places of one service.

    :param stores: of the service.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param clock: IReactorTime.
    """

    def __init__(self, stores: Stores, in_thread: Callable[..., Deferred[Any]], clock: Any) -> None:
        self._stores = stores
        self._in_thread = in_thread
        self._clock = clock

    def takes(self, head: RequestHead) -> bool:
        """Whether a request is answered here: all but what only reads."""
        return head.method not in ("GET", "HEAD") or any(one.takes(head) for one in PROTOCOLS)

    def answer(self, exchange: Any, found: Found, place: Place) -> None:
        """Answer an exchange that is for this room, now or later."""
        try:
            names = names_of(found.names[len(place.docroot_at) :], place.policy.cgi)
            root = place.root_of(exchange.user)
        except (BadNameError, RefusedError) as error:
            refuse(exchange, error)
            return
        access = access_of(place.settings, exchange.user)

        def opened(store: Any) -> None:
            door = Door(
                store=store,
                root=place.docroot_at,
                names=names,
                directory=found.directory,
                owner=exchange.user,
                access=access,
                settings=place.settings,
                in_thread=self._in_thread,
                clock=self._clock,
            )
            self._enter(exchange, door)

        def failed(failure: Failure) -> None:
            refuse(exchange, failure.value)

        opening = self._in_thread(self._stores.store, root, terms_of(place.settings, access))
        opening.addCallback(opened).addErrback(failed)

    def _enter(self, exchange: Any, door: Door) -> None:
        for one in PROTOCOLS:
            if one.takes(exchange.head):
                one.answer(exchange, door)
                return
        methods = ["GET", "HEAD", "OPTIONS", "PUT"]
        methods += ["DELETE"] * door.settings.upload_delete + ["MKCOL"] * door.settings.upload_directories
        methods += [name for one in PROTOCOLS for name in one.methods if name not in methods]
        allow = (b"Allow", ", ".join(methods).encode("ascii"))
        if exchange.head.method == "OPTIONS":
            exchange.answer(204, (allow, *(field for one in PROTOCOLS for field in one.offered(door))), b"")
        else:
            refuse(exchange, RefusedError(405, "this cannot be done here", (allow,)))
