"""Marks that take the place of numbers and texts in the records, where equal ones must be known again. Blocking.

A mark is an HMAC by a key that stands in a file of its own and not in the queue: whoever has the queue alone, or a copy
of it, cannot try all numbers until one fits. The key never changes; without its file the marks mean nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from netsvc.errors import StartError
from netsvc.outbox.directories import sync_directory

KEY = 32  # octets
SHOWN = 12  # hexadecimal digits of a number's mark: 48 bits, and no two numbers of a queue have the same


class Marks:
    """Makes marks.

    :param key: secret octets.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._name = hashlib.sha256(b"name" + key).hexdigest()[:8]

    @classmethod
    def open(cls, path: Path) -> Marks:
        """Of the key in a file, which is made when there is none.

        :raises StartError: it cannot be read or made.
        """
        try:
            key = _read(path) or _make(path)
        except OSError as error:
            raise StartError(f"the key {path} cannot be used: {error.strerror}") from None
        if len(key) != KEY:
            raise StartError(f"the key {path} is damaged: it has {len(key)} octets, not {KEY}")
        return cls(key)

    def of_number(self, number: str) -> str:
        """The mark of a number."""
        return self._mac(b"number " + number.encode())[:SHOWN]

    def of_content(self, content: bytes) -> str:
        """The mark of a message, with the name of the key."""
        return f"{self._name}:{self._mac(b'content ' + content)}"

    def differs(self, mark: str, content: bytes) -> bool:
        """Whether a mark is of another message. Not when another machine's key made it: that says nothing."""
        return mark.startswith(f"{self._name}:") and not hmac.compare_digest(mark, self.of_content(content))

    def _mac(self, octets: bytes) -> str:
        return hmac.new(self._key, octets, hashlib.sha256).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _make(path: Path) -> bytes:
    """A new key, on the disk before it is used."""
    key = os.urandom(KEY)
    partial = path.with_name(f".{path.name}.new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.rename(path)
    sync_directory(path.parent)
    return key
