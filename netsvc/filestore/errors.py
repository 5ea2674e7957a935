"""What the store refuses. Every text is fit for a peer and a log: it names no path outside the root."""

from __future__ import annotations

import errno


class StoreError(Exception):
    """Something was refused or failed.

    :ivar reason: one phrase.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotFoundError(StoreError):
    """Nothing is there."""


class ExistsError(StoreError):
    """Something is there, under this name or under one that could be taken for it."""


class BadNameError(StoreError):
    """No file may have this name."""


class NotPermittedError(StoreError):
    """The account may not, the way leaves the root, or it is neither a file nor a directory."""


class WrongTypeError(StoreError):
    """A directory where a file is wanted, or the other way round."""


class NotEmptyError(StoreError):
    """The directory has something in it."""


class TooLargeError(StoreError):
    """Longer than any file may be, or than was declared."""


class QuotaError(StoreError):
    """What the account may have is used up: its room, or its number of unfinished uploads."""


class NoSpaceError(StoreError):
    """The disk is full, would have less free than must stay free, or the system gives the daemon no more of it."""


class MismatchError(StoreError):
    """The octets are not those that were promised: nothing was published."""


class ChangedError(StoreError):
    """What was to be replaced is no longer what it was."""


class StaleError(StoreError):
    """The upload was taken over, has expired, or is closed."""


class OffsetError(StoreError):
    """The upload does not stand where the peer believes.

    :ivar offset: where it stands, octets.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload stands at octet {offset}")
        self.offset = offset


class BusyError(StoreError):
    """The machine is out of something that comes back: descriptors, memory. Later it may do."""


class BrokenError(StoreError):
    """The disk failed."""


_OF_ERRNO: dict[int, tuple[type[StoreError], str]] = {
    errno.ENOENT: (NotFoundError, "no such file or directory"),
    errno.EEXIST: (ExistsError, "it exists"),
    errno.ENOTDIR: (WrongTypeError, "not a directory"),
    errno.EISDIR: (WrongTypeError, "a directory"),
    errno.ENOTEMPTY: (NotEmptyError, "the directory is not empty"),
    errno.EACCES: (NotPermittedError, "permission denied"),
    errno.EPERM: (NotPermittedError, "not permitted"),
    errno.EROFS: (NotPermittedError, "the disk is read-only"),
    errno.EBUSY: (NotPermittedError, "it is in use by the system"),
    errno.EXDEV: (NotPermittedError, "the way leaves the root"),
    errno.ELOOP: (NotPermittedError, "a symbolic link that is not followed"),
    errno.ENXIO: (NotPermittedError, "not a regular file"),
    errno.ENODEV: (NotPermittedError, "not a regular file"),
    errno.ENAMETOOLONG: (BadNameError, "the name is too long"),
    errno.EINVAL: (BadNameError, "the system takes no such name or value"),
    errno.EILSEQ: (BadNameError, "the file system takes no such name"),
    errno.EFBIG: (TooLargeError, "longer than the file system takes"),
    errno.ENOSPC: (NoSpaceError, "no space left"),
    errno.EDQUOT: (NoSpaceError, "the disk quota of the daemon's user is used up"),
    errno.EMFILE: (BusyError, "out of file descriptors"),
    errno.ENFILE: (BusyError, "the system is out of file descriptors"),
    errno.ENOMEM: (BusyError, "out of memory"),
    errno.EAGAIN: (BusyError, "the directory is changing"),
}


def store_error(error: OSError) -> StoreError:
    """What an error of the system means here."""
    kind, reason = _OF_ERRNO.get(error.errno or 0, (BrokenError, f"the disk failed ({error.strerror})"))
    return kind(reason)
