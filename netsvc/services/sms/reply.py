"""What a gateway's reply means: paths into it, one condition, a table of codes, and the verdict. No I/O.

    path      = "http" / "body" [ "/" REGEX "/" ] / "$" *( "." NAME / "[" INDEX "]" / "[*]" )
    condition = path ( "==" / "!=" ) VALUE / path "in" 1*VALUE / path "matches" REGEX / path "exists"
    table     = one line each: 1*CODE "->" ( "sent" / "retry" / "permanent" / "ambiguous" )

http is the status, body the whole text or the first group of REGEX in it, $ a value of the JSON. [*] is every part, as
of a long message: the condition must hold for each, and for at least one. Numbers and texts compare alike (2 is "2").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Literal

from attrs import field, frozen

from netsvc.config.values import nearest
from netsvc.errors import BadValue

Meaning = Literal["sent", "retry", "permanent", "ambiguous"]
MEANINGS = ("sent", "retry", "permanent", "ambiguous")
OPERATORS = ("==", "!=", "in", "matches", "exists")
MAX_WORDS = 200  # characters of a gateway's explanation that are kept

# Statuses after which nothing was taken and another time may be better: RFC 9110 15.5.1-15.5.9, RFC 6585 4. Those about
# credentials and payment are mended by a person, while the message waits.
_RETRY_STATUS = frozenset({401, 402, 403, 407, 408, 421, 425, 429, 503})

_PATH = re.compile(r"http\b|body\b(?:[ \t]*/((?:[^/\\]|\\.)*)/)?|\$((?:\.[A-Za-z0-9_-]+|\[(?:[0-9]{1,4}|\*)\])*)")
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[([0-9]+|\*)\]")
_MISSING = object()


@frozen(slots=False)
class Reply:
    """A reply, whole.

    :param retry_after: seconds that the gateway wants to be left alone, or None.
    """

    status: int
    content: bytes = field(repr=False)
    retry_after: float | None = None

    @cached_property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode("utf-8", "replace").strip()

    @cached_property
    def json(self) -> Any:
        """The content as JSON; a value that nothing equals when it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return _MISSING


@frozen
class Path:
    """A place in a reply.

    :param source: its text.
    :param steps: names and indices into JSON; None is every part.
    """

    source: str
    kind: Literal["http", "body", "json"] = field(eq=False)
    regex: re.Pattern[str] | None = field(default=None, eq=False)
    steps: tuple[str | int | None, ...] = field(default=(), eq=False)

    def __str__(self) -> str:
        return self.source

    def values(self, reply: Reply) -> list[str | None]:
        """What stands there, as text; None where a part has nothing there."""
        if self.kind == "http":
            return [str(reply.status)]
        if self.kind == "body":
            if self.regex is None:
                return [reply.text]
            match = self.regex.search(reply.text)
            return [match[1] if match.re.groups else match[0]] if match else [None]
        return [_scalar(one) for one in _walk(reply.json, self.steps)]

    def first(self, reply: Reply) -> str:
        """The first value that is there, or nothing."""
        return next((one for one in self.values(reply) if one), "")


def _walk(value: Any, steps: tuple[str | int | None, ...]) -> Iterator[Any]:
    for at, step in enumerate(steps):
        if step is None:
            for one in value if isinstance(value, list) else ():
                yield from _walk(one, steps[at + 1 :])
            return
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            value = _MISSING
    yield value


def _scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None  # null, nothing there, or no single value


def parse_path(text: str) -> Path:
    """Understand a path.

    :raises BadValue: it is none.
    """
    path, rest = _path(text)
    if rest < len(text):
        raise BadValue("the path ends here, but more follows", at=rest)
    return path


def _path(text: str) -> tuple[Path, int]:
    match = _PATH.match(text)
    if match is None:
        raise BadValue("a path is http, body, body /REGEX/ or begins with a $, such as $.messages[*].status")
    source, (regex, steps) = match[0], match.groups()
    if steps is None:
        kind: Literal["http", "body"] = "http" if source == "http" else "body"
        return Path(source, kind, _regex(regex, match.start(1)) if regex is not None else None), match.end()
    found = tuple(
        one[1] if one[1] is not None else None if one[2] == "*" else int(one[2]) for one in _STEP.finditer(steps)
    )
    return Path(source, "json", None, found), match.end()


def _regex(text: str, at: int) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise BadValue(f"the regular expression is wrong: {error.msg}", at=at + (error.pos or 0)) from None


@frozen
class Condition:
    """A condition on a reply."""

    source: str
    path: Path = field(eq=False)
    operator: str = field(eq=False)
    operands: tuple[str, ...] = field(default=(), eq=False)
    regex: re.Pattern[str] | None = field(default=None, eq=False)

    def __str__(self) -> str:
        return self.source

    def parts(self, reply: Reply) -> tuple[bool, ...]:
        """Whether it holds, for each part."""
        return tuple(one is not None and self._holds(one) for one in self.path.values(reply))

    def _holds(self, value: str) -> bool:
        if self.regex is not None:
            return self.regex.search(value) is not None
        if self.operator == "exists":
            return True
        return (value in self.operands) != (self.operator == "!=")


