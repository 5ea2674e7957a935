"""Redirect rules: old paths of a site to new ones. No I/O, no Twisted.

``/old /new``, ``/blog/* https://blog.example.org/*``, ``/gone https://example.org/ 302``. A path is compared decoded,
name by name, as the router sees it; what a ``*`` stands for is encoded anew, so that nothing that a peer sends can
change the host of a target or break its answer.
"""

from __future__ import annotations

import re

from attrs import evolve, frozen

from netsvc.config.options import Context, ValueType
from netsvc.errors import BadValue
from netsvc.services.http.site.paths import Refused, join, split
from netsvc.services.http.site.values import lines

STATUSES = (301, 302, 303, 307, 308)  # RFC 9110 15.4
MAX_HOPS = 20  # redirects in a row that browsers follow

_TARGET = re.compile(r"(?:/(?!/)|https?://[A-Za-z0-9.\[\]:_-]+/|https?://[A-Za-z0-9.\[\]:_-]+\Z)[!-~]*")


@frozen
class Rule:
    """One rule.

    :param names: of the old path, decoded.
    :param rest: whether the old path ended with ``/*``: everything below it, and itself.
    :param target: URL or path, encoded; a ``*`` at its end stands for what the other one stood for.
    :param status: one of :data:`STATUSES`.
    """

    names: tuple[bytes, ...]
    rest: bool
    target: str
    status: int

    def location(self, names: tuple[bytes, ...], directory: bool, query: bytes) -> bytes | None:
        """Where a path is redirected to, or None when this rule is not about it.

        :param query: of the request; it goes along unless the target has one.
        """
        if names[: len(self.names)] != self.names or (not self.rest and len(names) != len(self.names)):
            return None
        target = self.target.encode("ascii")
        if target.endswith(b"*"):
            below = names[len(self.names) :]
            target = target[:-1] + (join(below, directory=directory)[1:] if below else b"")
        if query and b"?" not in target:
            path, number, fragment = target.partition(b"#")
            target = path + b"?" + query + number + fragment
        return target


def redirect_to(
    rules: tuple[Rule, ...], names: tuple[bytes, ...], directory: bool, query: bytes
) -> tuple[int, bytes] | None:
    """(status, location) of the first rule that is about a path, or None."""
    for rule in rules:
        location = rule.location(names, directory, query)
        if location is not None:
            return rule.status, location
    return None


def _rule(line: str) -> Rule:
    words = line.split()
    if len(words) not in (2, 3):
        raise BadValue(f"{line!r} is not OLD NEW or OLD NEW STATUS")
    old, target = words[:2]
    status = words[2] if len(words) == 3 else "301"
    if not status.isascii() or not status.isdigit() or int(status) not in STATUSES:
        raise BadValue(f"{status!r} is not one of {', '.join(map(str, STATUSES))}")
    rest = old.endswith("/*")
    found = split((old[:-1] if rest else old).encode())
    if isinstance(found, Refused):
        raise BadValue(f"{old!r} is not a path: {found.reason}")
    if "*" in old[: -1 if rest else None]:
        raise BadValue(f"{old!r}: a * stands at the end only, behind a slash")
    if not _TARGET.fullmatch(target):
        raise BadValue(f"{target!r} is neither a path nor an http or https URL, in printable ASCII")
    if "*" in target[:-1] or (target.endswith("*") and not (rest and target.endswith("/*"))):
        raise BadValue(f"{target!r}: a * stands at the end only, behind a slash, and only if the old path has one")
    return Rule(found[0], rest, target, int(status))


def _show(rule: Rule) -> str:
    old = join(rule.names, directory=rule.rest).decode("ascii") + ("*" if rule.rest else "")
    return f"{old} {rule.target} {rule.status}"


def _is_endless(rules: tuple[Rule, ...], rule: Rule) -> bool:
    """Whether a browser that follows a rule would never arrive."""
    names = (*rule.names, b"x") if rule.rest else rule.names
    for _ in range(MAX_HOPS):
        moved = redirect_to(rules, names, False, b"")
        if moved is None or not moved[1].startswith(b"/"):
            return False
        found = split(re.split(rb"[?#]", moved[1])[0])
        if isinstance(found, Refused):
            return False
        names = found[0]
    return True


def redirects() -> ValueType[tuple[Rule, ...]]:
    """``OLD NEW [STATUS]``, one a line; the first that fits is taken."""
    kind = lines(_rule, _show, "OLD NEW [STATUS], one a line")

    def parse(text: str, context: Context) -> tuple[Rule, ...]:
        rules = kind.parse(text, context)
        for rule in rules:
            if _is_endless(rules, rule):
                raise BadValue(f"{_show(rule)!r} leads back to itself: a browser would never arrive")
        return rules

    return evolve(kind, parse=parse)
