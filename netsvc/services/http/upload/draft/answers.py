"""The door for the IETF's draft: any PUT or POST of a file that asks for it can be continued when it was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from netsvc.filestore.errors import NotFoundError, OffsetError, StoreError, TooLargeError
from netsvc.filestore.records import Partial
from netsvc.filestore.upload import Upload
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.upload.checksum import Checksum
from netsvc.services.http.upload.conditions import standing
from netsvc.services.http.upload.digest_fields import MalformedError, parse_digests
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.draft import wire
from netsvc.services.http.upload.draft.wire import InconsistentError, Part
from netsvc.services.http.upload.links import id_of, is_link, link
from netsvc.services.http.upload.problems import RefusedError, refuse
from netsvc.services.http.upload.resumable import begin, resume, tell_length
from netsvc.services.http.upload.transfers import Arrived, ChecksumError, PeerLostError, Stands, Transfers

PROGRESS = 5.0  # seconds between two interim answers that tell how much is safe

_ABOUT_ONE = ("GET", "HEAD", "PATCH", "DELETE")  # methods that an upload's address is asked with
_NEW = "draft-new"  # the key under which the store keeps that the upload replaces nothing
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}


class CompletedError(Exception):
    """The upload is finished already."""


class Draft:
    """An UploadProtocol.

    :param transfers: shared with whatever else continues uploads.
    """

    methods = ("POST", "PATCH")

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def takes(self, head: RequestHead) -> bool:
        """As UploadProtocol.

        A request of no version that is spoken here is an upload like any other (the whole of it comes, and cannot be
        continued), unless it says that the whole does not come: that would pass for the file.
        """
        if is_link(head):
            return head.method in _ABOUT_ONE and head.first(b"upload-draft-interop-version") is not None
        if head.method not in ("PUT", "POST") or head.first(b"tus-resumable") is not None:
            return False
        complete = wire.completeness(head)
        return complete is False or (complete is True and wire.version_of(head) is not None)

    def offered(self, door: Door) -> Headers:
        """As UploadProtocol."""
        return (wire.limit_field(wire.VERSIONS[0], max_size=door.store.terms.max_file_size, longest=door.longest),)

    def answer(self, exchange: Any, door: Door) -> None:
        """As UploadProtocol."""
        head: RequestHead = exchange.head
        version = wire.version_of(head)
        if version is None:
            spoken = " or ".join(map(str, wire.VERSIONS))
            refuse(exchange, RefusedError(400, f"Upload-Draft-Interop-Version is not {spoken}"))
            return
        ways: dict[str, Callable[[Any, Door, int], Deferred[Any]]] = {"PUT": self._create, "POST": self._create}
        if is_link(head):
            ways = {"GET": self._tell, "HEAD": self._tell, "PATCH": self._append, "DELETE": self._drop}
        try:
            done = ways[head.method](exchange, door, version)
        except (RefusedError, MalformedError, InconsistentError) as error:
            done = fail(error)
        done.addErrback(_failed, exchange)

    # PUT or POST of a file

    def _create(self, exchange: Any, door: Door, version: int) -> Deferred[Any]:
        head: RequestHead = exchange.head
        complete = wire.completeness(head) is True
        part = wire.read_part(head, version, complete=complete, body_length=exchange.body_length)
        whole = parse_digests(head.all(b"repr-digest"), "Repr-Digest").get("sha-256")
        checksum = _checksum(head)
        if any(value.strip().lower() != b"identity" for value in head.all(b"content-encoding")):
            raise RefusedError(
                415, "Content-Encoding: files are stored as they come", ((b"Accept-Encoding", b"identity"),)
            )
        if door.directory:
            raise RefusedError(409, "the name of a file does not end with a slash")

        def create() -> Upload:
            found = standing(door, head, time.time())
            try:
                return begin(door, found, size=part.length, digest=whole, meta={} if found.exists else {_NEW: "yes"})
            except NotFoundError as error:  # the directory above (RFC 4918 9.7.1)
                raise RefusedError(409, error.reason) from None

        def begun(upload: Upload) -> Deferred[Any]:
            where = (b"Location", link(door, upload.id))
            limits = _limits(door, upload.partial(), version)
            _inform(exchange, version, where, limits)
            arriving = self._receive(exchange, door, upload, part, checksum)
            return arriving.addCallback(arrived, upload, where, limits)

        def arrived(there: Arrived, upload: Upload, *fields: tuple[bytes, bytes]) -> None:
            if there.entry is None:
                exchange.answer(201, (*fields, wire.complete_field(False), wire.offset_field(there.offset)), b"")
            else:
                _published(exchange, there, upload.partial(), fields if version == 6 else ())

        return door.in_thread(create).addCallback(begun)

    def _receive(
        self, exchange: Any, door: Door, upload: Upload, part: Part, checksum: Checksum | None
    ) -> Deferred[Arrived]:
        """Take a part in, and tell the peer now and then how much of it is safe."""

        def safe() -> int:
            offset = upload.offset
            upload.sync()
            return offset

        def tell() -> Deferred[Any]:
            told: Deferred[Any] = door.in_thread(safe)
            told.addCallback(lambda offset: _inform(exchange, part.version, wire.offset_field(offset)))
            return told.addErrback(lambda failure: failure.trap(StoreError))  # whoever writes hears of it, too

        def over(result: Any) -> Any:
            if progress.running:
                progress.stop()
            return result

        progress = LoopingCall(tell)
        progress.clock = door.clock
        if checksum is None:  # else nothing is safe before all of the part has come
            progress.start(PROGRESS, now=False)
        arriving = self._transfers.receive(exchange, door, upload, complete=lambda _: part.complete, checksum=checksum)
        return arriving.addBoth(over)

    # The address of an upload

    def _tell(self, exchange: Any, door: Door, version: int) -> Deferred[Any]:
        def known(found: Stands) -> None:
            one = found.upload
            fields = [wire.offset_field(one.offset), wire.complete_field(found.finished), wire.NO_STORE]
            if one.size is not None:
                fields.append((b"Upload-Length", b"%d" % one.size))
            exchange.answer(204, (*fields, _limits(door, one, version)), b"")

        return self._transfers.look(door, id_of(exchange.head)).addCallback(known)

    def _append(self, exchange: Any, door: Door, version: int) -> Deferred[Any]:
        head: RequestHead = exchange.head
        upload_id, complete = id_of(head), wire.completeness(head)
        if not wire.is_partial(head):
            raise RefusedError(415, f"the Content-Type is {wire.PARTIAL.decode('ascii')}")
        if complete is None:
            raise RefusedError(400, "Upload-Complete is missing")
        part = wire.read_part(head, version, complete=complete, body_length=exchange.body_length)
        offset = part.offset
        if offset is None:
            raise RefusedError(400, "Upload-Offset is missing")
        checksum = _checksum(head)

        def known(found: Stands) -> Deferred[Any]:
            if found.finished:
                raise CompletedError
            return door.in_thread(resume, door, upload_id, offset, check).addCallback(resumed)

        def check(upload: Upload) -> None:
            fits = tell_length(upload, part.length)
            if not fits or (upload.size is not None and offset + (exchange.body_length or 0) > upload.size):
                raise InconsistentError

        def resumed(upload: Upload) -> Deferred[Any]:
            arriving = self._receive(exchange, door, upload, part, checksum)
            return arriving.addCallbacks(arrived, beyond, (upload,), errbackArgs=(upload,))

        def arrived(there: Arrived, upload: Upload) -> None:
            if there.entry is not None:
                _published(exchange, there, upload.partial(), ())
            else:
                status = 201 if version == 6 else 204
                exchange.answer(status, (wire.complete_field(False), wire.offset_field(there.offset)), b"")

        def beyond(failure: Failure, upload: Upload) -> Any:
            if version == 6 or upload.size is None or not failure.check(TooLargeError):
                return failure
            dropped: Deferred[Any] = door.in_thread(door.store.drop, upload_id, door.owner)
            return dropped.addBoth(lambda _: failure)  # more came than was to come: nothing of it can be trusted

        return self._transfers.look(door, upload_id).addCallback(known)

    def _drop(self, exchange: Any, door: Door, version: int) -> Deferred[Any]:  # noqa: ARG002
        def dropped(_: object) -> None:
            exchange.answer(204, (), b"")

        return self._transfers.drop(door, id_of(exchange.head)).addCallback(dropped)


def _checksum(head: RequestHead) -> Checksum | None:
    """What the body must come to: the strongest of Content-Digest (RFC 9530)."""
    found = parse_digests(head.all(b"content-digest"), "Content-Digest")
    for name in ("sha-512", "sha-256"):
        if name in found:
            return Checksum(_ALGORITHMS[name], found[name])
    return None


def _limits(door: Door, one: Partial, version: int) -> tuple[bytes, bytes]:
    age = one.expires - time.time()
    return wire.limit_field(version, max_size=door.store.terms.max_file_size, longest=door.longest, age=age)


def _inform(exchange: Any, version: int, *fields: tuple[bytes, bytes]) -> None:
    exchange.inform(wire.RESUMPTION_SUPPORTED, (wire.version_field(version), *fields), wire.PHRASE)


def _published(exchange: Any, there: Arrived, one: Partial, fields: Headers) -> None:
    """As a PUT that came in one piece is answered."""
    if there.entry is not None and there.entry.digest is not None:
        fields = (*fields, (b"ETag", b'"%s"' % there.entry.digest.hex().encode("ascii")))
    fields = (*fields, wire.complete_field(True), wire.offset_field(there.offset))
    exchange.answer(201 if _NEW in one.meta else 204, fields, b"")


def _failed(failure: Failure, exchange: Any) -> None:
    error, incomplete = failure.value, (wire.complete_field(False),)
    if isinstance(error, PeerLostError):
        return
    if isinstance(error, OffsetError):
        provided = wire.read_part(exchange.head, 8, complete=False, body_length=None).offset or 0
        problem = wire.mismatching_offset(error.offset, provided)
        exchange.answer(409, (*wire.problem_headers(), *incomplete, wire.offset_field(error.offset)), problem)
    elif isinstance(error, InconsistentError):
        exchange.answer(400, (*wire.problem_headers(), *incomplete), wire.inconsistent_length())
    elif isinstance(error, CompletedError):
        exchange.answer(400, (*wire.problem_headers(), *incomplete), wire.completed_upload())
    elif isinstance(error, MalformedError | ChecksumError):
        refuse(exchange, RefusedError(400, error.reason), headers=incomplete)
    else:
        refuse(exchange, error, headers=incomplete)
