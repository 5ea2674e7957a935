"""What SFTP asks of the store by name. It blocks: threads run it. No Twisted.

Where nothing is published under a name but its owner's upload was cut off, the part that came stands for the file, so
that a client that asks for the size and goes on from there resumes it.
"""

from __future__ import annotations

from collections.abc import Callable
from posixpath import normpath
from typing import TYPE_CHECKING

from attrs import frozen

from netsvc.filestore.access import Access
from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import BadNameError, NotFoundError, TooLargeError
from netsvc.filestore.names import MAX_PATH, parse_path
from netsvc.services.sftp import wire

if TYPE_CHECKING:
    from netsvc.filestore.store import FileStore
    from netsvc.filestore.stored import StoredFile
    from netsvc.filestore.upload import Upload

Names = tuple[str, ...]

_COPY = 1 << 20  # octets at a time
COPY_PIECE = 32 << 20  # octets that one thread copies before others have their turn


def names_of(path: bytes) -> Names:
    """The names of a path below the root. What does not begin with a slash begins at the root, too.

    :raises BadNameError: it is no UTF-8, or no file may be called so.
    """
    return parse_path(_text(path))


def real_path(path: bytes) -> bytes:
    """The absolute form, by the text alone: REALPATH, section 6.11. A tilde in front is the root.

    :raises BadNameError: it is no UTF-8, or too long.
    """
    text = _text(path)
    if len(path) > MAX_PATH:
        raise BadNameError(f"the path is longer than {MAX_PATH} octets")
    return normpath("/" + text.lstrip("/")).encode()


def _text(path: bytes) -> str:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise BadNameError("the name is not UTF-8") from None
    if "\0" in text:
        raise BadNameError("the name has a NUL")
    return text


@frozen
class Opened:
    """An upload that was begun or continued, and whether it differs from what is published."""

    upload: Upload
    changed: bool


@frozen
class Door:
    """One account's files.

    :param owner: whose uploads are continued.
    :param wall_clock: seconds since the epoch.
    """

    store: FileStore
    owner: str
    wall_clock: Callable[[], float]

    def look(self, names: Names) -> Entry:
        """What is there, or the part of an upload that was cut off."""
        try:
            return self.store.stat(names)
        except NotFoundError:
            partial = self.store.find_partial(names, self.owner)
            if partial is None:
                raise
            return self.growing(names, partial.offset)

    def digest_of_part(self, names: Names) -> bytes:
        """The SHA-256 of the part that stands for a file that is not there, as :meth:`look` tells its length.

        :raises NotFoundError: there is none, or what has come of it is not all written down.
        """
        partial = self.store.find_partial(names, self.owner)
        if partial is not None:
            recorded = self.store.recorded(partial.id, self.owner)
            if recorded.offset >= partial.offset and recorded.prefix:
                return recorded.prefix
        raise NotFoundError("no such file or directory")

    def growing(self, names: Names, length: int, modified: float | None = None) -> Entry:
        """What is said of a file that is not published yet; it changes now, unless another time was set."""
        return Entry(names[-1], False, length, int((self.wall_clock() if modified is None else modified) * 1e9))

    def write(self, names: Names, flags: int) -> Opened:
        """Open a file for writing, as the flags of OPEN say."""
        create = bool(flags & wire.CREATE)
        if create and flags & wire.EXCLUSIVE:
            return Opened(self.store.create(names, owner=self.owner, if_absent=True), True)
        if flags & wire.TRUNCATE:
            if not create:
                self.look(names)
            return Opened(self.store.create(names, owner=self.owner), True)
        return self._continue(names, create=create)

    def _continue(self, names: Names, *, create: bool) -> Opened:
        """Open what is there without making it empty."""
        if self.store.terms.access is not Access.UPLOAD_ONLY:
            try:
                return Opened(self.store.modify(names, self.owner), False)
            except NotFoundError:
                pass
        partial = self.store.find_partial(names, self.owner)
        if partial is not None:
            return Opened(self.store.resume(partial.id, self.owner), True)
        if not create:
            raise NotFoundError("no such file or directory")
        return Opened(self.store.create(names, owner=self.owner), True)

    def remove(self, names: Names) -> None:
        """Remove a file, and with it the part of one that was to have this name."""
        partial = self.store.find_partial(names, self.owner) if names else None
        try:
            self.store.remove(names)
        except NotFoundError:
            if partial is None:
                raise
        if partial is not None:
            self.store.drop(partial.id, self.owner)

    def set_attributes(self, names: Names, wanted: wire.Attributes) -> None:
        """Give a file its size and its time of last change. Permissions are the same for all, and stay."""
        entry = self.look(names)
        if wanted.size is not None and wanted.size != entry.size:
            self._resize(names, wanted.size, wanted.modified)
        elif wanted.modified is not None:
            self.store.set_modified(names, wanted.modified)

    def _resize(self, names: Names, size: int, modified: float | None) -> None:
        if size > wire.MAX_OFFSET:
            raise TooLargeError("no file can be so long")
        upload = self.store.modify(names, self.owner) if size else self.store.create(names, owner=self.owner)
        try:
            upload.truncate(size)
            upload.commit(modified=modified)
        finally:
            upload.discard()  # where it was published, there is nothing to discard


def copy_piece(source: Upload | StoredFile, offset: int, length: int, target: Upload, at: int) -> int:
    """Copy some octets from one open file to another; how many: 0 where the source ends."""
    copied = 0
    while copied < min(length, COPY_PIECE) and offset + copied <= wire.MAX_OFFSET - _COPY:
        block = source.read(offset + copied, min(length - copied, _COPY))
        if not block:
            break
        if at + copied > wire.MAX_OFFSET - len(block):
            raise TooLargeError("no file can be so long")
        target.write(at + copied, block)
        copied += len(block)
    return copied
