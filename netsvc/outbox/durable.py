"""Whether a directory can keep what is promised: asked once at start, before anything is accepted. Blocking.

File systems in memory lose everything with the power; those of the network say that they wrote what another machine has
not, and their locks do not hold. Where the kernel cannot be asked, the probe alone decides.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from netsvc.errors import StartError
from netsvc.outbox.directories import make_directories, sync_directory

# statfs(2), linux/magic.h: what is no disk of this machine.
_VOLATILE = {
    0x01021994: "tmpfs, which is in memory",
    0x858458F6: "ramfs, which is in memory",
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x01021997: "9p, a directory of another machine",
    0x5346414F: "AFS",
}
_OVERLAY = 0x794C7630  # as durable as its upper layer, but for its mount option `volatile`, which ignores fsync
_STATFS = 256  # octets, more than any struct statfs; f_type is its first word
_PROBE = ".durable-probe"
_CANNOT = "the queue {directory} cannot be durable: {reason}; choose another queue_directory, or set allow_volatile"


def check_durable(
    directory: Path,
    *,
    allow_volatile: bool = False,
    magic: Callable[[Path], int] | None = None,
    mounts: Path = Path("/proc/self/mountinfo"),
) -> None:
    """Make the directory, and refuse it when what is written there may be gone after a power cut.

    :param allow_volatile: take it all the same, if only it can be written.
    :param magic: the file system's number, as statfs(2) gives it.
    :raises StartError: one line with the reason.
    """
    try:
        make_directories(directory)
        _probe(directory)
    except OSError as error:
        raise StartError(f"the queue {directory} cannot be used: {error.strerror}") from None
    if allow_volatile:
        return
    number = (magic or _magic)(directory)
    if number in _VOLATILE:
        raise StartError(_CANNOT.format(directory=directory, reason=f"it is on {_VOLATILE[number]}"))
    if number == _OVERLAY and "volatile" in _options(directory.resolve(), mounts):
        raise StartError(_CANNOT.format(directory=directory, reason="its overlay is mounted volatile"))
    if "eatmydata" in os.environ.get("LD_PRELOAD", ""):
        raise StartError(_CANNOT.format(directory=directory, reason="libeatmydata makes fsync do nothing"))


def _probe(directory: Path) -> None:
    """Write, bring to the disk, read back, remove: with what the queue itself will do."""
    path = directory / _PROBE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, b"netsvc")
        os.fsync(descriptor)
        sync_directory(directory)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _magic(directory: Path) -> int:
    """f_type of statfs(2); 0 where the C library cannot be asked."""
    try:
        statfs = ctypes.CDLL(None, use_errno=True).statfs
    except (OSError, AttributeError):
        return 0
    about = ctypes.create_string_buffer(_STATFS)
    if statfs(os.fsencode(directory), about) != 0:
        return 0
    (number,) = struct.unpack_from("@L", about.raw)
    return int(number) & 0xFFFFFFFF


def _options(directory: Path, mounts: Path) -> set[str]:
    """The options of the file system that a directory is on, proc_pid_mountinfo(5)."""
    best, options = "", set[str]()
    for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
        mount, _, rest = line.partition(" - ")
        point = mount.split()[4]
        if directory.is_relative_to(point) and len(point) >= len(best):
            best, options = point, set(rest.split()[2].split(","))
    return options
