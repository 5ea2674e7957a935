"""Where the octets of a download go: into an upload of the store, in threads.

A small file makes one trip to a thread: it is collected, then created, written, verified and published there at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import MismatchError, StoreError
from netsvc.filestore.threads import Inflow
from netsvc.filestore.upload import Upload
from netsvc.services.fetch.download.errors import DownloadError, Permanent, of_store
from netsvc.services.fetch.download.terms import Checksum

SMALL = 1 << 18  # octets that are collected before there is an upload
PIECE = 1 << 20  # octets that are read back at once for a checksum that the store does not keep

InThread = Callable[..., "Deferred[Any]"]


class Holder(Protocol):
    """What brings the octets, and can be told to wait or to give up."""

    def hold(self, who: str) -> None: ...

    def release(self, who: str) -> None: ...

    def cut(self, error: DownloadError) -> None: ...


class Sink:
    """One file that is coming.

    :param create: makes the upload; called in a thread.
    :param upload: one that is there already, to be continued.
    :param size: of the whole file, or None.
    :param max_size: or None.
    """

    def __init__(
        self,
        in_thread: InThread,
        holder: Holder,
        create: Callable[[], Upload],
        *,
        upload: Upload | None,
        size: int | None,
        max_size: int | None,
    ) -> None:
        self._in_thread = in_thread
        self._holder = holder
        self._create = create
        self._size = size
        self._max_size = max_size
        self._inflow = None if upload is None else self._flow_into(upload)
        self._upload = upload
        self._making: Deferred[None] | None = None
        self._waiting: list[bytes] = []
        self._collected = 0
        self.received = 0 if upload is None else upload.offset

    def write(self, data: bytes) -> None:
        """Take octets."""
        self.received += len(data)
        if self._max_size is not None and self.received > self._max_size:
            self._holder.cut(Permanent(f"the file is longer than {self._max_size} octets"))
        elif self._inflow is not None:
            self._inflow.write(data)
        else:
            self._waiting.append(data)
            self._collected += len(data)
            if self._making is None and self._collected > SMALL:
                self._holder.hold("store")
                self._making = self._in_thread(self._create).addCallbacks(self._made, self._failed)

    def _flow_into(self, upload: Upload) -> Inflow:
        return Inflow(
            upload,
            self._in_thread,
            pause=lambda: self._holder.hold("disk"),
            resume=lambda: self._holder.release("disk"),
            failed=lambda error: self._holder.cut(of_store(error)),
        )

    def _made(self, upload: Upload) -> None:
        self._upload = upload
        self._inflow = self._flow_into(upload)
        for data in self._waiting:
            self._inflow.write(data)
        self._waiting = []
        self._holder.release("store")

    def _failed(self, failure: Any) -> None:
        error = failure.value
        self._making = succeed(None)  # it runs callbacks at this moment: who is cut here cannot wait for it
        self._holder.cut(of_store(error) if isinstance(error, StoreError) else Permanent("the store failed"))

    async def finish(self, checksum: Checksum | None, modified: float | None) -> Entry:
        """All is here: verify and publish it.

        :raises StoreError: it was not.
        """
        size = self.received if self._size is None else self._size
        digest = checksum.digest if checksum is not None and checksum.algorithm == "sha256" else None
        other = checksum if digest is None else None
        await self._settled()
        if self._inflow is None or self._upload is None:
            entry: Entry = await self._in_thread(self._at_once, other, size, digest, modified)
            return entry
        if other is not None:
            await self._inflow.sync()
            await self._in_thread(check, self._upload, other, size)
        return await self._inflow.finish(size=size, digest=digest, modified=modified)

    def _at_once(self, other: Checksum | None, size: int, digest: bytes | None, modified: float | None) -> Entry:
        upload = self._create()
        try:
            at = 0
            for data in self._waiting:
                upload.write(at, data)
                at += len(data)
            if other is not None:
                check(upload, other, size)
            return upload.commit(size=size, digest=digest, modified=modified)
        except BaseException:
            upload.discard()
            raise

    async def keep(self) -> str | None:
        """It broke off: keep what is there; the upload's id, or None when there is nothing to keep."""
        await self._settled()
        if self._inflow is None or self._upload is None:
            return None
        return self._upload.id if await self._inflow.keep() else None

    async def discard(self) -> None:
        """It is worth nothing."""
        await self._settled()
        if self._inflow is not None:
            await self._inflow.discard()

    async def _settled(self) -> None:
        if self._making is not None:
            await self._making


def check(upload: Upload, checksum: Checksum, size: int) -> None:
    """Compare a digest that the store does not keep with what was written. Blocks.

    :raises MismatchError: it is another.
    """
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    for offset in range(0, size, PIECE):
        digest.update(upload.read(offset, min(PIECE, size - offset)))
    if digest.digest() != checksum.digest:
        raise MismatchError(f"the {checksum.algorithm} is another")
