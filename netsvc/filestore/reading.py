"""What is there: files, directories, digests."""

from __future__ import annotations

import os
import stat

from netsvc.filestore.access import Access
from netsvc.filestore.digests import sha256_of
from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import NotFoundError, NotPermittedError
from netsvc.filestore.ground import Ground, translated
from netsvc.filestore.listing import Listing
from netsvc.filestore.stored import StoredFile

# Seconds within which two changes of a file may get the same time: two of them on FAT. So long another change may come
# that nobody could see.
TICK = 2.0


class Reading(Ground):
    """See :class:`.store.FileStore`."""

    def open(self, names: tuple[str, ...]) -> StoredFile:
        """Open a file for reading."""
        self.may_read()
        names, (descriptor, found) = self.composed(names, self.beneath.open_file)
        return StoredFile(names, descriptor, found, self.commons.digests)

    def stat(self, names: tuple[str, ...]) -> Entry:
        """What is there. An upload-only account sees directories."""
        if self.terms.access is Access.UPLOAD_ONLY:
            _, found = self.composed(names, self.beneath.look)
            if not stat.S_ISDIR(found.st_mode):
                raise NotFoundError("no such file or directory")
            return Entry(names[-1] if names else "", True, 0, found.st_mtime_ns)
        names, found = self.composed(names, self.beneath.look)
        if stat.S_ISDIR(found.st_mode):
            return Entry(names[-1] if names else "", True, 0, found.st_mtime_ns)
        if not stat.S_ISREG(found.st_mode):
            raise NotPermittedError("not a regular file")
        return Entry(names[-1], False, found.st_size, found.st_mtime_ns)

    def listing(self, names: tuple[str, ...], *, digests: bool = False) -> Listing:
        """Open a directory for reading.

        :param digests: whether each file's kept digest is told, which opens each.
        """
        self.may_read()
        _, found = self.composed(
            names, lambda names: Listing(self.beneath, names, self.commons.digests if digests else None)
        )
        return found

    def digest(self, names: tuple[str, ...]) -> bytes:
        """The SHA-256 of a file: as it is kept, or computed now and kept."""
        file = self.open(names)
        try:
            return self.digest_of(file)
        finally:
            file.close()

    def digest_of(self, file: StoredFile) -> bytes:
        """That of an open file, whatever has its name by now."""
        kept = file.digest()
        if kept is not None:
            return kept
        with translated():
            found = sha256_of(file.descriptor)
        self.keep_digest(file, found)
        return found

    def keep_digest(self, file: StoredFile, found: bytes) -> None:
        """Keep the SHA-256 of an open file, if it is sure to be still what was read."""
        with translated():
            now = os.fstat(file.descriptor)
            same = (now.st_size, now.st_mtime_ns) == (file.stat.st_size, file.stat.st_mtime_ns)
            old = abs(self.commons.wall_clock() - now.st_mtime) > TICK
            if same and old and not self.commons.digests.keep(file.descriptor, found):
                self.commons.digests.index(file.names, now, found)
