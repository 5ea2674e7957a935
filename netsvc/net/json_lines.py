"""Requests and replies as lines of JSON, without I/O: what a UNIX socket and its command say to each other.

    -> {"v": 1, "command": "...", ...} LF
    <- {"ok": true, ...} LF
    <- {"ok": false, "code": "4.3.1", "text": "..."} LF          as RFC 3463: 4 is try again, 5 is never

A service says which commands it knows and what belongs to them; octets may follow a line, as many as its request says.
Standard library only: commands use it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

VERSION = 1

R = TypeVar("R")


class Refusal(Exception):  # noqa: N818 - the house's word for it
    """Something was not taken.

    :param code: RFC 3463 status, or one in its manner.
    :param text: one line for people, without secrets.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class MalformedError(Refusal):
    """A request against the rules: where it ends is not known, so the connection ends with it."""

    def __init__(self, text: str, code: str = "5.5.2") -> None:
        super().__init__(code, text)


class RequestReader(Generic[R]):
    """Cuts what arrives on one connection into lines, and has each of them read.

    :param parse: a line without its end to a request; may raise Refusal.
    :param max_line: octets of a line without its end.
    :param name: what a line is called where one is too long.
    """

    def __init__(self, parse: Callable[[bytes], R], max_line: int, name: str = "the request") -> None:
        self._parse = parse
        self._max_line = max_line
        self._name = name
        self._buffer = bytearray()
        self._scanned = 0

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come."""
        return not self._buffer

    @property
    def announced(self) -> int:
        """Octets that follow the line of the request that is arriving; 0 while none are known of."""
        return 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def next(self) -> R | None:
        """The next request that is whole, or None.

        :raises MalformedError: there is none to be had any more.
        :raises Refusal: it is whole, and not acceptable; others may follow.
        """
        end = self._buffer.find(b"\n", self._scanned, self._max_line + 1)
        if end < 0:
            if len(self._buffer) > self._max_line:
                raise MalformedError(f"{self._name} is longer than {self._max_line} octets")
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return self._parse(line)

    def take(self, count: int) -> bytes | None:
        """So many octets that stand behind a line, or None while not all have come."""
        if len(self._buffer) < count:
            return None
        octets = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return octets


def read_command(line: bytes, *, version: int = VERSION) -> tuple[str, dict[str, Any]]:
    """The command that a line says, and all that it says beside.

    :raises MalformedError: the line is not of the form that the module's head shows, has a name twice, or a NaN.
    """
    try:
        request = json.loads(line.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise MalformedError("the request is not a line of JSON") from None
    if not isinstance(request, dict):
        raise MalformedError("the request is not a JSON object")
    said = request.pop("v", None)
    if type(said) is not int or said != version:
        raise MalformedError(f"this is not version {version} of the protocol")
    command = request.pop("command", None)
    if not isinstance(command, str):
        raise MalformedError("there is no such command")
    return command, request


def encode(value: dict[str, Any]) -> bytes:
    """One line, a request or a reply."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def refused(refusal: Refusal) -> dict[str, Any]:
    """The reply to what was not taken."""
    return {"ok": False, "code": refusal.code, "text": refusal.text}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("the request has a name twice")
    return found


def _no_constant(name: str) -> None:
    raise MalformedError(f"{name} is not JSON")
