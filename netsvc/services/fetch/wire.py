"""The protocol of the socket of a list, without I/O: bounded, strict, one JSON line a request, one a reply.

    -> {"v": 1, "command": "run"} LF
    <- {"ok": true, "id": "...", "repeated": false} LF           true: it was ordered before, and has not begun
    <- {"ok": false, "code": "4.3.1", "text": "..."} LF          as RFC 3463: 4 is try again, 5 is never

The other commands are tally (id: of a run), queue (after, limit, done), show (id), audit, remove (id) and requeue (id).
Standard library only: the command uses it too.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

VERSION = 1
MAX_LINE = 1 << 12  # octets of a request
MAX_PAGE = 1000  # items in one answer to queue

_ID = re.compile(r"[0-9a-z]{1,64}")
_COMMANDS = {
    "run": frozenset[str](),
    "tally": frozenset({"id"}),
    "queue": frozenset({"after", "limit", "done"}),
    "show": frozenset({"id"}),
    "audit": frozenset[str](),
    "remove": frozenset({"id"}),
    "requeue": frozenset({"id"}),
}


class Refusal(Exception):  # noqa: N818 - the house's word for it
    """What was asked is not done.

    :param code: as RFC 3463.
    :param text: one line for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class Request(NamedTuple):
    """A command. What does not belong to it has its default."""

    command: str
    id: str = ""
    after: str = ""
    limit: int = MAX_PAGE
    done: bool = False


def is_id(text: str) -> bool:
    """Whether the text may be a queue id."""
    return _ID.fullmatch(text) is not None


def parse_request(line: bytes) -> Request:
    """Read a request, without its line end.

    :raises Refusal: it is not of the form that the module's head shows.
    """
    try:
        given = json.loads(line.decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise Refusal("5.5.2", "the request is not a line of JSON") from None
    if not isinstance(given, dict):
        raise Refusal("5.5.2", "the request is not a JSON object")
    version, command = given.pop("v", None), given.pop("command", None)
    if type(version) is not int or version != VERSION:
        raise Refusal("5.5.2", f"this is not version {VERSION} of the protocol")
    known = _COMMANDS.get(command) if isinstance(command, str) else None
    if known is None:
        raise Refusal("5.5.2", "there is no such command")
    if not given.keys() <= known:
        raise Refusal("5.5.2", "a name in the request is wrong")
    return _checked(Request(str(command), **given), known)


def _checked(request: Request, known: frozenset[str]) -> Request:
    if not (
        isinstance(request.id, str)
        and isinstance(request.after, str)
        and type(request.limit) is int
        and 1 <= request.limit <= MAX_PAGE
        and type(request.done) is bool
    ):
        raise Refusal("5.5.2", "a type in the request is wrong")
    if ("id" in known and not is_id(request.id)) or (request.after and not is_id(request.after)):
        raise Refusal("5.5.2", "what stands for a queue id is none")
    return request


def encode(value: dict[str, Any]) -> bytes:
    """One line of the protocol."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def refused(refusal: Refusal) -> dict[str, Any]:
    """The reply to what is not done."""
    return {"ok": False, "code": refusal.code, "text": refusal.text}
