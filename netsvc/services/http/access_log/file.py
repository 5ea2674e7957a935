"""AccessLogFile: lines of the access log on their way into a file, which no fault of the disk makes fatal.

Lines are gathered and written together, once a second or when there are many, in a thread: a disk that hangs holds no
request up. Before each write the name is looked at, so that a file that was moved away (logrotate) is followed by a new
one with the next lines, whatever signal is sent or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.errors import StartError, printable
from netsvc.interfaces import IMetrics
from netsvc.net.log_file import open_at_end

log = Logger()

FLUSH = 1.0  # seconds that a line waits at most
MANY = 1 << 16  # characters of lines that are written at once without waiting
MOST = 1 << 22  # characters kept while a write hangs; further lines are lost, and counted


class AccessLogFile:
    """Appends lines to a file.

    :param path: absolute.
    :param clock: IReactorTime.
    :param in_thread: (function, argument) -> Deferred of its result.
    :param metrics: an IMetrics.
    :param service: the section's name, a label of the metrics.
    """

    def __init__(
        self, path: Path, *, clock: Any, in_thread: Callable[..., Deferred[Any]], metrics: IMetrics, service: str
    ) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._service = service
        self._lost = metrics.counter(
            "http_access_log_lost", "Requests that could not be recorded in the access log.", ("service",)
        )
        self._lines: list[str] = []
        self._size = 0
        self._writing: Deferred[None] | None = None
        self._call: Any = None
        self._failing = False
        self._torn = False  # the last write ended within a line; only a writing thread looks
        self._descriptor = -1

    def open(self) -> None:
        """Open the file, so that a fault is told at the start.

        :raise StartError: it cannot be opened, or is not a regular file.
        """
        try:
            self._descriptor = open_at_end(self._path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(printable(f"cannot keep the access log in {str(self._path)!r}: {reason}")) from None

    def add(self, line: str) -> None:
        """Take one line, without its end."""
        if self._size > MOST:
            self._lose(1, "the writes hang")
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= MANY and self._writing is None:
            self._flush()
        elif self._call is None and self._writing is None:
            self._call = self._clock.callLater(FLUSH, self._flush)

    def close(self) -> Deferred[None]:
        """Write what is left and close."""
        while_writing = self._writing

        def last(_: Any = None) -> Deferred[None]:
            self._flush()
            done = self._writing
            return succeed(None) if done is None else _after(done).addCallback(shut)

        def shut(_: Any = None) -> None:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

        chained: Deferred[Any] = succeed(None) if while_writing is None else _after(while_writing)
        return chained.addCallback(last).addCallback(shut)

    def _flush(self) -> None:
        if self._call is not None:
            if self._call.active():
                self._call.cancel()
            self._call = None
        if not self._lines or self._writing is not None:
            return
        lines, self._lines, self._size = self._lines, [], 0
        writing: Deferred[None] = Deferred()
        self._writing = writing

        def over(result: Any) -> None:
            self._writing = None
            if isinstance(result, Failure):
                self._lose(len(lines), _words(result.value))
            elif result:
                self._complain(result)
            elif self._failing:
                self._failing = False
                log.info("the access log {path} is written again", event="http-access-log-back", path=str(self._path))
            if self._lines and self._call is None:
                if self._size >= MANY:
                    self._flush()
                else:
                    self._call = self._clock.callLater(FLUSH, self._flush)
            writing.callback(None)

        self._in_thread(self._write, lines).addBoth(over)

    def _write(self, lines: list[str]) -> str:
        """In a thread, one at a time.

        :return: "", or in words why the lines went to a file that was moved away.
        :raise OSError: not all of it was written.
        """
        complaint = self._follow()
        text = ("\n" if self._torn else "") + "\n".join(lines) + "\n"
        octets = memoryview(text.encode("utf-8", "backslashreplace"))
        while octets:
            octets = octets[os.write(self._descriptor, octets) :]
            self._torn = bool(octets)
        return complaint

    def _follow(self) -> str:
        """Open the file anew if its name leads elsewhere by now; "", or why not: then the old one goes on."""
        try:
            try:
                there = os.stat(self._path)
            except FileNotFoundError:
                there = None
            mine = os.fstat(self._descriptor)
            if there is not None and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return ""
            fresh = open_at_end(self._path)
        except OSError as error:
            return _words(error)
        os.close(self._descriptor)
        self._descriptor = fresh
        self._torn = False
        return ""

    def _lose(self, lines: int, reason: str) -> None:
        self._lost.inc(lines, service=self._service)
        self._complain(reason)

    def _complain(self, reason: str) -> None:
        """Once, until a write succeeds again."""
        if not self._failing:
            self._failing = True
            log.error(
                "the access log {path} cannot be written: {reason}",
                event="http-access-log-failed",
                path=str(self._path),
                reason=reason,
            )


def _words(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or str(error)


def _after(one: Deferred[None]) -> Deferred[None]:
    """A Deferred of one's own that fires with another."""
    mine: Deferred[None] = Deferred()
    one.addCallback(mine.callback)
    return mine
