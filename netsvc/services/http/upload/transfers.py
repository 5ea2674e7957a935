"""Requests that bring a part of an upload: one at a time for each. What came of a part that was cut off stays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import MismatchError, NotFoundError, StoreError
from netsvc.filestore.records import Partial
from netsvc.filestore.threads import Inflow
from netsvc.filestore.upload import Upload
from netsvc.services.http.upload.body import UploadBody
from netsvc.services.http.upload.checksum import Checksum
from netsvc.services.http.upload.door import Door

REMEMBERED = 512  # uploads that were finished last: whoever missed the answer asks again


class PeerLostError(Exception):
    """The peer left before its part was whole, or was put out by one that came later: nobody waits for an answer."""


class ChecksumError(Exception):
    """The part is not what its checksum says; it was taken back."""

    reason = "the checksum of the request does not fit its body: none of it was kept"


@frozen(kw_only=True)
class Arrived:
    """A part is there.

    :param offset: where the upload stands now, durably.
    :param entry: what it was published as; None: it is not finished.
    """

    offset: int
    entry: Entry | None = None


@frozen
class Stands:
    """What is known of an upload.

    :param finished: whether it was published; it is remembered for a while.
    """

    upload: Partial
    finished: bool = False


class Transfers:
    """The parts that come at this moment, and the uploads that were finished last."""

    def __init__(self) -> None:
        self._running: dict[str, _Transfer] = {}
        self._finished: dict[str, Partial] = {}

    def receive(
        self,
        exchange: Any,
        door: Door,
        upload: Upload,
        *,
        complete: Callable[[int], bool],
        checksum: Checksum | None = None,
    ) -> Deferred[Arrived]:
        """Take the body of a request as the next part of an upload, and publish it if it is the last.

        :param complete: whether the upload is finished when it stands at that octet.
        :return: fails with a StoreError, a ChecksumError or a PeerLostError.
        """
        transfer = self._running[upload.id] = _Transfer(exchange, door, upload, complete, checksum)
        result: Deferred[Arrived] = Deferred()

        def over(found: Any) -> Any:
            if self._running.get(upload.id) is transfer:
                del self._running[upload.id]
            if isinstance(found, Arrived) and found.entry is not None:
                self._remember(upload.partial())
            return found

        transfer.result.addBoth(over).chainDeferred(result)
        transfer.start()
        return result

    def look(self, door: Door, upload_id: str) -> Deferred[Stands]:
        """Where an upload of whoever knocks stands, when nobody brings a part of it any more.

        :return: fails with NotFoundError, also for another's.
        """

        def his(_: Partial) -> Deferred[Partial]:
            stopped = self._stop(upload_id)
            return stopped.addCallback(lambda _: door.in_thread(door.store.partial, upload_id, door.owner))

        def not_there(failure: Failure) -> Stands:
            failure.trap(NotFoundError)
            finished = self._finished.get(upload_id)
            if finished is None or finished.owner != door.owner:
                failure.raiseException()
            return Stands(finished, finished=True)

        looked: Deferred[Any] = door.in_thread(door.store.partial, upload_id, door.owner)
        return looked.addCallback(his).addCallbacks(Stands, not_there)

    def drop(self, door: Door, upload_id: str) -> Deferred[None]:
        """Give an upload up, for whoever knocks.

        :return: fails with NotFoundError, also for another's.
        """
        looked: Deferred[Any] = self.look(door, upload_id)
        return looked.addCallback(lambda _: door.in_thread(door.store.drop, upload_id, door.owner))

    def _stop(self, upload_id: str) -> Deferred[None]:
        """Put out the request that brings a part of an upload at this moment, if there is one.

        Its peer may be dead for long, and the new one knows better. One whose part is whole already is let through.

        :return: fires when what it brought is durable.
        """
        transfer = self._running.get(upload_id)
        return succeed(None) if transfer is None else transfer.stop()

    def _remember(self, one: Partial) -> None:
        self._finished[one.id] = one
        while len(self._finished) > REMEMBERED:
            del self._finished[next(iter(self._finished))]


class _Transfer:
    """One part on its way."""

    def __init__(
        self,
        exchange: Any,
        door: Door,
        upload: Upload,
        complete: Callable[[int], bool],
        checksum: Checksum | None,
    ) -> None:
        self.result: Deferred[Arrived] = Deferred()
        self._exchange = exchange
        self._upload = upload
        self._complete = complete
        self._checksum = checksum
        self._hash = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        self._whole_or_lost = False
        self._waiting: list[Deferred[None]] = []
        self._body = UploadBody(
            exchange,
            upload,
            door.in_thread,
            whole=self._whole,
            lost=lambda inflow: self._keep(inflow, PeerLostError()),
            failed=self._keep,
            hashes=() if self._hash is None else (self._hash,),
        )

    def start(self) -> None:
        if self._checksum is not None:
            self._upload.hold()
        self.result.addBoth(self._tell)
        self._body.start()

    def stop(self) -> Deferred[None]:
        """End it; see :meth:`Transfers._stop`."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._whole_or_lost:
            self._body.body_lost()
            self._exchange.abort()
        return waiting

    def _tell(self, result: Any) -> Any:
        for one in self._waiting:
            one.callback(None)
        return result

    def _whole(self, inflow: Inflow) -> None:
        self._whole_or_lost = True
        if self._checksum is not None and self._hash is not None and self._hash.digest() != self._checksum.digest:
            self._keep(inflow, ChecksumError())
            return
        self._upload.vouch()
        if self._complete(inflow.offset):
            offset = inflow.offset
            finished: Deferred[Any] = inflow.finish()
            finished.addCallback(lambda entry: Arrived(offset=offset, entry=entry))
            finished.addErrback(self._unpublished, inflow).chainDeferred(self.result)
        else:

            def kept(offset: int) -> Arrived:
                if inflow.error is not None:  # since all of the body had come: of its end nothing was kept
                    raise inflow.error
                return Arrived(offset=offset)

            inflow.keep().addCallback(kept).chainDeferred(self.result)

    def _unpublished(self, failure: Failure, inflow: Inflow) -> Any:
        """It could not be published. Perhaps it can be later, but not where its directory is gone."""
        if failure.check(MismatchError):  # the store has removed it
            return failure
        gone = failure.check(NotFoundError)
        ended: Deferred[Any] = inflow.discard() if gone else inflow.keep()
        return ended.addBoth(lambda _: failure)

    def _keep(self, inflow: Inflow, error: PeerLostError | ChecksumError | StoreError) -> None:
        """Keep what came, but for octets that a checksum was to speak for, and has not."""
        self._whole_or_lost = True
        kept: Deferred[Any] = inflow.keep()

        def ended(result: Any) -> Failure:
            return result if isinstance(result, Failure) and isinstance(error, ChecksumError) else Failure(error)

        kept.addBoth(ended).addErrback(self.result.errback)
