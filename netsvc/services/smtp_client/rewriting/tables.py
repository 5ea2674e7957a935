"""Tables that map addresses to addresses, and the file that holds one. No I/O but the reading of the file at start.

One entry a line, two words; what comes first is looked for, what comes second takes its place:

    root@web.example.com   hostmaster@example.com    an address
    root                   hostmaster@example.com    that name in the origin domain
    @web.example.com       @example.com              a whole domain; ``@`` behind keeps the local part

The most exact entry wins: address, then name, then domain. Letters match in either case. What an entry made is not
looked up again, so no table can run in circles. Empty lines and lines that begin with ``#`` say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import field, frozen

from netsvc.config.options import ValueType
from netsvc.services.smtp_client.rewriting.lines import Complain, file_of, is_address, is_domain, is_local_part

_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')  # a quoted local part may hold blanks


@frozen
class Table:
    """What to put in whose place.

    :param entries: (what is looked for, in lower case; what takes its place), each looked for once.
    """

    entries: tuple[tuple[str, str], ...] = ()
    _by_pattern: Mapping[str, str] = field(init=False, eq=False, repr=False)

    @_by_pattern.default
    def _index(self) -> Mapping[str, str]:
        return dict(self.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def look_up(self, address: str, origin: str) -> str:
        """The address that takes this one's place; the same when no entry matches.

        :param address: with its domain.
        :param origin: the domain in which names without one are.
        """
        if not self.entries:
            return address
        local, _, domain = address.rpartition("@")
        keys = [address.lower(), f"@{domain.lower()}"]
        if domain.lower() == origin.lower():
            keys.insert(1, local.lower())
        for key in keys:
            found = self._by_pattern.get(key)
            if found is not None:
                return f"{local}{found}" if found.startswith("@") else qualified(found, origin)
        return address


EMPTY = Table()


def qualified(address: str, origin: str) -> str:
    """The address with the origin domain if it has none; the null sender stays."""
    return f"{address}@{origin}" if address and not _has_domain(address) and origin else address


def _has_domain(address: str) -> bool:
    return "@" in (address.rpartition('"')[2] if address.startswith('"') else address)


def read_table(text: str, complain: Complain) -> Table:
    """The table that a file holds; what is wrong in it is left out and complained of."""
    found: dict[str, str] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = list(_WORD.finditer(line))
        first_column = len(line) - len(line.lstrip()) + 1
        if len(words) != 2:
            complain(number, first_column, "an entry is two words: what is looked for, and what takes its place")
            continue
        pattern, result = words[0][0], words[1][0]
        if not _is_pattern(pattern):
            complain(number, words[0].start() + 1, f"{pattern!r} is no address, no name and no @domain")
        elif not _is_pattern(result):
            complain(number, words[1].start() + 1, f"{result!r} is no address, no name and no @domain")
        elif pattern.lower() in found:
            complain(number, words[0].start() + 1, f"{pattern!r} stands in line {places[pattern.lower()]} already")
        else:
            found[pattern.lower()] = result
            places[pattern.lower()] = number
    return Table(tuple(sorted(found.items())))


def _is_pattern(word: str) -> bool:
    if word.startswith("@"):
        return is_domain(word[1:])
    return is_address(word) if _has_domain(word) else is_local_part(word)


def table() -> ValueType[tuple[str, Table]]:
    """A file with a table of addresses, or ``none``."""
    return file_of("table", "none, or the path of a table of addresses", EMPTY, read_table)


NO_TABLE = ("none", EMPTY)
