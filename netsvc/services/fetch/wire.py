"""The protocol of the socket of a list, without I/O: bounded, strict, one JSON line a request, one a reply.

    -> {"v": 1, "command": "run"} LF
    <- {"ok": true, "id": "...", "repeated": false} LF           true: it was ordered before, and has not begun
    <- {"ok": false, "code": "4.3.1", "text": "..."} LF          as RFC 3463: 4 is try again, 5 is never

The other commands are tally (id: of a run), queue (after, limit, done), show (id), audit, remove (id) and requeue (id).
Standard library only: the command uses it too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from netsvc.net.json_lines import MalformedError, RequestReader, read_command

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

    :raises MalformedError: it is not of the form that the module's head shows.
    """
    command, given = read_command(line)
    known = _COMMANDS.get(command)
    if known is None:
        raise MalformedError("there is no such command")
    if not given.keys() <= known:
        raise MalformedError("a name in the request is wrong")
    return _checked(Request(command, **given), known)


def make_reader() -> RequestReader[Request]:
    """What reads the requests of one connection."""
    return RequestReader(parse_request, MAX_LINE)


def _checked(request: Request, known: frozenset[str]) -> Request:
    if not (
        isinstance(request.id, str)
        and isinstance(request.after, str)
        and type(request.limit) is int
        and 1 <= request.limit <= MAX_PAGE
        and type(request.done) is bool
    ):
        raise MalformedError("a type in the request is wrong")
    if ("id" in known and not is_id(request.id)) or (request.after and not is_id(request.after)):
        raise MalformedError("what stands for a queue id is none")
    return request
