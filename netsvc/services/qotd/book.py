"""Book: the quotes of a file, read again when the file changes, without making anybody wait."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from random import randrange
from typing import Any

from twisted.logger import Logger

from netsvc.errors import StartError
from netsvc.services.qotd.wire import PROVERBS, Quotes, parse

LARGEST_FILE = 16 << 20  # octets; so much is parsed in about a second, in a thread
LOOK_EVERY = 1.0  # seconds between two looks at the file

Mark = tuple[int, int, int, int]  # device, inode, size, time of change: what tells one content from another


log = Logger()


class UnusableFileError(Exception):
    """A file of quotes that cannot be used. Its text says why."""


def _mark(path: Path) -> Mark | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def read_quotes(path: Path) -> Quotes:
    """Read and parse a file of quotes. Blocks. Raises UnusableFileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang the daemon
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnusableFileError("it is not a regular file")
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UnusableFileError(error.strerror or str(error)) from None
    if len(data) > LARGEST_FILE:
        raise UnusableFileError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    quotes = parse(data)
    if not quotes.texts:
        raise UnusableFileError("it has no quote under 512 characters")
    return quotes


class Book:
    """Quotes to choose from.

    A file that becomes unreadable or empty while the daemon runs is logged once, and the quotes known before stay.

    :param path: a file of quotes, or None for the proverbs.
    :param clock: seconds, from any start.
    :param in_thread: runs blocking work: (function, argument) -> Deferred.
    :param below: n -> a random whole number from 0 to n - 1.
    :raises StartError: the file cannot be used.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float],
        in_thread: Callable[..., Any],
        below: Callable[[int], int] = randrange,
    ) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._below = below
        self._looked = clock()
        self._reading = False
        self._mark: Mark | None = None
        if path is None:
            self._quotes = parse(PROVERBS)
            return
        self._mark = _mark(path)
        try:
            self._take(read_quotes(path))
        except UnusableFileError as error:
            raise StartError(f"the file of quotes {str(path)!r} cannot be used: {error}") from None

    def quote(self, limit: int) -> bytes | None:
        """A quote of at most `limit` octets, or None when all are longer."""
        self._look()
        fitting = self._quotes.fitting(limit)
        return self._quotes.texts[self._below(fitting)] if fitting else None

    def _look(self) -> None:
        """See whether the file changed, at most once in LOOK_EVERY; a stat(2) takes microseconds."""
        if self._path is None or self._reading or 0 <= self._clock() - self._looked < LOOK_EVERY:
            return
        self._looked = self._clock()
        mark = _mark(self._path)
        if mark == self._mark:
            return
        self._mark = mark
        self._reading = True
        self._in_thread(read_quotes, self._path).addCallbacks(self._take, self._keep).addBoth(self._ready)

    def _take(self, quotes: Quotes) -> None:
        self._quotes = quotes
        log.info("{count} quotes in {path}", event="quotes-read", count=len(quotes.texts), path=str(self._path))
        if quotes.too_long:
            log.warn(
                "{count} quotes of {path} have 512 characters or more and are left out",
                event="quotes-too-long",
                count=quotes.too_long,
                path=str(self._path),
            )

    def _keep(self, failure: Any) -> None:
        if not failure.check(UnusableFileError):
            log.failure("{path} could not be read", failure, event="quotes-unreadable", path=str(self._path))
            return
        log.warn(
            "the quotes known before stay, for {path} cannot be used: {reason}",
            event="quotes-unreadable",
            path=str(self._path),
            reason=str(failure.value),
        )

    def _ready(self, _: None) -> None:
        self._reading = False
