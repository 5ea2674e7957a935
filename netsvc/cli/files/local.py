"""The local side: where a file that is fetched goes, and where one that is sent comes from."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from netsvc.cli.files.errors import NotThereError, NotVerifiedError, TransferError, UsageError
from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import MismatchError, StoreError
from netsvc.filestore.records import Partial
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.filestore.upload import Upload

OWNER = "netsvc-get"  # whose the kept parts are: of the daemon's stores none has a user of this name
BLOCK = 1 << 18  # octets read at once


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class Target:
    """A directory that files come to, through the file store: a name stands for a whole file, or is not there.

    :param directory: it is there.
    :param name: what the one file is called, or None for the name that its URL has.
    """

    def __init__(self, directory: Path, name: str | None = None) -> None:
        self._store = FileStore(directory.resolve(), Terms(file_mode=0o666 & ~_mask(), case_twins=True))
        self._name = name
        self.path = directory

    def named(self, offered: str) -> str:
        """What the file will be called.

        :param offered: the name that a URL or a peer has for it.
        :raises UsageError: there is none.
        """
        name = self._name or offered
        if not name:
            raise UsageError("the URL ends without a name: say one with -o")
        return name

    def kept(self, name: str) -> Partial | None:
        """What an earlier run has left."""
        return self._store.find_partial((name,), OWNER)

    def begin(self, name: str, size: int | None = None, meta: Mapping[str, str] | None = None) -> Download:
        """Begin a file anew.

        :param meta: what a later run must know to go on; None: nobody can go on.
        """
        upload = self._store.create((name,), owner=OWNER, size=size, meta=meta, resumable=meta is not None)
        return Download(upload)

    def go_on(self, partial: Partial) -> Download:
        """Go on with what was left; its octets are checked against the digest that was kept with them."""
        return Download(self._store.resume(partial.id, OWNER, partial.offset))


class Download:
    """One file that comes; a context manager. What is not committed in it is kept if a later run can go on."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    @property
    def offset(self) -> int:
        """Octets that are there."""
        return self._upload.offset

    def write(self, octets: bytes) -> None:
        """Take the next octets."""
        self._upload.write(self._upload.offset, octets)

    def commit(self, *, size: int | None = None, digest: bytes | None = None, modified: float | None = None) -> Entry:
        """All of it has come: verify it, make it durable, give it its name.

        :raises NotVerifiedError: it is not what was promised; nothing is left of it.
        """
        try:
            return self._upload.commit(size=size, digest=digest, modified=modified)
        except MismatchError as error:
            raise NotVerifiedError(error.reason) from None

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._upload.closed:
            self._upload.keep()


class Source:
    """A local file that is sent; a context manager. It must not change meanwhile.

    :raises NotThereError: there is none.
    :raises TransferError: it is something else than a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotThereError("there is no such file here") from None
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._descriptor)
            raise TransferError(f"it is {'a directory' if stat.S_ISDIR(found.st_mode) else 'no regular file'}")
        self.size = found.st_size
        self.modified_ns = found.st_mtime_ns

    def blocks(self, start: int = 0, length: int = BLOCK, *, stop: int | None = None) -> Iterator[bytes]:
        """The octets from `start` on, up to `stop` or the end.

        :raises TransferError: the file has changed meanwhile.
        """
        position = start
        end = self.size if stop is None else stop
        while position < end:
            block = os.pread(self._descriptor, min(length, end - position), position)
            if not block:
                break
            position += len(block)
            yield block
        self.unchanged()

    def unchanged(self) -> None:
        """Make sure that it is what it was when it was opened.

        :raises TransferError: it has another length or another time of change.
        """
        found = os.fstat(self._descriptor)
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified_ns):
            raise TransferError("the file changed while it was sent")

    def digest(self, length: int | None = None) -> bytes:
        """The SHA-256 of it, or of its beginning."""
        found = hashlib.sha256()
        left = self.size if length is None else length
        for block in self.blocks():
            found.update(block[:left])
            left -= min(left, len(block))
            if not left:
                break
        return found.digest()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def reason_of(error: Exception) -> str:
    """Why something failed, in one phrase for people."""
    if isinstance(error, StoreError):
        return error.reason
    if isinstance(error, TimeoutError):
        return "no sign of life for too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
