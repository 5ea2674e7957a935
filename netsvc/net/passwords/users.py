"""UserFile: the users of an htpasswd file as it is now, and the passwords that were right a moment ago.

The file is looked at before each use. A version with a fault is told in the log, and the one before it goes on. What is
remembered of a password is a keyed digest, for a minute, and nothing survives a change of the file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from netsvc.errors import StartError, printable
from netsvc.net.passwords.htpasswd import LONGEST_FILE, HtpasswdError, parse, stand_in

log = Logger()

REMEMBERED_FOR = 60.0  # seconds since the password was checked
REMEMBERED = 4096  # users; about 1 MiB
STILL = 2.0  # seconds since a change before the file's times tell every further one

_Identity = tuple[int, int, int, int, int]


class UserFile:
    """An htpasswd file.

    :param path: absolute.
    :param seconds: a monotonic clock.
    :param now: seconds since the epoch.
    """

    def __init__(self, path: Path, seconds: Callable[[], float], now: Callable[[], float]) -> None:
        self._path = path
        self._seconds = seconds
        self._now = now
        self._users: dict[str, str] = {}
        self._seen: _Identity | None = None  # of the version that was read last, good or bad
        self._settled = False
        self._digest = b""  # of the octets that were read last
        self._key = b""
        self._right: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self.version = 0  # counts the changes: a check that began before one is not remembered

    def open(self) -> None:
        """Read it for the first time.

        :raise StartError: it cannot be read, or has a fault.
        """
        try:
            self._read()
        except (OSError, HtpasswdError) as error:
            raise StartError(printable(f"the password file {self._path}: {_words(error)}")) from None

    def hash_of(self, user: str) -> tuple[str, bool]:
        """(the hash to check a password of this user with, whether there is such a user)."""
        self._refresh()
        found = self._users.get(user)
        if found is not None:
            return found, True
        chosen = hmac.digest(self._key, user.encode("utf-8", "surrogateescape"), hashlib.sha256)
        return stand_in(self._users, int.from_bytes(chosen[:8])), False

    def digest(self, user: str, password: str) -> bytes:
        """What is remembered of a password instead of it."""
        self._refresh()
        return hmac.digest(self._key, f"{user}\0{password}".encode("utf-8", "surrogateescape"), hashlib.sha256)

    def remembers(self, user: str, digest: bytes) -> bool:
        """Whether this was the user's password a moment ago."""
        known = self._right.get(user)
        if known is None:
            return False
        if known[1] <= self._seconds():
            del self._right[user]
            return False
        return hmac.compare_digest(known[0], digest)

    def remember(self, user: str, digest: bytes) -> None:
        """Keep the digest of what is this user's password now."""
        self._right.pop(user, None)
        while len(self._right) >= REMEMBERED:
            self._right.popitem(last=False)
        self._right[user] = (digest, self._seconds() + REMEMBERED_FOR)

    def _refresh(self) -> None:
        """Read the file again if it has changed."""
        try:
            found: _Identity | None = _identity(os.stat(self._path))
        except OSError:
            found = None
        if found == self._seen and self._settled:
            return
        before, self._seen = self._seen, found
        try:
            self._read()
        except (OSError, HtpasswdError) as error:
            self._settled = True
            if found != before:
                log.error(
                    "the password file {path} is not taken, the one before it goes on: {reason}",
                    event="password-file-refused",
                    path=str(self._path),
                    reason=_words(error),
                )

    def _read(self) -> None:
        # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(None, "it is not a regular file")
            octets = file.read(LONGEST_FILE + 1)
        self._seen = _identity(status)
        self._settled = abs(self._now() - max(status.st_mtime, status.st_ctime)) >= STILL
        digest = hashlib.sha256(octets).digest()
        if digest == self._digest:
            return
        users = parse(octets)
        if self._digest:
            log.info(
                "the password file {path} was read again: {users} users",
                event="password-file-read",
                path=str(self._path),
                users=len(users),
            )
        self._users, self._digest = users, digest
        self._key = secrets.token_bytes(32)
        self._right.clear()
        self.version += 1


def _identity(found: os.stat_result) -> _Identity:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
