r"""Who gets the mail of root, cron and other names without a mailbox. No I/O but the reading of the file at start.

The file is that of aliases(5), without what runs programs or writes files:

    # a comment
    postmaster: root
    root:       admin@example.com, "second admin"@example.com,
                \root

Names match in either case. A name that stands among its own targets, or has a backslash before it, means the local
mailbox itself and is not looked up again. Names that lead to each other in a circle are an error of the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from attrs import field, frozen

from netsvc.config.options import ValueType
from netsvc.services.smtp_client.rewriting.lines import Complain, file_of, is_address, is_local_part

MAX_TARGETS = 1000  # recipients that one message may come to, as many as it may be handed in with

_NAME = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s:"#]+)\s*:')
_TARGET = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^,"])*)(?:,|\Z)')
_FORBIDDEN = (
    ("|", "a program is never run for mail"),
    ("/", "mail is never written to a file"),
    (":include:", "other files are not read"),
)


class TooManyTargetsError(Exception):
    """The recipients of one message come to more than :data:`MAX_TARGETS`."""


@frozen
class Aliases:
    r"""Names and where their mail goes.

    :param entries: (name in lower case, its targets in order); a target is an address, a name, or a name behind ``\``.
    """

    entries: tuple[tuple[str, tuple[str, ...]], ...] = ()
    _by_name: Mapping[str, tuple[str, ...]] = field(init=False, eq=False, repr=False)

    @_by_name.default
    def _index(self) -> Mapping[str, tuple[str, ...]]:
        return dict(self.entries)

    def expand(self, recipients: Iterable[str], local_domains: Collection[str]) -> tuple[str, ...]:
        """The recipients in the place of these, each once, in order. Names that have no alias stay names.

        :param recipients: with or without a domain.
        :param local_domains: in lower case: in these a name may have an alias; a name without a domain always may.
        :raises TooManyTargetsError: they are too many.
        """
        found: dict[str, None] = {}
        for recipient in recipients:
            local, at, domain = recipient.rpartition("@")
            name = local if at else recipient
            if (at and domain.lower() not in local_domains) or name.lower() not in self._by_name:
                found[recipient] = None
            else:
                self._follow(name, local_domains, found)
            if len(found) > MAX_TARGETS:
                raise TooManyTargetsError(f"the aliases lead to more than {MAX_TARGETS} recipients")
        return tuple(found)

    def _follow(self, first: str, local_domains: Collection[str], found: dict[str, None]) -> None:
        seen: set[str] = set()
        waiting = [first]
        while waiting and len(found) <= MAX_TARGETS:
            name = waiting.pop()
            if name.lower() in seen:
                continue
            seen.add(name.lower())
            further = []
            for target in self._by_name[name.lower()]:
                bare = _bare(target, local_domains)
                if bare is None or bare.lower() == name.lower() or bare.lower() not in self._by_name:
                    found[target.removeprefix("\\")] = None
                else:
                    further.append(bare)
            waiting += reversed(further)


def _bare(target: str, local_domains: Collection[str]) -> str | None:
    """The name that may be looked up for a target, or None."""
    if target.startswith("\\"):
        return None
    local, at, domain = target.rpartition("@")
    if not at:
        return target
    return local if domain.lower() in local_domains else None


def read_aliases(text: str, complain: Complain) -> Aliases:
    """The aliases that a file holds; what is wrong in it is left out and complained of."""
    found: dict[str, tuple[str, ...]] = {}
    places: dict[str, tuple[int, int]] = {}
    faulty: set[str] = set()  # names one of whose targets was complained of
    name = ""  # whose targets continue on an indented line; empty after a fault

    def complain_of_target(line: int, column: int, message: str) -> None:
        faulty.add(name)
        complain(line, column, message)

    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t":
            if not places and not name:
                complain(number, 1, "a line that begins with a blank continues the one above, and there is none")
            elif name:
                found[name] += _targets(line, 0, number, complain_of_target)
            continue
        match = _NAME.match(line)
        name = ""
        if match is None:
            complain(number, 1, "an alias is a name, a colon, and where its mail goes")
            continue
        word = re.sub(r"\\(.)", r"\1", match[1][1:-1]) if match[1].startswith('"') else match[1]
        if not (is_local_part(word) or is_local_part(match[1])):
            complain(number, match.start(1) + 1, f"{match[1]!r} is no name without a domain")
            places.setdefault(word.lower(), (number, match.start(1) + 1))
        elif word.lower() in places:
            complain(number, match.start(1) + 1, f"{match[1]!r} stands in line {places[word.lower()][0]} already")
        else:
            name = word.lower()
            places[name] = (number, match.start(1) + 1)
            found[name] = _targets(line, match.end(), number, complain_of_target)
    for one in sorted(found.keys() - faulty, key=places.__getitem__):
        if not found[one]:
            complain(*places[one], f"{one!r} has nowhere for its mail to go")
    for circle in _circles(found):
        complain(*places[circle[0]], f"{' -> '.join((*circle, circle[0]))} is a circle: that mail would go nowhere")
    return Aliases(tuple(sorted(found.items())))


def _targets(line: str, start: int, number: int, complain: Complain) -> tuple[str, ...]:
    """The targets on a line from an offset."""
    found = []
    while start < len(line):
        match = _TARGET.match(line, start)
        if match is None:
            complain(number, start + len(line[start:]) - len(line[start:].lstrip()) + 1, "a quote has no end")
            break
        word = match[1].strip()
        column = start + len(match[1]) - len(match[1].lstrip()) + 1
        start = match.end() if match.end() > start else start + 1
        if not word:
            continue
        unquoted = word.strip('"').lstrip()
        why = next((reason for mark, reason in _FORBIDDEN if unquoted.lower().startswith(mark)), None)
        if why is not None:
            complain(number, column, f"{word!r} is not allowed: {why}")
        elif is_address(word) or is_local_part(word.removeprefix("\\")):
            found.append(word)
        else:
            complain(number, column, f"{word!r} is no address and no name")
    return tuple(found)


def _circles(found: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Names that lead to each other, each circle once. A name among its own targets is none."""
    edges = {
        name: [one.lower() for one in targets if one.lower() in found and one.lower() != name]
        for name, targets in found.items()
    }
    circles: list[tuple[str, ...]] = []
    done: set[str] = set()
    for first in edges:
        path: dict[str, None] = {}  # in order
        stack: list[tuple[str, int]] = [(first, 0)]
        while stack:
            name, at = stack.pop()
            if at == 0:
                if name in path:
                    names = tuple(path)
                    circles.append(names[names.index(name) :])
                    continue
                if name in done:
                    continue
                path[name] = None
            if at < len(edges[name]):
                stack += [(name, at + 1), (edges[name][at], 0)]
            else:
                path.popitem()
                done.add(name)
    return circles


def aliases() -> ValueType[tuple[str, Aliases]]:
    """A file with aliases, or ``none``."""
    return file_of("aliases", "none, or the path of a file as aliases(5) describes it", Aliases(), read_aliases)


NO_ALIASES = ("none", Aliases())
