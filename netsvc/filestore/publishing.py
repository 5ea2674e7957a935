"""Gives a partial file its name, if that is still allowed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EINVAL, ENOSYS
from typing import TYPE_CHECKING

from netsvc.filestore import kernel
from netsvc.filestore.digests import sha256_of
from netsvc.filestore.errors import ChangedError, ExistsError, NotPermittedError, WrongTypeError
from netsvc.filestore.root import READ

if TYPE_CHECKING:
    from netsvc.filestore.commons import Commons
    from netsvc.filestore.records import Partial
    from netsvc.filestore.terms import Terms


def rename_new(directory: int, old: str, to: int, new: str) -> None:
    """Rename a file, but replace nothing.

    :raises FileExistsError: something is there.
    """
    try:
        kernel.rename_new(directory, os.fsencode(old), to, os.fsencode(new))
    except OSError as error:
        if error.errno not in (EINVAL, ENOSYS):  # file systems that know no such rename
            raise
        os.link(old, new, src_dir_fd=directory, dst_dir_fd=to, follow_symlinks=False)
        os.unlink(old, dir_fd=directory)


def standing(directory: int, name: str) -> os.stat_result | None:
    """What has a name in an open directory: a regular file, or nothing.

    :raises StoreError: something that no file can replace.
    """
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise WrongTypeError("a directory has this name")
    if not stat.S_ISREG(found.st_mode):
        raise NotPermittedError("what has this name is not a regular file")
    return found


def publish(commons: Commons, terms: Terms, directory: int, part: str, upload: Partial) -> None:
    """Give an upload its name. Nobody else's name changes meanwhile.

    :param directory: where both names are.
    :raises StoreError: it may not have it; nothing has changed.
    :raises OSError: likewise.
    """
    name = upload.names[-1]
    with commons.publishing, commons.twins.changing(directory):
        old = standing(directory, name)
        if upload.replaces is not None and digest_at(commons, directory, upload.names) != upload.replaces:
            raise ChangedError("the file has changed, or is gone")
        if old is None:
            commons.twins.check(directory, name, case=terms.case_twins)
        elif upload.if_absent:
            raise ExistsError("it exists")
        if upload.if_absent:
            rename_new(directory, part, directory, name)
        else:
            os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
        commons.twins.added(directory, name)
    if old is not None and old.st_nlink == 1:
        commons.room.give_back(old.st_size)


def digest_at(commons: Commons, directory: int, names: tuple[str, ...]) -> bytes | None:
    """The SHA-256 of the file that has a name in an open directory; None where there is none."""
    with suppress(FileNotFoundError):
        descriptor = os.open(names[-1], READ | os.O_NOFOLLOW, dir_fd=directory)
        try:
            found = os.fstat(descriptor)
            return commons.digests.kept(descriptor, names, found) or sha256_of(descriptor)
        finally:
            os.close(descriptor)
    return None


def is_there(directory: int, name: str) -> bool:
    """Whether anything has a name in an open directory."""
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        return True
    return False
