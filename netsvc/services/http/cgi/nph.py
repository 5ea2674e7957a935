"""Reads the status from what an nph- script prints (RFC 3875, section 5): no more, for the rest is the script's own."""

from __future__ import annotations

import re

from netsvc.services.http.cgi.output import BadOutputError

PREFIX = "nph-"  # of the file's name
MAX_LINE = 8192  # octets of the status line; what servers take from peers as a request line

# "HTTP/1.0 200 OK"; nph- scripts of old say HTTP/1.0, and some leave the reason out.
_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ([2-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r?\n")


class StatusLineParser:
    """Takes a script's output piece by piece until its first line is whole."""

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def started(self) -> bool:
        """Whether there was any output."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[int, bytes] | None:
        """Some more output; once the first line is whole, the status and all that was fed.

        :raises BadOutputError: this is no answer of HTTP/1. Nothing of it has reached the peer.
        """
        self._buffer += data
        if b"\n" not in self._buffer[:MAX_LINE]:
            if len(self._buffer) >= MAX_LINE:
                raise BadOutputError(f"its status line is longer than {MAX_LINE} octets")
            return None
        match = _STATUS_LINE.match(self._buffer)
        if match is None:
            raise BadOutputError("an nph- script begins with a status line, such as HTTP/1.0 200 OK")
        return int(match[1]), self._buffer
