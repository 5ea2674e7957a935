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

_CHANGED = "the file has changed, or is gone"


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
    """Give an upload its name. What has it, or one that could be taken for it, does not change hands meanwhile.

    :param directory: where both names are.
    :raises StoreError: it may not have it; nothing has changed.
    :raises OSError: likewise.
    """
    name = upload.names[-1]
    seen = None if upload.replaces is None else expected(commons, directory, upload.names, upload.replaces)
    with commons.changing(directory, name) as change:
        old = standing(directory, name)
        if seen is not None:
            check_state(old, seen)
        if old is None:
            commons.twins.check(directory, name, case=terms.case_twins)
        elif upload.if_absent:
            raise ExistsError("it exists")
        if upload.if_absent:
            rename_new(directory, part, directory, name)
        else:
            with commons.room.leaving(old):
                os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
        if old is None:
            change.added(name)


def state(found: os.stat_result) -> tuple[int, ...]:
    """What is another when a file is another, or was written to."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def expected(commons: Commons, directory: int, names: tuple[str, ...], digest: bytes) -> tuple[int, ...]:
    """The state of a file in an open directory that has this SHA-256.

    Perhaps all of it is read for that: hold nothing that others wait for, and let :func:`check_state` decide later.

    :raises ChangedError: there is none.
    """
    with suppress(FileNotFoundError):
        descriptor = os.open(names[-1], READ | os.O_NOFOLLOW, dir_fd=directory)
        try:
            found = os.fstat(descriptor)
            if (commons.digests.kept(descriptor, names, found) or sha256_of(descriptor)) == digest:
                return state(found)
        finally:
            os.close(descriptor)
    raise ChangedError(_CHANGED)


def check_state(found: os.stat_result | None, seen: tuple[int, ...]) -> None:
    """Whether a file is still what was seen.

    :raises ChangedError: it is not.
    """
    if found is None or state(found) != seen:
        raise ChangedError(_CHANGED)


def is_there(directory: int, name: str) -> bool:
    """Whether anything has a name in an open directory."""
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        return True
    return False
