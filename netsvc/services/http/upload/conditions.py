"""Evaluates the conditions of a request that changes a file against what is there. Blocks: it opens the file."""

from __future__ import annotations

from attrs import frozen

from netsvc.filestore.access import Access
from netsvc.filestore.errors import NotFoundError
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.static.conditional import Validators, precondition
from netsvc.services.http.static.representation import etag_of
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.problems import RefusedError


@frozen(kw_only=True)
class Standing:
    """What has a name before it is changed.

    :param exists: whether a file has it. Who may only upload is not told: what exists he cannot replace.
    :param replaces: the SHA-256 that it must still have when it is replaced; None for any.
    :param if_absent: whether nothing may be replaced.
    """

    exists: bool = False
    replaces: bytes | None = None
    if_absent: bool = False


def _changed() -> RefusedError:
    return RefusedError(412, "it has changed, or is not what was expected")


def _star(values: list[bytes]) -> bool:
    return [value.strip(b" \t") for value in values] == [b"*"]


def standing(door: Door, head: RequestHead, now: float) -> Standing:
    """What stands under the name of a door, if the conditions of a request hold.

    :param now: seconds since the epoch.
    :raises RefusedError: 412, they do not.
    :raises StoreError: it is no file, or cannot be looked at.
    """
    matches, none_matches = head.all(b"if-match"), head.all(b"if-none-match")
    if_absent = _star(none_matches)
    if door.access is Access.UPLOAD_ONLY:
        if matches or head.first(b"if-unmodified-since") is not None:
            raise _changed()
        return Standing(if_absent=True)
    try:
        file = door.store.open(door.names)
    except NotFoundError:
        if matches:
            raise _changed() from None
        return Standing(if_absent=if_absent)
    try:
        modified = int(min(file.stat.st_mtime, now))
        validators = Validators(etag=etag_of(file.stat, file.digest()), modified=modified)
        if precondition(head, validators) is not None:
            raise _changed()
        holds = (matches and not _star(matches)) or head.first(b"if-unmodified-since") is not None
        return Standing(exists=True, replaces=door.store.digest_of(file) if holds else None)
    finally:
        file.close()
