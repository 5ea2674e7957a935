"""What the kernel says of processes: their state, their children, the environment they began with. Linux, proc(5).

Elsewhere, and for processes that are gone or another user's, the answers are empty.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

from attrs import frozen

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2), Linux 3.4


@frozen
class Status:
    """A process as /proc/PID/stat has it.

    :param alive: whether it is more than a zombie.
    :param group: its process group.
    :param session: its session.
    """

    alive: bool
    group: int
    session: int


def become_subreaper() -> bool:
    """Make orphans among the descendants of this process its children, instead of init's; whether that is so now."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # another system
        return False


def status_of(pid: int) -> Status | None:
    """The state of a process, zombies included; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            state, _, group, session = stream.read().rpartition(b")")[2].split()[:4]  # a name can hold ")"
    except (OSError, ValueError):
        return None
    return Status(state not in b"ZX", int(group), int(session))


def children_of(pid: int) -> set[int]:
    """What a process has started, or inherited as a subreaper, and not reaped (needs CONFIG_PROC_CHILDREN)."""
    found: set[int] = set()
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:
                found.update(map(int, stream.read().split()))
    return found


def tree_of(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:  # grows meanwhile
        found += children_of(one) - set(found)
    return found


def variable_of(pid: int, name: bytes) -> bytes | None:
    """A variable of the environment that a process was started with."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            environ = b"\0" + stream.read()
    except OSError:
        return None
    _, found, rest = environ.partition(b"\0" + name + b"=")
    return rest.partition(b"\0")[0] if found else None


def all_processes() -> list[int]:
    """The numbers of all processes."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []
