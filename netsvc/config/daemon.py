"""Options of the daemon itself, the section [netsvc], and where its state goes when no file says so."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.errors import BadValue

SECTION = "netsvc"  # the daemon's section; no kind may have this word
HIGHEST_ID = (1 << 32) - 2  # uid_t is 32 bits on Linux and -1 means "unchanged", setreuid(2)


def patterns() -> ValueType[tuple[str, ...]]:
    """Globs, one a line (a file name may have spaces); kept as text because the files are found at each load."""

    def parse(value: str, _: Context) -> tuple[str, ...]:
        return tuple(line for line in value.split("\n") if line)

    return ValueType(name="globs", bounds="one a line", parse=parse, show="\n".join, multiline=True)


def user_name() -> ValueType[str | None]:
    """The name (or number) of a user of this machine."""

    def parse(value: str, _: Context) -> str:
        return _known(value, "user", _is_user, [one.pw_name for one in pwd.getpwall()])

    return ValueType(name="user", bounds="a user of this machine", parse=parse, show=str)


def group_name() -> ValueType[str | None]:
    """The name (or number) of a group of this machine."""

    def parse(value: str, _: Context) -> str:
        return _known(value, "group", _is_group, [one.gr_name for one in grp.getgrall()])

    return ValueType(name="group", bounds="a group of this machine", parse=parse, show=str)


def _is_user(value: str | int) -> bool:
    try:
        return bool(pwd.getpwuid(value) if isinstance(value, int) else pwd.getpwnam(value))
    except KeyError:
        return False


def _is_group(value: str | int) -> bool:
    try:
        return bool(grp.getgrgid(value) if isinstance(value, int) else grp.getgrnam(value))
    except KeyError:
        return False


def _known(value: str, what: str, is_known: Callable[[str | int], bool], names: list[str]) -> str:
    if value.isascii() and value.isdigit():
        known = len(value) <= len(str(HIGHEST_ID)) and int(value) <= HIGHEST_ID and is_known(int(value))
    else:
        known = bool(value) and "\0" not in value and is_known(value)
    if not known:
        raise BadValue(f"this machine has no {what} {value!r}", suggestion=values.nearest(value, names))
    return value


@frozen(kw_only=True)
class DaemonSettings:
    """Options of the daemon itself: what other files it reads, where its state goes, who it is, what it logs."""

    include: tuple[str, ...] = option(
        patterns(), default=(), help="Other files to read, as globs; relative ones start at this file's directory."
    )
    # Never None in a Plan: the loader puts default_state_directory() here when no file names one.
    state_directory: Path = option(
        values.path(),
        default=None,
        help="Where queues and other state are kept; else $STATE_DIRECTORY (systemd), $XDG_STATE_HOME/netsvc or "
        "~/.local/state/netsvc.",
    )
    user: str | None = option(
        user_name(), default=None, help="Become this user once every socket is bound; only root can."
    )
    group: str | None = option(group_name(), default=None, help="Become this group; without it, the user's own groups.")
    log_format: str = option(
        values.choice("text", "json"), default="text", help="Lines for people, or one JSON object a line."
    )
    log_level: str = option(
        values.choice("debug", "info", "warn", "error", "critical"),
        default="info",
        help="Log events of this level and above.",
    )
    max_connections: int | None = option(
        values.optional(values.integer(1, 1_000_000)),
        default=None,
        help="Connections at the same time over all services; each service's own max_connections holds as well.",
    )


def default_state_directory(environ: Mapping[str, str]) -> Path | None:
    """Where state goes when no file says: systemd's place, else the XDG one of the person who runs it.

    ``STATE_DIRECTORY`` is systemd.exec(5)'s and may list several, of which the first is ours. ``XDG_STATE_HOME`` and
    its default are of the XDG Base Directory Specification 0.8, which has relative values ignored.

    :return: an absolute path, or None when there is neither of them nor a home directory.
    """
    granted = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if granted.startswith("/"):
        return Path(granted)
    for base, below in ((environ.get("XDG_STATE_HOME"), ""), (environ.get("HOME"), ".local/state")):
        if base and base.startswith("/"):
            return Path(base) / below / SECTION
    return None
