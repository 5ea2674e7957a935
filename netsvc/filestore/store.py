"""The store of one root, on the terms of one account.

All of it blocks; threads may share it. Paths are tuples of decoded names below the root; ``()`` is the root itself.
"""

from __future__ import annotations

import os
import stat
from errno import ENOTEMPTY

from netsvc.filestore.errors import BusyError, ExistsError, NotPermittedError, WrongTypeError
from netsvc.filestore.ground import translated
from netsvc.filestore.names import twin_key
from netsvc.filestore.publishing import check_state, expected, is_there, rename_new, standing
from netsvc.filestore.receiving import Receiving
from netsvc.filestore.records import id_of_part
from netsvc.filestore.room import Space


class FileStore(Receiving):
    """What may be done beneath a root: reading, receiving, and, here, what changes names.

    All methods raise :class:`.errors.StoreError`.

    :param root: absolute; it must be there when it is first used.
    :param terms: what the account may do.
    :param wall_clock: seconds since the epoch.
    :param steady_clock: seconds, never turned back.
    """

    def remove(self, names: tuple[str, ...], *, expects: bytes | None = None) -> None:
        """Remove a file.

        :param expects: SHA-256 that it must have at that moment.
        """
        self.may_change(names)
        names, found = self.composed(names, self.lstat)
        if stat.S_ISDIR(found.st_mode):
            raise WrongTypeError("a directory")
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise NotPermittedError("not a regular file")
        with self.beneath.directory(names[:-1]) as directory, translated():
            seen = None if expects is None else expected(self.commons, directory, names, expects)
            with self.commons.changing(directory, names[-1]) as change:
                if seen is not None:
                    check_state(standing(directory, names[-1]), seen)
                found = os.stat(names[-1], dir_fd=directory, follow_symlinks=False)
                with self.commons.room.leaving(found if stat.S_ISREG(found.st_mode) else None):
                    os.unlink(names[-1], dir_fd=directory)
                change.removed(names[-1])
            os.fsync(directory)
        self.commons.digests.forget(names)

    def rename(self, old: tuple[str, ...], new: tuple[str, ...], *, replace: bool = False) -> None:
        """Rename a file or a directory, within the root.

        :param replace: whether a file may take the place of another one.
        """
        self.may_change(old)
        new = self.new(new)
        old, source = self.composed(old, self.lstat)
        if not (stat.S_ISREG(source.st_mode) or stat.S_ISDIR(source.st_mode)):
            raise NotPermittedError("not a regular file")
        if old == new:
            return
        with self.beneath.directory(old[:-1]) as here, self.beneath.directory(new[:-1]) as there, translated():
            room = self.commons.room
            with self.commons.moving(here, old[-1], there, new[-1]) as (leaving, coming):
                source = os.stat(old[-1], dir_fd=here, follow_symlinks=False)
                target = standing(there, new[-1])
                if target is not None and not replace:
                    raise ExistsError("it exists")
                same = old[:-1] == new[:-1] and twin_key(old[-1]) == twin_key(new[-1])  # only its case changes
                if target is None and not same:
                    self.commons.twins.check(there, new[-1], case=self.terms.case_twins)
                with room.touching(source), room.leaving(target):
                    if target is not None and target.st_nlink > 1 and os.path.samestat(source, target):
                        os.unlink(old[-1], dir_fd=here)  # rename(2) does nothing with two names of one file
                    elif stat.S_ISDIR(source.st_mode) or not replace:
                        rename_new(here, old[-1], there, new[-1])
                    else:
                        os.rename(old[-1], new[-1], src_dir_fd=here, dst_dir_fd=there)
                leaving.removed(old[-1])
                if target is None:
                    coming.added(new[-1])
            os.fsync(there)
            if old[:-1] != new[:-1]:
                os.fsync(here)
        self.commons.digests.forget(old)

    def make_directory(self, names: tuple[str, ...]) -> None:
        """Make a directory in one that is there."""
        self.may_change(names)
        names = self.new(names)
        with self.beneath.directory(names[:-1]) as directory, translated():
            with self.commons.changing(directory, names[-1]) as change:
                if not is_there(directory, names[-1]):
                    self.commons.twins.check(directory, names[-1], case=self.terms.case_twins)
                os.mkdir(names[-1], self.terms.directory_mode, dir_fd=directory)
                change.added(names[-1])
            os.fsync(directory)

    def remove_directory(self, names: tuple[str, ...]) -> None:
        """Remove a directory that shows nothing. Uploads into it that nobody continues go with it."""
        self.may_change(names)
        names, found = self.composed(names, self.lstat)
        if not stat.S_ISDIR(found.st_mode):
            raise WrongTypeError("not a directory")
        with self.beneath.directory(names[:-1]) as directory, translated():
            with self.commons.changing(directory, names[-1]) as change:
                try:
                    os.rmdir(names[-1], dir_fd=directory)
                except OSError as error:
                    if error.errno != ENOTEMPTY:
                        raise
                    self._clear(names)
                    os.rmdir(names[-1], dir_fd=directory)
                change.removed(names[-1])
            os.fsync(directory)

    def set_modified(self, names: tuple[str, ...], seconds: float) -> None:
        """Set the time of last change of a file or a directory."""
        self.may_change(names)
        nanoseconds = int(seconds * 1_000_000_000)
        try:
            file = self.open(names)
        except WrongTypeError:
            with self.beneath.directory(names) as directory, translated():
                os.utime(directory, ns=(nanoseconds, nanoseconds))
            return
        try:
            with translated():
                digest = file.digest()
                os.utime(file.descriptor, ns=(nanoseconds, nanoseconds))
                if digest is not None and not self.commons.digests.keep(file.descriptor, digest):
                    self.commons.digests.index(file.names, os.fstat(file.descriptor), digest)
        finally:
            file.close()

    def space(self) -> Space:
        """What is free for the account."""
        return self.commons.room.space(self.terms)

    def _clear(self, names: tuple[str, ...]) -> None:
        """Give up the uploads into a directory that has nothing else, if nobody writes to them.

        :raises OSError: it has something else.
        """
        with self.beneath.directory(names) as directory:
            parts = [id_of_part(one) for one in os.listdir(directory)]
            if None in parts:
                raise OSError(ENOTEMPTY, os.strerror(ENOTEMPTY))
            for upload_id in filter(None, parts):
                try:
                    descriptor = self._open_part(directory, upload_id)
                except BusyError as error:
                    raise OSError(ENOTEMPTY, os.strerror(ENOTEMPTY)) from error
                try:
                    self._remove_part(directory, descriptor, upload_id)
                finally:
                    os.close(descriptor)
                self.commons.strike(upload_id)
