"""Answers DELETE, and MKCOL of RFC 4918: what changes names and brings no octets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from netsvc.filestore.access import Access
from netsvc.filestore.errors import ExistsError, NotFoundError, StoreError
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.upload.conditions import standing
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.problems import RefusedError, refuse


def delete(exchange: Any, door: Door) -> None:
    """Answer a DELETE: of a file, or of a directory that is empty."""
    _do(exchange, door, lambda: _remove(door, exchange.head), 204)


def make_directory(exchange: Any, door: Door, allow: bytes) -> None:
    """Answer a MKCOL.

    :param allow: the methods that may be used where something is already.
    """
    if exchange.body_length != 0:  # RFC 4918 9.3: a body that nothing is known of
        refuse(exchange, RefusedError(415, "MKCOL has no body here"))
    else:
        _do(exchange, door, lambda: _make(door, allow), 201)


def _do(exchange: Any, door: Door, act: Callable[[], None], status: int) -> None:
    def done(_: object) -> None:
        exchange.answer(status, (), b"")

    def failed(failure: Failure) -> None:
        refuse(exchange, failure.value)

    if door.access is not Access.FULL:
        refuse(exchange, RefusedError(403, f"the account is {door.access.value}"))
    else:
        door.in_thread(act).addCallbacks(done, failed)


def _remove(door: Door, head: RequestHead) -> None:
    """Blocks."""
    if door.store.stat(door.names).directory:
        if head.first(b"if-match") is not None:
            raise RefusedError(412, "a directory has no ETag")
        door.store.remove_directory(door.names)
    elif door.directory:
        raise NotFoundError("a file is no directory")
    else:
        found = standing(door, head, time.time())
        door.store.remove(door.names, expects=found.replaces)


def _make(door: Door, allow: bytes) -> None:
    """Blocks."""
    try:
        door.store.make_directory(door.names)
    except NotFoundError as error:  # the directory above (RFC 4918 9.3.1)
        raise RefusedError(409, error.reason) from None
    except ExistsError as error:
        try:
            door.store.stat(door.names)
        except StoreError:
            raise error from None
        raise RefusedError(405, error.reason, ((b"Allow", allow),)) from None
