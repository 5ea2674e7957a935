"""A disk that is full, or fails, under a running daemon: a small tmpfs where one may be mounted, or failing calls."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.waiting import wait_until

_ALONE = ("unshare", "--mount")  # a namespace of mounts that ends with the process
_MOUNT = 'mount -t tmpfs -o size={size} tmpfs "{place}" && exec "$@"'
# PR_SET_PTRACER with PR_SET_PTRACER_ANY, prctl(2): strace may attach later, whatever Yama says of strangers.
_TRACEABLE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


@cache
def may_mount() -> bool:
    """Whether a process of ours may mount a file system in a namespace of its own."""
    command = (*_ALONE, "mount", "-t", "tmpfs", "tmpfs", "/tmp")
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def small(place: Path, size: int) -> tuple[str, ...]:
    """What starts a command with a tmpfs of so many octets on a directory; nobody else sees it."""
    return (*_ALONE, "sh", "-c", _MOUNT.format(size=size, place=place), "sh")


def traceable() -> tuple[str, ...]:
    """What starts a command so that `failing` can be used."""
    return (sys.executable, "-c", _TRACEABLE)


@contextlib.contextmanager
def failing(pid: int, injection: str, scratch: Path) -> Iterator[None]:
    """Have system calls of a running process fail, and then no longer.

    :param injection: as strace(1) has it, such as ``fsync,fdatasync:error=EIO``.
    """
    said = scratch / "strace"
    calls = injection.partition(":")[0]
    with said.open("w") as out:
        strace = subprocess.Popen(
            [
                *("strace", "-f", "-p", str(pid), "-o", scratch / "trace"),
                *("-e", f"trace={calls}", "-e", f"inject={injection}"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=out,
        )
    try:
        wait_until(lambda: "attached" in said.read_text() or strace.poll() is not None, "strace does not attach")
        assert strace.poll() is None, said.read_text()
        yield
    finally:
        strace.terminate()  # it detaches from all threads, and then ends
        strace.wait()
