"""Answers PUT: the body becomes a file, at once and whole, or nothing changes (RFC 9110 9.3.4).

Whatever speaks against it is said before the body is asked for, so that a peer that waits for 100 Continue sends
nothing in vain. 201 says that the name is new, 204 that something was replaced; either has the file's ETag.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from netsvc.filestore.access import Access
from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import ExistsError, MismatchError, NotFoundError, StoreError
from netsvc.filestore.threads import Inflow
from netsvc.services.http.upload.body import UploadBody
from netsvc.services.http.upload.conditions import Standing, standing
from netsvc.services.http.upload.digest_fields import MD5, MalformedError, promised
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.problems import RefusedError, refuse

if TYPE_CHECKING:
    from netsvc.filestore.upload import Upload

_BESIDE = {"sha-512": "sha512", MD5: "md5"}  # what the store does not digest: by the name of its function


def put(exchange: Any, door: Door) -> None:
    """Answer a PUT."""
    head = exchange.head
    try:
        if door.access is Access.READ_ONLY:
            raise RefusedError(403, "the account may only read")
        if head.first(b"content-range") is not None:  # RFC 9110 14.5: a part must not pass for the whole
            raise RefusedError(400, "Content-Range: a PUT brings the whole file")
        if head.first(b"range") is not None:  # lftp's put -c; 14.2 has it ignored, and the rest would replace the file
            raise RefusedError(400, "Range: a PUT brings the whole file")
        if any(value.strip().lower() != b"identity" for value in head.all(b"content-encoding")):
            raise RefusedError(
                415, "Content-Encoding: files are stored as they come", ((b"Accept-Encoding", b"identity"),)
            )
        if head.version < (2, 0) and exchange.body_length == 0 and not head.all(b"content-length"):
            raise RefusedError(411, "a PUT says how long it is")  # else a cut could not be told from the end
        if door.directory:
            raise RefusedError(409, "the name of a file does not end with a slash")
        digests = promised(head)
    except MalformedError as error:
        refuse(exchange, RefusedError(400, error.reason))
    except RefusedError as error:
        refuse(exchange, error)
    else:
        _Put(exchange, door, digests).start()


class _Put:
    """One PUT on its way.

    :param digests: what the file must digest to, by algorithm.
    """

    def __init__(self, exchange: Any, door: Door, digests: dict[str, bytes]) -> None:
        self._exchange = exchange
        self._door = door
        self._digests = digests
        self._beside = {name: hashlib.new(_BESIDE[name], usedforsecurity=False) for name in digests if name in _BESIDE}
        self._standing = Standing()

    def start(self) -> None:
        self._door.in_thread(self._begin).addCallbacks(self._begun, self._failed)

    def _begin(self) -> Upload:
        """Look what is there, and make room. Blocks."""
        self._standing = found = standing(self._door, self._exchange.head, time.time())
        return self._door.store.create(
            self._door.names,
            owner=self._door.owner,
            size=self._exchange.body_length,
            digest=self._digests.get("sha-256"),
            if_absent=found.if_absent,
            replaces=found.replaces,
            resumable=False,
        )

    def _begun(self, upload: Upload) -> None:
        UploadBody(
            self._exchange,
            upload,
            self._door.in_thread,
            whole=self._whole,
            lost=lambda inflow: inflow.discard(),
            failed=self._broke,
            hashes=tuple(self._beside.values()),
        ).start()

    def _whole(self, inflow: Inflow) -> None:
        for name, running in self._beside.items():
            if running.digest() != self._digests[name]:
                self._broke(inflow, MismatchError(f"the {name} is not the one that was declared"))
                return
        inflow.finish().addErrback(self._unpublished, inflow).addCallbacks(self._published, self._failed)

    def _unpublished(self, failure: Failure, inflow: Inflow) -> Failure:
        inflow.discard()
        return failure

    def _published(self, entry: Entry) -> None:
        fields = ((b"ETag", b'"%s"' % entry.digest.hex().encode("ascii")),) if entry.digest else ()
        self._exchange.answer(204 if self._standing.exists else 201, fields, b"")

    def _broke(self, inflow: Inflow, error: StoreError) -> None:
        inflow.discard()
        refuse(self._exchange, error)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        status = None
        if isinstance(error, NotFoundError):  # the directory above (RFC 4918 9.7.1)
            status = 409
        elif isinstance(error, ExistsError) and self._standing.if_absent and self._door.access is Access.FULL:
            status = 412
        refuse(self._exchange, error, status)
