"""Reads a directory for its list, and puts it in order. No network, no Twisted.

Hidden names and CGI directories are left out, and the file store's own names whatever else is shown. Symbolic links are
shown without what they lead to.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from attrs import frozen

from netsvc.services.http.site.paths import OF_STORE, Policy

MAX_ENTRIES = 10_000  # names shown; a page of more helps nobody

_DIGITS = re.compile(r"([0-9]+)")


class Entry(NamedTuple):
    """One name in a directory. A tuple, since there may be many thousands.

    :param name: as it is on disk.
    :param directory: whether it is one, or a link to one.
    :param link: whether it is a symbolic link.
    :param size: octets; None for directories and links.
    :param modified: seconds since the epoch; None for links.
    :param digest: SHA-256 of a file, where one is kept and was asked for.
    """

    name: bytes
    directory: bool = False
    link: bool = False
    size: int | None = None
    modified: float | None = None
    digest: bytes | None = None


KeptDigest = Callable[[int, bytes, os.stat_result], bytes | None]
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def read_directory(descriptor: int, policy: Policy, kept_digest: KeptDigest | None = None) -> tuple[list[Entry], bool]:
    """The entries that may be shown, at most MAX_ENTRIES, and whether there are more. Blocks.

    :param descriptor: an open directory.
    :param kept_digest: gives the SHA-256 that is kept of an open file: (descriptor, name, its stat).
    """
    found: list[Entry] = []
    cgi = {name.lower() for name in policy.cgi}
    with os.scandir(descriptor) as entries:
        for one in entries:
            name = os.fsencode(one.name)
            if name.startswith(OF_STORE if policy.dotfiles else b"."):
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
            digest = None if size is None or kept_digest is None else _digest(descriptor, name, kept_digest)
            found.append(Entry(name, directory, link, size, modified, digest))
    return found, False


def _digest(directory: int, name: bytes, kept: KeptDigest) -> bytes | None:
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except OSError:
        return None
    try:
        return kept(descriptor, name, os.fstat(descriptor))
    finally:
        os.close(descriptor)


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