def parse_condition(text: str) -> Condition:
    """Understand a condition.

    :raises BadValue: it is none.
    """
    path, end = _path(text)
    match = re.compile(r"[ \t]*(==|!=|[a-z]+)[ \t]*").match(text, end)
    if match is None or match[1] not in OPERATORS:
        meant = nearest(match[1], OPERATORS) if match else None
        at = match.start(1) if match else end
        raise BadValue(f"behind the path stands one of {', '.join(OPERATORS)}", at=at, suggestion=meant)
    operator, operand = match[1], text[match.end() :].strip()
    if (operator == "exists") == bool(operand):
        raise BadValue(f"'{operator}' needs {'nothing' if operand else 'a value'} behind it", at=match.start(1))
    if operator == "matches":
        return Condition(text, path, operator, regex=_regex(operand, match.end()))
    operands = tuple(operand.split()) if operator == "in" else (operand,)
    return Condition(text, path, operator, operands)


def parse_codes(text: str) -> tuple[tuple[str, Meaning], ...]:
    """Understand a table of codes.

    :raises BadValue: a line of it is none.
    """
    found: dict[str, Meaning] = {}
    at = 0
    for line in text.split("\n"):
        if line.strip():
            codes, arrow, meaning = line.partition("->")
            word = meaning.strip()
            if not arrow or not codes.split():
                raise BadValue("a line of codes is CODE CODE -> MEANING", at=at)
            if word not in MEANINGS:
                where = at + line.index("->") + 2
                raise BadValue(
                    f"{word!r} is not one of {', '.join(MEANINGS)}", at=where, suggestion=nearest(word, MEANINGS)
                )
            for code in codes.split():
                if code in found:
                    raise BadValue(f"the code {code} stands twice", at=at + line.index(code))
                found[code] = word  # type: ignore[assignment]  # one of MEANINGS
        at += len(line) + 1
    return tuple(found.items())


def retry_after(value: str, now: float) -> float | None:
    """The seconds that a Retry-After field asks for (RFC 9110 10.2.3), or None.

    :param now: wall clock, seconds since 1970.
    """
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


@frozen(kw_only=True)
class Rules:
    """How a gateway's replies are read.

    :param success: holds for every part of a reply to a message that was taken.
    :param code: where the gateway's own code stands, or None.
    :param message_id: where the gateway's name for the message stands, or None.
    :param reason: where its words stand, or None.
    :param codes: what its codes mean.
    """

    success: Condition
    code: Path | None = None
    message_id: Path | None = None
    reason: Path | None = None
    codes: tuple[tuple[str, Meaning], ...] = ()


@frozen(kw_only=True)
class Verdict:
    """What a reply comes to.

    :param words: the gateway's explanation, as it came.
    :param pause: seconds that the gateway wants to be left alone, or None.
    """

    meaning: Meaning
    code: str = ""
    message_id: str = ""
    words: str = ""
    pause: float | None = None


def judge(rules: Rules, reply: Reply) -> Verdict:
    """Say what became of a message. When in doubt it is ambiguous: a message that is sent twice is paid for twice."""
    code = rules.code.first(reply) if rules.code else ""
    return Verdict(
        meaning=_meaning(rules, reply),
        code=code,
        message_id=rules.message_id.first(reply) if rules.message_id else "",
        words=rules.reason.first(reply) if rules.reason else "",
        pause=None if reply.retry_after is None else max(reply.retry_after, 0.0),
    )


def _meaning(rules: Rules, reply: Reply) -> Meaning:
    parts = rules.success.parts(reply)
    is_fine = 200 <= reply.status < 300
    if parts and all(parts):
        return "sent" if is_fine or rules.success.path.kind == "http" else "ambiguous"
    if any(parts):
        return "ambiguous"  # some segments went
    table = dict(rules.codes)
    codes = rules.code.values(reply) if rules.code else []
    known = {table[one] for one in codes if one is not None and one in table}
    if len(known) == 1 and all(one in table for one in codes):
        return known.pop()
    if known & {"sent", "ambiguous"}:
        return "ambiguous"
    if known:
        return "permanent"  # no part went, and one never will
    return _by_status(reply.status, is_readable=bool(parts) and rules.success.path.values(reply) != [None])


def _by_status(status: int, *, is_readable: bool) -> Meaning:
    if status in _RETRY_STATUS:
        return "retry"
    if 200 <= status < 300:
        return "permanent" if is_readable else "ambiguous"
    # Nothing is taken by a redirect that is not followed, nor by a request that was wrong. After a fault of the
    # gateway's, or of a proxy before it, nobody knows.
    return "permanent" if 300 <= status < 500 else "ambiguous"
