"""Begins and continues uploads that have an address of their own, for tus and the IETF's draft alike. Blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netsvc.filestore.access import Access
from netsvc.filestore.errors import ExistsError, MismatchError
from netsvc.filestore.upload import Upload
from netsvc.services.http.upload.conditions import Standing
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.problems import RefusedError


def begin(door: Door, found: Standing, *, size: int | None, digest: bytes | None, meta: Mapping[str, str]) -> Upload:
    """Begin an upload of the file that a door names.

    :param found: what stands there, by the conditions of the request.
    :param size: octets that it will have, None: not known yet.
    :param digest: SHA-256 that it must have, or None.
    :param meta: what the protocol wants to know when it is continued.
    :raises RefusedError: 412, something is there, and nothing may be replaced.
    :raises StoreError: it is not taken.
    """
    try:
        return door.store.create(
            door.names,
            owner=door.owner,
            source=door.source,
            size=size,
            digest=digest,
            if_absent=found.if_absent,
            replaces=found.replaces,
            lasting=True,
            meta=meta,
        )
    except ExistsError as error:
        if found.if_absent and door.access is Access.FULL:
            raise RefusedError(412, error.reason) from None
        raise


def resume(door: Door, upload_id: str, offset: int, check: Callable[[Upload], None]) -> Upload:
    """Continue an upload of whoever knocks.

    :param offset: where the peer believes that it stands.
    :param check: raises whatever else speaks against the request; what has come stays then.
    :raises RefusedError: 410, what had come is no longer what it was, and is gone: the client begins anew.
    :raises StoreError: it is not his, stands elsewhere, or is not taken.
    """
    try:
        upload = door.store.resume(upload_id, door.owner, offset)
    except MismatchError as error:
        raise RefusedError(410, error.reason) from None
    try:
        check(upload)
    except BaseException:
        upload.keep()
        raise
    return upload


def tell_length(upload: Upload, length: int | None) -> bool:
    """Let an upload have the length that a request tells, if it tells one; False: it cannot be that long.

    :raises StoreError: so much is not taken.
    """
    if length is not None and upload.size is None and length >= upload.offset:
        upload.declare(length)
    return length in (None, upload.size)
