"""The protocol of the submission socket, without I/O: bounded, strict, one JSON line a request, one a reply.

    -> {"v": 1, "command": "send", "to": ["+8613800138000"], "text": "...", "key": "k", "template": "login"} LF
    <- {"ok": true, "id": "...", "repeated": false, "segments": 1, "alphabet": "gsm7"} LF
    <- {"ok": false, "code": "4.3.1", "text": "..."} LF          as RFC 3463: 4 is try again, 5 is never

``key`` and ``template`` may be left out. The other commands are queue (after, limit, done), show (id), audit,
remove (id) and requeue (id). What is malformed is answered and ends the connection. Standard library only: the command
uses it too.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from netsvc.net.json_lines import MalformedError, Refusal, RequestReader, read_command

MAX_LINE = 512 << 10  # octets: 1,000 numbers and the longest text, each of its characters escaped
MAX_NUMBER = 40  # characters as written, with separators
MAX_TEXT = 255 * 153  # characters: what 255 segments can hold, 3GPP TS 23.040 9.2.3.24.1
MAX_RECIPIENTS = 1000
MAX_KEY = 200  # characters of an idempotency key: a UUID, a URL
MAX_PAGE = 1000  # items in one answer to queue

_ID = re.compile(r"[0-9a-z]{1,64}")
_TEMPLATE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Send(NamedTuple):
    """A message to take in. Its repr shows neither numbers nor text."""

    to: tuple[str, ...]
    text: str
    key: str | None
    template: str

    def __repr__(self) -> str:
        return f"<Send to {len(self.to)}>"


class Query(NamedTuple):
    """Any other command. What does not belong to it has its default."""

    command: str
    id: str = ""
    after: str = ""
    limit: int = MAX_PAGE
    done: bool = False


_QUERIES = {
    "queue": frozenset({"after", "limit", "done"}),
    "show": frozenset({"id"}),
    "audit": frozenset[str](),
    "remove": frozenset({"id"}),
    "requeue": frozenset({"id"}),
}


def is_id(text: str) -> bool:
    """Whether the text may be a queue id."""
    return _ID.fullmatch(text) is not None


def parse_request(line: bytes) -> Send | Query:
    """Read a request, without its line end.

    :raises MalformedError: it is not of the form that the module's head shows.
    :raises Refusal: it is, but what it says is not acceptable.
    """
    command, request = read_command(line)
    if command == "send":
        return _parse_send(**_only(request, {"to", "text", "key", "template"}))
    known = _QUERIES.get(command)
    if known is None:
        raise MalformedError("there is no such command")
    return _parse_query(Query(command, **_only(request, known)), known)


def make_reader() -> RequestReader[Send | Query]:
    """What reads the requests of one connection."""
    return RequestReader(parse_request, MAX_LINE)


def _only(request: dict[str, Any], known: set[str] | frozenset[str]) -> dict[str, Any]:
    if not request.keys() <= known:
        raise MalformedError("a name in the request is wrong")
    return request


def _parse_send(to: Any = None, text: Any = None, key: Any = None, template: Any = "") -> Send:
    if not (
        isinstance(to, list)
        and all(isinstance(one, str) for one in to)
        and isinstance(text, str)
        and (key is None or isinstance(key, str))
        and isinstance(template, str)
    ):
        raise MalformedError("a type in the request is wrong")
    if not to:
        raise Refusal("5.5.4", "there is no number")
    if len(to) > MAX_RECIPIENTS:
        raise Refusal("5.5.3", f"there are more than {MAX_RECIPIENTS} numbers")
    if any(len(one) > MAX_NUMBER for one in to):
        raise Refusal("5.1.3", f"a number is longer than {MAX_NUMBER} characters")
    if not text:
        raise Refusal("5.6.0", "the message is empty")
    if len(text) > MAX_TEXT:
        raise Refusal("5.3.4", f"the message is longer than {MAX_TEXT} characters")
    if any("\ud800" <= one <= "\udfff" or (one < " " and one not in "\n\r\t\f") for one in text):
        raise Refusal("5.6.0", "the message has a character that cannot be sent")
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isprintable()):
        raise Refusal("5.5.4", f"a key has 1 to {MAX_KEY} printable characters")
    if template and not _TEMPLATE.fullmatch(template):
        raise Refusal("5.5.4", "a template's name has 1 to 64 letters, digits, dots, dashes and underscores")
    return Send(tuple(to), text, key, template)


def _parse_query(query: Query, known: frozenset[str]) -> Query:
    if not (
        isinstance(query.id, str)
        and isinstance(query.after, str)
        and type(query.limit) is int
        and 1 <= query.limit <= MAX_PAGE
        and type(query.done) is bool
    ):
        raise MalformedError("a type in the request is wrong")
    if ("id" in known and not is_id(query.id)) or (query.after and not is_id(query.after)):
        raise MalformedError("what stands for a queue id is none")
    return query
