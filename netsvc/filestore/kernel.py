"""System calls that Python has not: openat2, renameat2, fallocate, sync_file_range. They release the interpreter."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

BENEATH = 0x08  # RESOLVE_*, linux/openat2.h
NO_MAGICLINKS = 0x02
NO_SYMLINKS = 0x04

_OPENAT2 = 437  # the same on every architecture: unified since Linux 5.1
_KEEP_SIZE = 0x01  # FALLOC_FL_KEEP_SIZE, linux/falloc.h
_NO_REPLACE = 0x01  # RENAME_NOREPLACE, linux/fs.h
_BEGIN_WRITING = 0x02  # SYNC_FILE_RANGE_WRITE, linux/fs.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _failed(result: int) -> bool:
    return result < 0


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Open a path relative to a directory, under rules for the whole way (openat2(2)).

    :raises OSError: ENOSYS where the kernel has no such call (before 5.6, or a filter of system calls).
    """
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    result: int = _libc.syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if _failed(result):
        raise _error()
    return result


@cache
def has_openat2() -> bool:
    """Whether this kernel has openat2, and nothing forbids it."""
    try:
        os.close(openat2(-100, b"/", os.O_PATH | os.O_DIRECTORY, NO_MAGICLINKS))  # AT_FDCWD
    except OSError:
        return False
    return True


def rename_new(directory: int, old: bytes, to: int, new: bytes) -> None:
    """Rename, but replace nothing.

    :raises FileExistsError: something has the new name.
    :raises OSError: EINVAL where the file system cannot do it so.
    """
    if _failed(_libc.renameat2(directory, old, to, new, _NO_REPLACE)):
        raise _error()


def allocate(descriptor: int, length: int) -> bool:
    """Have the disk set aside room for so many octets, without a change of the file's length; whether it can do that.

    :raises OSError: ENOSPC: there is no room.
    """
    if not _failed(_libc.fallocate(descriptor, _KEEP_SIZE, 0, length)):
        return True
    error = _error()
    if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        return False
    raise error


def begin_writing(descriptor: int, offset: int, length: int) -> None:
    """Have the kernel begin to write octets to the disk, and wait for nothing: the sync at the end is then short.

    It promises nothing, so that no fault of it matters: a failed disk is told of by the sync.
    """
    _libc.sync_file_range(descriptor, offset, length, _BEGIN_WRITING)
