"""Becomes an unprivileged user for good, and makes sure of the state directory before that.

Every call to the system goes through :class:`System`, so that tests need no root.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from netsvc.errors import StartError, printable


@frozen(kw_only=True)
class System:
    """The calls that are made, by their names in os, pwd and grp."""

    getpwnam: Callable[[str], Any] = pwd.getpwnam
    getpwuid: Callable[[int], Any] = pwd.getpwuid
    getgrnam: Callable[[str], Any] = grp.getgrnam
    getgrouplist: Callable[[str, int], list[int]] = os.getgrouplist
    getgroups: Callable[[], list[int]] = os.getgroups
    setgroups: Callable[[list[int]], None] = os.setgroups
    getresuid: Callable[[], tuple[int, int, int]] = os.getresuid
    getresgid: Callable[[], tuple[int, int, int]] = os.getresgid
    setresuid: Callable[[int, int, int], None] = os.setresuid
    setresgid: Callable[[int, int, int], None] = os.setresgid


SYSTEM = System()


@frozen
class Identity:
    """Who the daemon is to be.

    :param uid: user, or None when it stays what it is.
    :param gid: primary group.
    :param groups: all groups.
    :param text: in words, for error lines.
    """

    uid: int | None
    gid: int
    groups: frozenset[int]
    text: str


def identity(user: str | None, group: str | None, system: System = SYSTEM) -> Identity | None:
    """Look a user and a group up, each a name or a number. None when neither is given.

    :raise StartError: one does not exist, or a user without an entry has no group.
    """
    if not user and not group:
        return None
    gid = None if not group else _gid(group, system)
    if not user:
        assert gid is not None  # noqa: S101  one of the two is given
        return Identity(None, gid, frozenset({gid}), printable(f"group {group!r}"))
    entry = _user(user, system)
    words = printable(f"user {user!r}" + (f" and group {group!r}" if group else ""))
    if entry is None:  # a number that no entry names, as containers have it
        if gid is None:
            raise StartError(printable(f"user {user!r} has no entry and so no group: set group as well"))
        return Identity(int(user), gid, frozenset({gid}), words)
    primary = entry.pw_gid if gid is None else gid
    return Identity(entry.pw_uid, primary, frozenset(system.getgrouplist(entry.pw_name, primary)), words)


def drop(user: str | None, group: str | None, system: System = SYSTEM) -> None:
    """Become a user and group for good, with the user's groups, and make sure that there is no way back.

    Nothing happens when neither is given or the process is them already.

    :raise StartError: it cannot be done; the process must not go on.
    """
    wanted = identity(user, group, system)
    if wanted is None or _is_already(wanted, system):
        return
    try:
        system.setgroups(sorted(wanted.groups))
        system.setresgid(wanted.gid, wanted.gid, wanted.gid)
        if wanted.uid is not None:
            system.setresuid(wanted.uid, wanted.uid, wanted.uid)
    except OSError as error:
        hint = " (only root can)" if isinstance(error, PermissionError) else ""
        raise StartError(f"cannot become {wanted.text}: {error.strerror or error}{hint}") from None
    if not _is_already(wanted, system) or not set(system.getgroups()) <= wanted.groups | {wanted.gid}:
        raise StartError(f"cannot become {wanted.text}: the system says it is done, but it is not")
    if wanted.uid:
        _make_sure_of_no_way_back(wanted, system)


def _user(user: str, system: System) -> Any:
    try:
        return system.getpwuid(int(user)) if _is_number(user) else system.getpwnam(user)
    except (KeyError, OverflowError):
        if _is_number(user):
            return None
        raise StartError(printable(f"there is no user {user!r}")) from None


def _gid(group: str, system: System) -> int:
    if _is_number(group):
        return int(group)
    try:
        return int(system.getgrnam(group).gr_gid)
    except KeyError:
        raise StartError(printable(f"there is no group {group!r}")) from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_already(wanted: Identity, system: System) -> bool:
    uids = system.getresuid()
    if uids != (uids[1] if wanted.uid is None else wanted.uid,) * 3 or system.getresgid() != (wanted.gid,) * 3:
        return False
    # Only root can give groups up, and root still holding some is not there yet.
    return uids[1] != 0 or set(system.getgroups()) <= wanted.groups


def _make_sure_of_no_way_back(wanted: Identity, system: System) -> None:
    try:
        system.setresuid(0, 0, 0)
    except OSError:
        return
    raise StartError(f"became {wanted.text}, but could become root again: take CAP_SETUID away")


def check_state_directory(
    path: Path, user: str | None = None, group: str | None = None, system: System = SYSTEM
) -> None:
    """Make the state directory, mode 0700, or make sure of the one that is there. Call it before :func:`drop`.

    One that is missing or empty is made right: mode, and owner when privileges will drop. One that has something in
    it must belong to the daemon's user and be closed to writing by others; reading is taken from others, except from
    root's own directory, which may be /etc, named by mistake. Symbolic links are followed only where root or this
    user made them (systemd's DynamicUser has one). Everything is done to one open descriptor, so that nothing can be
    exchanged meanwhile.

    :param user: who the daemon will be, as for :func:`drop`.
    :param group: likewise.
    :raise StartError: the directory cannot be had or trusted.
    """
    owner = identity(user, group, system)
    uid = os.geteuid() if owner is None or owner.uid is None else owner.uid
    try:
        descriptor = _opened_directory(path, owner is not None)
        try:
            _make_right(descriptor, uid, None if owner is None else owner.gid)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartError(
            printable(f"cannot use the state directory {str(path)!r}: {error.strerror or error}")
        ) from None


def _opened_directory(path: Path, dropping: bool) -> int:
    if path.is_symlink():
        if path.lstat().st_uid not in (0, os.geteuid()):
            raise OSError("it is a symbolic link of another user")
        path = Path(os.path.realpath(path))
    parents = [one for one in reversed(path.parents) if not one.exists()]
    mask = os.umask(0o022 if dropping else 0o077)  # who privileges drop to must get through the parents
    try:
        for missing in parents:
            missing.mkdir(exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    finally:
        os.umask(mask)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _make_right(descriptor: int, uid: int, gid: int | None) -> None:
    found = os.fstat(descriptor)
    mode = stat.S_IMODE(found.st_mode)
    empty = not os.listdir(descriptor)
    if mode & stat.S_ISVTX:  # everybody's, such as /tmp
        raise OSError("it is shared by all users (its sticky bit is set)")
    if empty and os.geteuid() == 0 and (found.st_uid != uid or (gid is not None and found.st_gid != gid)):
        os.fchown(descriptor, uid, -1 if gid is None else gid)
    elif found.st_uid != uid:
        raise OSError(
            f"it belongs to uid {found.st_uid}, not to {uid}, and is not empty"
            if not empty
            else f"it belongs to uid {found.st_uid}, not to {uid}"
        )
    if mode & 0o022 and not empty:
        raise OSError(f"others can write there (mode {mode:04o})")
    if mode & 0o077:
        if not empty and uid == 0:  # it may be /etc, named by mistake
            raise OSError(f"it is open to others (mode {mode:04o}) and not empty; chmod 0700 it if it is the right one")
        os.fchmod(descriptor, 0o700)
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor):
        raise OSError("it is not writable")
