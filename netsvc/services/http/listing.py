"""Draws the page that lists a directory: breadcrumbs, names, sizes, dates; links sort it; no script.

Hidden names, CGI directories and names that no request can ask for are not shown. Symbolic links are shown without
what they lead to.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote_from_bytes

from attrs import frozen

from netsvc.services.http.pages import page
from netsvc.services.http.paths import Policy, can_be_asked_for

MAX_ENTRIES = 10_000  # names shown; a page of more helps nobody and takes the reactor's time

_STYLE = """
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.4rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-size:.875rem;font-weight:600}th a{color:var(--dim)}
tbody tr:hover{background:var(--hover)}
td:first-child{overflow-wrap:anywhere}
td+td,th+th{text-align:right;white-space:nowrap;color:var(--dim)}
@media(max-width:32rem){th:nth-child(3),td:nth-child(3){display:none}main{padding:1rem .5rem}}
"""


@frozen(kw_only=True)
class Entry:
    """One name in a directory.

    :param name: as it is on disk.
    :param directory: whether it is one.
    :param size: octets; None for directories and links.
    :param modified: seconds since the epoch; None for links.
    """

    name: bytes
    directory: bool
    size: int | None
    modified: float | None


_ORDERS = {
    "name": lambda entry: entry.name.lower(),
    "size": lambda entry: entry.size or 0,
    "date": lambda entry: entry.modified or 0.0,
}


def read_directory(descriptor: int, policy: Policy) -> tuple[list[Entry], bool]:
    """The entries that may be shown, at most MAX_ENTRIES, and whether there are more.

    :param descriptor: an open directory.
    """
    found: list[Entry] = []
    cgi = {name.lower() for name in policy.cgi}
    with os.scandir(descriptor) as entries:
        for one in entries:
            name = os.fsencode(one.name)
            if (name.startswith(b".") and not policy.dotfiles) or not can_be_asked_for(name):
                continue
            if len(found) >= MAX_ENTRIES:
                return found, True
            try:
                known = one.stat(follow_symlinks=False)
                link = stat.S_ISLNK(known.st_mode)
                directory = one.is_dir() if link else stat.S_ISDIR(known.st_mode)
            except OSError:  # gone meanwhile
                continue
            if (link and policy.follow == "no") or (directory and name.lower() in cgi):
                continue
            if not (link or directory or stat.S_ISREG(known.st_mode)):
                continue
            size = None if link or directory else known.st_size
            found.append(Entry(name=name, directory=directory, size=size, modified=None if link else known.st_mtime))
    return found, False


def size_text(octets: int) -> str:
    """A size for people: ``812 B``, ``1.4 MiB``."""
    if octets < 1024:
        return f"{octets} B"
    amount = float(octets)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024 or unit == "TiB":
            break
    return f"{amount:.1f} {unit}"


def date_text(seconds: float | None) -> str:
    """A time for people: ``2027-01-15 08:00``, of UTC; "" for none, and for one before the year 1 or after 9999."""
    if seconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):
        return ""


def _row(entry: Entry) -> str:
    slash = "/" if entry.directory else ""
    href = f"./{quote_from_bytes(entry.name, safe='')}{slash}"
    size = "" if entry.size is None else size_text(entry.size)
    return (
        f'<tr><td><a href="{href}">{escape(entry.name.decode("utf-8", "replace"))}{slash}</a></td>'
        f"<td>{size}</td><td>{date_text(entry.modified)}</td></tr>"
    )


def _breadcrumbs(segments: tuple[bytes, ...]) -> str:
    links = [f'<a href="{"../" * len(segments) or "./"}">/</a>']
    for at, segment in enumerate(segments):
        up = "../" * (len(segments) - at - 1) or "./"
        links.append(f'<a href="{up}">{escape(segment.decode("utf-8", "replace"))}/</a>')
    return " ".join(links)


def listing_page(segments: tuple[bytes, ...], entries: list[Entry], more: bool, query: bytes) -> bytes:
    """The page.

    :param segments: the decoded URL path of the directory.
    :param query: ``sort=name|size|date`` and ``order=asc|desc``; anything else is ignored.
    """
    asked = dict(part.partition("=")[::2] for part in query.decode("latin-1").split("&"))
    sort = asked.get("sort", "name")
    sort = sort if sort in _ORDERS else "name"
    descending = asked.get("order") == "desc"
    ordered = sorted(entries, key=_ORDERS[sort], reverse=descending)
    ordered.sort(key=lambda entry: not entry.directory)
    heads = []
    for word, title in (("name", "Name"), ("size", "Size"), ("date", "Modified (UTC)")):
        turn = "desc" if word == sort and not descending else "asc"
        arrow = (" &darr;" if descending else " &uarr;") if word == sort else ""
        heads.append(f'<th><a href="?sort={word}&amp;order={turn}">{title}{arrow}</a></th>')
    path = "/" + "".join(segment.decode("utf-8", "replace") + "/" for segment in segments)
    rows = "\n".join(map(_row, ordered))
    if segments:
        rows = '<tr><td><a href="../">../</a></td><td></td><td></td></tr>\n' + rows
    note = f'<p class="dim">Only the first {MAX_ENTRIES} names are shown.</p>' if more else ""
    if not entries:
        note = '<p class="dim">This directory is empty.</p>'
    return page(
        f"Index of {path}",
        f"<h1>{_breadcrumbs(segments)}</h1>\n<table>\n<thead><tr>{''.join(heads)}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table>\n{note}",
        _STYLE,
    )
