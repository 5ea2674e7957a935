"""KeyFiles: each user's authorized_keys file as it is now. It blocks: threads run it.

A file that others than its owner, root or the daemon's user could have written is not believed, nor one in such a
directory: sshd(8), StrictModes.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from twisted.logger import Logger

from netsvc.services.sftp.login.authorized_keys import LONGEST_FILE, AuthorizedKey, parse
from netsvc.services.sftp.login.strict_modes import fault_of_place

log = Logger()

_Identity = tuple[int, int, int, int]
_Read = tuple[_Identity, dict[bytes, AuthorizedKey]]


class KeyFiles:
    """The files of all users.

    :param pattern: of their names; %u is the user.
    """

    def __init__(self, pattern: Path) -> None:
        self._pattern = str(pattern)
        self._lock = threading.Lock()
        self._read: dict[str, _Read] = {}
        self._told: dict[str, str] = {}

    def find(self, user: str, blob: bytes) -> AuthorizedKey | None:
        """A user's key, by what is sent of it.

        :param user: one of the settings' users: his name makes a file's.
        """
        path = self._pattern.replace("%u", user)
        with self._lock:
            try:
                return self._keys(path).get(blob)
            except FileNotFoundError:
                return None
            except OSError as error:
                self._tell(path, error.strerror or str(error))
                return None

    def _keys(self, path: str) -> dict[bytes, AuthorizedKey]:
        fault = fault_of_place(Path(path))
        if fault is not None:
            raise OSError(None, fault)
        # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(None, "it is not a regular file")
            identity = status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
            known = self._read.get(path)
            if known is not None and known[0] == identity:
                return known[1]
            octets = file.read(LONGEST_FILE + 1)
        if len(octets) > LONGEST_FILE:
            raise OSError(None, f"it is longer than {LONGEST_FILE >> 20} MiB")
        keys, faults = parse(octets)
        self._read[path] = (identity, keys)
        self._told.pop(path, None)
        for text in faults:
            log.warn("{path} {reason}: not used", event="sftp-key-line-unused", path=path, reason=text)
        return keys

    def _tell(self, path: str, reason: str) -> None:
        if self._told.get(path) != reason:
            self._told[path] = reason
            log.warn("{path} is not used: {reason}", event="sftp-key-file-unused", path=path, reason=reason)
