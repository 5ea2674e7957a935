"""The door for tus 1.0: uploads are begun at the address of a directory, and continued at an address of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netsvc.filestore.errors import MismatchError, NotFoundError, OffsetError
from netsvc.filestore.upload import Upload
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.upload.checksum import Checksum
from netsvc.services.http.upload.conditions import standing
from netsvc.services.http.upload.digest_fields import MalformedError, parse_digests
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.draft.wire import VERSIONS, limit_field
from netsvc.services.http.upload.links import id_of, is_link, link
from netsvc.services.http.upload.problems import RefusedError, refuse
from netsvc.services.http.upload.resumable import begin, resume, tell_length
from netsvc.services.http.upload.transfers import Arrived, ChecksumError, PeerLostError, Stands, Transfers
from netsvc.services.http.upload.tus import wire
from netsvc.services.http.upload.tus.wire import FieldError

_METADATA = "tus-metadata"  # the key under which the store keeps it with the upload
_ABOUT_ONE = ("HEAD", "PATCH", "DELETE", "POST")  # methods that an upload's address is asked with


class Tus:
    """An UploadProtocol.

    :param transfers: shared with whatever else continues uploads.
    """

    methods = ("POST", "PATCH")

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def takes(self, head: RequestHead) -> bool:
        """As UploadProtocol. Addresses of uploads are this door's unless a request says that it is of the draft."""
        if is_link(head):
            return head.method in _ABOUT_ONE and head.first(b"upload-draft-interop-version") is None
        return head.method == "POST" and head.first(b"tus-resumable") is not None

    def offered(self, door: Door) -> Headers:
        """As UploadProtocol."""
        return wire.offered(door.store.terms.max_file_size)

    def answer(self, exchange: Any, door: Door) -> None:
        """As UploadProtocol."""
        head: RequestHead = exchange.head
        if head.all(b"tus-resumable") != [wire.VERSION]:
            headers = (wire.RESUMABLE, (b"Tus-Version", wire.VERSION))
            refuse(exchange, RefusedError(412, "Tus-Resumable is not 1.0.0"), headers=headers)
            return
        method = wire.method_of(head)
        ways: dict[str, Callable[[Any, Door], Deferred[Any]]] = {"POST": self._create}
        if is_link(head):
            ways = {"HEAD": self._tell, "PATCH": self._go_on, "DELETE": self._drop}
        way = ways.get(method)
        if way is None:
            allow = (b"Allow", ", ".join(ways).encode("ascii"))
            refuse(
                exchange, RefusedError(405, "this cannot be done with an upload", (allow,)), headers=(wire.RESUMABLE,)
            )
            return
        try:
            done = way(exchange, door)
        except (FieldError, MalformedError) as error:
            status = error.status if isinstance(error, FieldError) else 400
            refuse(exchange, RefusedError(status, error.reason), headers=(wire.RESUMABLE,))
        else:
            done.addErrback(self._failed, exchange)

    # POST to a directory

    def _create(self, exchange: Any, door: Door) -> Deferred[Any]:
        head: RequestHead = exchange.head
        asked = wire.read_creation(head)
        digest = parse_digests(head.all(b"repr-digest"), "Repr-Digest").get("sha-256")
        if not asked.with_body and exchange.body_length != 0:
            raise FieldError(415, f"the Content-Type of a body is {wire.CHUNK.decode('ascii')}")
        if door.directory and not asked.filename:
            raise FieldError(400, "Upload-Metadata has no filename")
        if asked.length is not None and (exchange.body_length or 0) > asked.length:
            raise FieldError(413, "the body is longer than Upload-Length")

        def create() -> Upload:
            to = evolve(door, names=door.below(asked.filename)) if door.directory else door
            meta = {_METADATA: asked.metadata} if asked.metadata else {}
            return begin(to, standing(to, head, time.time()), size=asked.length, digest=digest, meta=meta)

        def begun(upload: Upload) -> Deferred[Any]:
            return self._receive(exchange, door, upload, asked.checksum).addCallback(arrived, upload)

        def arrived(there: Arrived, upload: Upload) -> None:
            fields = ((b"Location", link(door, upload.id)), _limits(door), *self._stands(there, upload))
            exchange.answer(201, fields, b"")

        return door.in_thread(create).addCallback(begun)

    def _receive(self, exchange: Any, door: Door, upload: Upload, checksum: Checksum | None) -> Deferred[Arrived]:
        """Take the body of a request; it ends the upload when all that was declared has come."""
        return self._transfers.receive(
            exchange, door, upload, complete=lambda offset: offset == upload.size, checksum=checksum
        )

    # The address of an upload

    def _tell(self, exchange: Any, door: Door) -> Deferred[Any]:
        def known(found: Stands) -> None:
            one = found.upload
            length = one.offset if found.finished else one.size
            fields = wire.state(offset=one.offset, length=length, metadata=one.meta.get(_METADATA, ""))
            if not found.finished:
                fields = (*fields, _limits(door), *wire.expires(one.expires))
            exchange.answer(200, (wire.RESUMABLE, wire.NO_STORE, *fields), b"")

        return self._transfers.look(door, id_of(exchange.head)).addCallback(known)

    def _go_on(self, exchange: Any, door: Door) -> Deferred[Any]:
        upload_id = id_of(exchange.head)
        chunk = wire.read_chunk(exchange.head)

        def known(found: Stands) -> Any:
            if not found.finished:
                return door.in_thread(resume, door, upload_id, chunk.offset, check).addCallback(resumed)
            if exchange.body_length != 0 or chunk.offset != found.upload.offset:
                raise OffsetError(found.upload.offset)
            exchange.answer(204, (wire.RESUMABLE, (b"Upload-Offset", b"%d" % chunk.offset)), b"")
            return None

        def check(upload: Upload) -> None:
            if not tell_length(upload, chunk.length):
                raise RefusedError(400, "Upload-Length is not what it was, or less than has come")
            if upload.size is not None and chunk.offset + (exchange.body_length or 0) > upload.size:
                raise RefusedError(413, "the body goes beyond Upload-Length")

        def resumed(upload: Upload) -> Deferred[Any]:
            return self._receive(exchange, door, upload, chunk.checksum).addCallback(arrived, upload)

        def arrived(there: Arrived, upload: Upload) -> None:
            exchange.answer(204, self._stands(there, upload), b"")

        return self._transfers.look(door, upload_id).addCallback(known)

    def _drop(self, exchange: Any, door: Door) -> Deferred[Any]:
        def dropped(_: object) -> None:
            exchange.answer(204, (wire.RESUMABLE,), b"")

        return self._transfers.drop(door, id_of(exchange.head)).addCallback(dropped)

    def _stands(self, there: Arrived, upload: Upload) -> Headers:
        fields = (wire.RESUMABLE, (b"Upload-Offset", b"%d" % there.offset))
        return fields if there.entry is not None else (*fields, *wire.expires(upload.partial().expires))

    def _failed(self, failure: Failure, exchange: Any) -> None:
        error = failure.value
        if isinstance(error, PeerLostError):
            return
        headers: Headers = (wire.RESUMABLE,)
        if isinstance(error, OffsetError):
            headers = (*headers, (b"Upload-Offset", b"%d" % error.offset))
        if isinstance(error, ChecksumError | MismatchError):
            error = RefusedError(wire.CHECKSUM_MISMATCH, error.reason)
        elif isinstance(error, NotFoundError) and exchange.head.method == "POST" and not is_link(exchange.head):
            error = RefusedError(404, "no such directory")
        refuse(exchange, error, headers=headers)


def _limits(door: Door) -> tuple[bytes, bytes]:
    """How long a file may be, and one request: tus has no field for the latter, the draft has."""
    return limit_field(VERSIONS[0], max_size=door.store.terms.max_file_size, longest=door.longest)
