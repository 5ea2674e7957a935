"""Tables that decide by domain or sender: the first line that matches counts. No I/O, no Twisted.

    line    = pattern 1*SP value
    pattern = "*" / domain / "." domain / "from:" ( address / domain / "." domain / "<>" )

A domain is the recipient's; with ``from:`` it is the sender's, or the whole address is, or ``<>`` is the null sender of
bounces. ``.example.com`` is every name below example.com, and not that name itself. Local parts of addresses are
compared without regard to case, as nobody has two people who differ in it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.values import nearest
from netsvc.errors import BadValue, together
from netsvc.services.smtp_client.routing.places import HOST_NAME, Place, host_name, place

T = TypeVar("T")

MAX_LINES = 1000  # of one table, ours: each is looked at for each message

TLS_WORDS = ("none", "may", "require", "verify", "dane")


@functools.lru_cache(maxsize=1024)  # asked several times for each message, nearly always about the same few
def normal(domain: str) -> str:
    """A domain as tables compare it: A-labels, small letters, no dot at the end; an address literal stays as it is.

    What cannot be written so is only made small: it matches ``*`` alone.
    """
    try:
        return host_name(domain).lower().rstrip(".") if not domain.startswith("[") else domain.lower()
    except ValueError:
        return domain.lower()


@frozen
class Pattern:
    """What a line is for.

    :param key: ``*``, a domain, ``.domain`` or an address, normal; empty for the null sender.
    :param sender: it is compared with the sender, not with the recipient's domain.
    """

    key: str
    sender: bool = False

    def matches(self, domain: str, sender: str) -> bool:
        """Whether a line is for this message.

        :param domain: the recipient's, normal.
        :param sender: the reverse-path; its domain need not be normal.
        """
        if self.key == "*":
            return True
        if not self.sender:
            return _covers(self.key, domain)
        local, _, host = sender.rpartition("@")
        host = normal(host)
        return self.key == (f"{local.lower()}@{host}" if local else "") or (bool(local) and _covers(self.key, host))

    def __str__(self) -> str:
        return f"from:{self.key or '<>'}" if self.sender else self.key


def _covers(key: str, domain: str) -> bool:
    return domain.endswith(key) and len(domain) > len(key) if key.startswith(".") else domain == key


@frozen
class Line(Generic[T]):
    """One line of a table.

    :param number: 1 for the first line of the option.
    """

    pattern: Pattern
    value: T
    number: int

    def __str__(self) -> str:
        return f"{self.pattern} {self.value}"


@frozen
class Table(Generic[T]):
    """Lines in order."""

    lines: tuple[Line[T], ...] = ()

    def find(self, domain: str, sender: str = "") -> Line[T] | None:
        """The first line that is for this recipient's domain and this sender, or None."""
        domain = normal(domain)
        return next((one for one in self.lines if one.pattern.matches(domain, sender)), None)

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


def _domain(text: str, at: int) -> str:
    dot = text.startswith(".")
    try:
        name = host_name(text.removeprefix("."))
    except ValueError:
        name = ""
    if text.startswith("[") and name and not dot:
        return text.lower()
    if not name or not HOST_NAME.fullmatch(name):
        raise BadValue(f"{text!r} is not a domain, .domain or *", at=at)
    return ("." if dot else "") + name.lower().rstrip(".")


def _pattern(text: str, at: int) -> Pattern:
    if text == "*":
        return Pattern("*")
    kind, colon, rest = text.partition(":")
    if colon and not text.startswith("["):
        if kind != "from":
            meant = f"from:{rest}" if rest and nearest(kind, ("from",)) else None
            raise BadValue(f"{text!r} is not a domain, .domain, * or from:SENDER", at=at, suggestion=meant)
        at += len("from:")
        if rest == "<>":
            return Pattern("", sender=True)
        local, sign, domain = rest.rpartition("@")
        if sign and not local:
            raise BadValue(f"{rest!r} has nothing before the @", at=at)
        key = _domain(domain, at + len(local) + len(sign))
        if sign and key.startswith("."):
            raise BadValue(f"{rest!r}: an address has a whole domain", at=at + len(local) + 1)
        return Pattern(f"{local.lower()}@{key}" if sign else key, sender=True)
    if "@" in text:
        domain = text.rpartition("@")[2]
        raise BadValue(f"{text!r}: recipients are told apart by domain only", at=at, suggestion=domain or None)
    return Pattern(_domain(text, at))


def table(text: str, value: Callable[[str, int], T]) -> Table[T]:
    """Read a table.

    :param value: reads the value of a line; it is given its text and where that starts.
    :raises BadValue: all that is wrong with it; also a line that an earlier one leaves nothing to.
    """
    lines: list[Line[T]] = []
    seen: dict[Pattern, int] = {}
    wrong: list[BadValue] = []
    at = 0
    for number, raw in enumerate(text.split("\n"), 1):
        try:
            if words := re.match(r"\s*(\S+)\s*(.*?)\s*\Z", raw):
                start = at + words.start(1)
                pattern = _pattern(words[1], start)
                earlier = seen.get(pattern) or seen.get(Pattern("*"))
                if earlier is not None:
                    raise BadValue(f"no message comes to this line: line {earlier} takes all of {pattern}", at=start)
                seen[pattern] = number
                lines.append(Line(pattern, value(words[2], at + words.start(2)), number))
        except BadValue as bad:
            wrong.append(bad)
        at += len(raw) + 1
    if len(lines) > MAX_LINES:
        wrong.append(BadValue(f"{len(lines)} lines are more than {MAX_LINES}"))
    if wrong:
        raise together([one for bad in wrong for one in (bad, *bad.more)])
    return Table(tuple(lines))


def _tls_word(text: str, at: int) -> str:
    if text not in TLS_WORDS:
        raise BadValue(f"{text!r} is not one of {', '.join(TLS_WORDS)}", at=at, suggestion=nearest(text, TLS_WORDS))
    return text


def routes() -> ValueType[Table[Place]]:
    """Where mail of some senders, or for some domains, goes, as an option: a line each."""

    def parse(text: str, _: Context) -> Table[Place]:
        return table(text, place)

    return ValueType(
        name="routes",
        bounds="lines of DOMAIN, .DOMAIN, *, from:ADDRESS or from:DOMAIN, and a place",
        parse=parse,
        multiline=True,
    )


def tls_policies() -> ValueType[Table[str]]:
    """The TLS that some destinations must have, as an option: a line each. Only domains, no senders."""

    def parse(text: str, _: Context) -> Table[str]:
        found = table(text, _tls_word)
        wrong = [BadValue(f"{one.pattern}: TLS is decided by destination") for one in found.lines if one.pattern.sender]
        if wrong:
            raise together(wrong)
        return found

    return ValueType(
        name="tls policies",
        bounds=f"lines of DOMAIN, .DOMAIN or *, and one of {', '.join(TLS_WORDS)}",
        parse=parse,
        multiline=True,
    )
