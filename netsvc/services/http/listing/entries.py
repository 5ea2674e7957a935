"""Reads a directory for its list, and puts it in order. No network, no Twisted.

Hidden names and CGI directories are left out. Symbolic links are shown without what they lead to.
"""

from __future__ import annotations

import os
import re
import stat
from operator import attrgetter
from typing import NamedTuple

from attrs import frozen

from netsvc.services.http.site.paths import Policy

MAX_ENTRIES = 10_000  # names shown; a page of more helps nobody

_DIGITS = re.compile(r"([0-9]+)")


class Entry(NamedTuple):
    """One name in a directory. A tuple, since there may be many thousands.

    :param name: as it is on disk.
    :param directory: whether it is one, or a link to one.
    :param link: whether it is a symbolic link.
    :param size: octets; None for directories and links.
    :param modified: seconds since the epoch; None for links.
    """

    name: bytes
    directory: bool = False
    link: bool = False
    size: int | None = None
    modified: float | None = None


def read_directory(descriptor: int, policy: Policy) -> tuple[list[Entry], bool]:
    """The entries that may be shown, at most MAX_ENTRIES, and whether there are more. Blocks.

    :param descriptor: an open directory.
    """
    found: list[Entry] = []
    cgi = {name.lower() for name in policy.cgi}
    with os.scandir(descriptor) as entries:
        for one in entries:
            name = os.fsencode(one.name)
            if name.startswith(b".") and not policy.dotfiles:
                continue
            if len(found) >= MAX_ENTRIES:
                return found, True
            try:
                known = one.stat(follow_symlinks=False)
                mode = known.st_mode
                link = stat.S_ISLNK(mode)
                directory = one.is_dir() if link else stat.S_ISDIR(mode)
            except OSError:  # gone meanwhile
                continue
            if (link and policy.follow == "no") or (directory and name.lower() in cgi):
                continue
            if not (link or directory or stat.S_ISREG(mode)):
                continue
            size = None if link or directory else known.st_size
            modified = None if link else known.st_mtime
            found.append(Entry(name=name, directory=directory, link=link, size=size, modified=modified))
    return found, False


@frozen(kw_only=True)
class Order:
    """What a list is sorted by; directories always come first.

    :param by: "name", "size" or "date".
    """

    by: str = "name"
    descending: bool = False


def natural(name: bytes) -> list[str | int]:
    """What sorts names as people do: no case, and numbers by their value."""
    parts: list[str | int] = list(_DIGITS.split(name.decode("utf-8", "surrogateescape").casefold()))
    parts[1::2] = map(int, parts[1::2])  # digits stand at the odd places, so that only like is compared with like
    return parts


def asked_order(query: bytes) -> Order:
    """The order that a query asks for: ``sort=name|size|date`` and ``order=asc|desc``; anything else is ignored."""
    asked = dict(part.partition("=")[::2] for part in query.decode("latin-1").split("&"))
    by = asked.get("sort", "name")
    return Order(by=by if by in ("name", "size", "date") else "name", descending=asked.get("order") == "desc")


def in_order(entries: list[Entry], order: Order) -> list[Entry]:
    """The entries, sorted; those that are alike by their names."""
    found = sorted(entries, key=lambda entry: natural(entry.name), reverse=order.by == "name" and order.descending)
    if order.by == "size":
        found.sort(key=lambda entry: -1 if entry.size is None else entry.size, reverse=order.descending)
    elif order.by == "date":
        found.sort(
            key=lambda entry: float("-inf") if entry.modified is None else entry.modified, reverse=order.descending
        )
    found.sort(key=attrgetter("directory"), reverse=True)
    return found
