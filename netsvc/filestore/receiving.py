"""What comes: uploads, begun, continued, given up, swept away."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Mapping
from unicodedata import normalize

from netsvc.filestore.access import Access
from netsvc.filestore.commons import Commons
from netsvc.filestore.digests import sha256_of
from netsvc.filestore.errors import (
    BusyError,
    ExistsError,
    MismatchError,
    NotFoundError,
    OffsetError,
    QuotaError,
    StaleError,
    StoreError,
)
from netsvc.filestore.ground import translated
from netsvc.filestore.publishing import standing
from netsvc.filestore.reading import Reading
from netsvc.filestore.records import Partial, part_name
from netsvc.filestore.root import DIRECTORY
from netsvc.filestore.sweeping import sweep
from netsvc.filestore.upload import Upload

STRANGERS = 10  # times as many uploads as one has may be begun by all together who are nobody in particular

_PART = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Receiving(Reading):
    """See :class:`.store.FileStore`."""

    def create(
        self,
        names: tuple[str, ...],
        *,
        owner: str = "",
        source: str = "",
        size: int | None = None,
        digest: bytes | None = None,
        if_absent: bool = False,
        replaces: bytes | None = None,
        lasting: bool = False,
        resumable: bool = True,
        meta: Mapping[str, str] | None = None,
    ) -> Upload:
        """Begin a file. A kept part of the same owner for the same name is given up.

        :param owner: who may continue it; "" is nobody in particular.
        :param source: where such a one comes from.
        :param size: octets that it will have, for which room is set aside now; None: not known.
        :param digest: SHA-256 that it must have.
        :param if_absent: whether it may replace nothing.
        :param replaces: SHA-256 that the file must have which it replaces.
        :param lasting: whether it must be known after a crash from its beginning on. Of those an owner may have
            so many, since they cost a file and a record each before any quota counts an octet; those who are nobody
            in particular so many from each source, and STRANGERS times as many together.
        :param resumable: whether it may be continued when its connection is lost: that costs a sync now and then.
        :param meta: what the door wants to know when it is continued.
        """
        commons = self.commons
        names, directory = self.open_new(names)
        if_absent = if_absent or self.terms.access is Access.UPLOAD_ONLY
        try:
            with translated():
                commons.anchor()
                old = standing(directory, names[-1])
                if old is not None and if_absent:
                    raise ExistsError("it exists")
                if old is None:
                    commons.twins.check(directory, names[-1], case=self.terms.case_twins)
                kept = commons.kept(names, owner)
            for one in kept:
                with contextlib.suppress(BusyError):  # somebody continues it
                    self._drop(one)
            partial = Partial(
                id=secrets.token_hex(16),
                names=names,
                owner=owner,
                source=source,
                digest=digest,
                if_absent=if_absent,
                replaces=replaces,
                lasting=lasting,
                expires=commons.wall_clock() + self.terms.keep_partials,
                meta=meta or {},
            )
            descriptor = self._make_part(commons, directory, partial.id)
        except BaseException:
            os.close(directory)
            raise
        upload = Upload(
            commons, self.terms, directory, descriptor, partial, running=hashlib.sha256(), resumable=resumable
        )
        try:
            self._check_unfinished(partial)
            return self._begun(upload, size)
        except BaseException:
            upload.discard()
            raise

    def modify(self, names: tuple[str, ...], owner: str = "") -> Upload:
        """Begin a file that replaces one, with a copy of what that has."""
        file = self.open(names)
        try:
            upload = self.create(file.names, owner=owner)
            try:
                upload.copy(file.descriptor, file.size)
            except BaseException:
                upload.discard()
                raise
            return upload
        finally:
            file.close()

    def partial(self, upload_id: str, owner: str) -> Partial:
        """What is known of an upload. Of another's, nothing is."""
        with translated():
            found = self.commons.partial(upload_id)
        if found is None or found.owner != owner:
            raise NotFoundError("no such upload")
        return found

    def find_partial(self, names: tuple[str, ...], owner: str) -> Partial | None:
        """The owner's upload that is to have this name: of several, the one that has come furthest."""
        names = (*names[:-1], normalize("NFC", names[-1])) if names else names
        with translated():
            partials = self.commons.partials()
        found = [one for one in partials if one.owner == owner and one.names == names and one.offset]
        return max(found, key=lambda one: one.offset, default=None)

    def recorded(self, upload_id: str, owner: str) -> Partial:
        """As :meth:`partial`, but as it is written down: ``prefix`` is the digest of the first ``offset`` octets.

        One that is written to at this moment is synced for that.
        """
        self.partial(upload_id, owner)
        active = self.commons.active(upload_id)
        if active is not None:
            with contextlib.suppress(StaleError):  # it was closed meanwhile
                return active.recorded()
        return self.partial(upload_id, owner)

    def resume(self, upload_id: str, owner: str, offset: int | None = None) -> Upload:
        """Continue an upload. Whoever still writes to it, over a connection that is perhaps dead, does no more.

        :param offset: where the peer believes that it stands.
        """
        self.may_write()
        self.partial(upload_id, owner)
        active = self.commons.active(upload_id)
        if active is not None:
            active.keep("the upload was continued by another connection")
        partial = self.partial(upload_id, owner)
        with contextlib.ExitStack() as opened:
            try:
                directory = self.beneath.open(partial.names[:-1], DIRECTORY)
                opened.callback(os.close, directory)
                descriptor = self._open_part(directory, upload_id)
                opened.callback(os.close, descriptor)
            except NotFoundError:
                self.commons.strike(upload_id)
                raise
            partial = self.partial(upload_id, owner)  # now that nobody else writes to it any more
            if offset is not None and offset != partial.offset:
                raise OffsetError(partial.offset)
            running = self._verified(directory, descriptor, partial)
            opened.pop_all()
        upload = Upload(self.commons, self.terms, directory, descriptor, partial, running=running)
        try:
            return self._begun(upload, partial.size)
        except BaseException:
            with contextlib.suppress(StoreError):
                upload.keep()
            raise

    def drop(self, upload_id: str, owner: str) -> None:
        """Give an upload up, also one that is written to at this moment.

        :raises BusyError: another process writes to it, or somebody is about to continue it.
        """
        partial = self.partial(upload_id, owner)
        active = self.commons.active(upload_id)
        if active is not None:
            active.discard()
        else:
            self._drop(partial)

    def sweep(self) -> int:
        """Remove uploads whose time is over, and partial files that nobody knows; how many."""
        removed = 0
        with translated():
            expired = self.commons.expired(self.terms.keep_partials)
        for one in expired:
            with contextlib.suppress(BusyError):  # somebody continues it
                self._drop(one)
                removed += 1
        return removed + sweep(self.commons)

    def _check_unfinished(self, new: Partial) -> None:
        """Whether one more upload may be there; it is there already, so that of many at once none is overlooked.

        :raises QuotaError: its owner has as many as he may have.
        """
        most = self.terms.unfinished
        if most is None or not new.lasting:
            return
        with translated():
            partials = self.commons.partials()
        sources = [one.source for one in partials if one.lasting and one.owner == new.owner]
        if sources.count(new.source) > most:
            raise QuotaError(f"{most} uploads are unfinished, and no more are kept: finish some, or delete them")
        if not new.owner and len(sources) > STRANGERS * most:
            raise QuotaError("too many uploads are unfinished, and no more are kept for now")

    def _make_part(self, commons: Commons, directory: int, upload_id: str) -> int:
        with translated(), commons.twins.changing(directory):
            descriptor = os.open(part_name(upload_id), _PART | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                os.unlink(part_name(upload_id), dir_fd=directory)
                raise
        return descriptor

    def _open_part(self, directory: int, upload_id: str) -> int:
        """Open and lock the partial file of an upload, so that nobody else writes to it or removes it.

        :raises BusyError: somebody has it locked.
        :raises NotFoundError: it is gone.
        """
        with translated():
            descriptor = os.open(part_name(upload_id), _PART, dir_fd=directory)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                names = os.fstat(descriptor).st_nlink
                if names > 1:  # published by a link, and then came a crash
                    self._remove_part(directory, descriptor, upload_id)
                if names != 1:
                    raise NotFoundError("no such upload")
            except BaseException as error:
                os.close(descriptor)
                if isinstance(error, BlockingIOError):
                    raise BusyError("somebody else writes to the upload") from error
                raise
        return descriptor

    def _remove_part(self, directory: int, descriptor: int, upload_id: str) -> None:
        """Remove a partial file that is open and locked."""
        with (
            translated(),
            self.commons.twins.changing(directory),
            self.commons.room.leaving(os.fstat(descriptor)),
        ):
            os.unlink(part_name(upload_id), dir_fd=directory)

    def _verified(self, directory: int, descriptor: int, partial: Partial) -> hashlib._Hash:
        """The running digest of what is there, if that is what was there when it was last synced.

        :raises MismatchError: it is not; the upload is gone.
        """
        with translated():
            running = self.commons.recall(partial.id, os.fstat(descriptor))
            if running is None:
                running = hashlib.sha256()
                sha256_of(descriptor, 0, partial.offset, running)
            found = os.fstat(descriptor)
            if found.st_size < partial.offset or (partial.prefix and running.digest() != partial.prefix):
                self._remove_part(directory, descriptor, partial.id)
                self.commons.strike(partial.id)
                raise MismatchError("what had come of the upload is damaged: it begins anew")
            with self.commons.room.touching(found) as account:
                os.ftruncate(descriptor, partial.offset)
                self.commons.room.give_back(found.st_size - partial.offset, account)
        return running

    def _begun(self, upload: Upload, size: int | None) -> Upload:
        """An upload that has its room, and its record if it needs one."""
        if size is not None:
            upload.declare(size)
        if upload.partial().lasting:
            upload.sync()
        return upload

    def _drop(self, partial: Partial) -> None:
        """Remove the partial file of an upload that nobody writes to, and its record.

        :raises BusyError: somebody does write to it.
        """
        with contextlib.suppress(NotFoundError), self.beneath.directory(partial.names[:-1]) as directory:
            descriptor = self._open_part(directory, partial.id)
            try:
                self._remove_part(directory, descriptor, partial.id)
            finally:
                os.close(descriptor)
        self.commons.strike(partial.id)
