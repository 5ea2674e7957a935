"""Takes a script's stderr apart into lines for the log, and keeps its end for the person who mends the script.

A script can complain for ever: lines are cut, so many of them are passed on, and the rest is counted.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_LINE = 2048  # octets of a line in the log; journald splits at 48 KiB, syslog at 2 KiB (RFC 5424, 6.1)
MAX_LINES = 1000  # lines of one run in the log
MAX_TAIL = 8192  # octets of the end of stderr that are kept


class Complaints:
    """The stderr of one run.

    :param tell: called with each line, text.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._line = b""
        self._told = 0
        self.untold = 0
        self._tail = b""

    @property
    def tail(self) -> str:
        """The end of what was complained."""
        return self._tail.decode("utf-8", "backslashreplace")

    def feed(self, data: bytes) -> None:
        """Some of stderr."""
        self._tail = (self._tail + data)[-MAX_TAIL:]
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            self._end_line()
        self._add(rest)

    def finish(self) -> None:
        """There will be no more: tell the line that was not ended."""
        if self._line:
            self._end_line()

    def _add(self, piece: bytes) -> None:
        if len(self._line) < MAX_LINE:
            self._line += piece[: MAX_LINE - len(self._line)]

    def _end_line(self) -> None:
        line, self._line = self._line.rstrip(b"\r"), b""
        if not line:
            return
        if self._told < MAX_LINES:
            self._told += 1
            self._tell(line.decode("utf-8", "backslashreplace"))
        else:
            self.untold += 1
