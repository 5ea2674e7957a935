"""``netsvc htpasswd FILE USER``: adds a user to an htpasswd file, changes the password, or removes the user.

The password is asked for on the terminal, twice, or read from the first line of stdin; never from the arguments, which
everybody on the machine can see. The file is replaced in one step, so that a server never reads half of it.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path

from netsvc.errors import printable
from netsvc.net.passwords import htpasswd


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the htpasswd file; made with mode 0600 if need be")
    parser.add_argument("user", metavar="USER", help="the name: no colon, no control character")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--argon2", action="store_true", help="hash with argon2id instead of bcrypt")
    what.add_argument("--delete", action="store_true", help="remove the user")


def run(arguments: argparse.Namespace) -> int:
    """Change the file; 0, or 1 when that cannot be done."""
    try:
        print(_change(arguments))
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "there is no password"
        print(printable(f"netsvc htpasswd: {arguments.file}: {reason}"), file=sys.stderr)
        return 1
    return 0


def _change(arguments: argparse.Namespace) -> str:
    """Do what was asked; what was done, in words."""
    name = htpasswd.normal(arguments.user)
    if not htpasswd.is_name(name):
        raise ValueError(f"{arguments.user!r} is not a user's name: no colon, no control character, no # in front")
    file = Path(os.path.realpath(arguments.file))  # a link stays a link
    before = file.read_bytes() if file.exists() else b""
    known = htpasswd.parse(before)
    if arguments.delete:
        if name not in known:
            raise ValueError(f"there is no user {name!r}")
        _replace(file, htpasswd.with_user(before, name, None))
        return printable(f"{name} is removed")
    hashed = htpasswd.make(_password(), "argon2" if arguments.argon2 else "bcrypt")
    _replace(file, htpasswd.with_user(before, name, hashed))
    return printable(f"{name} has a new password" if name in known else f"{name} is added")


def _password() -> str:
    """Ask for a password.

    :raises ValueError: the two are not the same, or it is not UTF-8.
    """
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().decode().removesuffix("\n").removesuffix("\r")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("the two passwords are not the same")
    return password


def _replace(file: Path, octets: bytes) -> None:
    """Put octets in a file's place, whole or not at all."""
    descriptor, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # made with mode 0600
    try:
        with open(descriptor, "wb") as stream:
            with contextlib.suppress(FileNotFoundError):
                _take_after(descriptor, file.stat())
            stream.write(octets)
            stream.flush()
            os.fsync(descriptor)
        os.replace(fresh, file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        raise


def _take_after(descriptor: int, found: os.stat_result) -> None:
    """Give an open file the owner and mode of another.

    :raises PermissionError: the owner is somebody else, who could then not read it.
    """
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.fstat(descriptor).st_gid):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
