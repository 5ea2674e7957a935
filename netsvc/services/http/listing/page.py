"""Draws the page that lists a directory: breadcrumbs, names, sizes, dates; links sort it. No I/O.

There is a script only where a person may change something from the page (:mod:`.panel`).
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from html import escape
from urllib.parse import quote_from_bytes

from netsvc.services.http.listing.entries import MAX_ENTRIES, Entry, Order, in_order
from netsvc.services.http.listing.offers import Offers
from netsvc.services.http.listing.panel import panel, panel_script, panel_style
from netsvc.services.http.pages import page
from netsvc.services.http.site.paths import can_be_asked_for

_STYLE = """
nav a{padding:.15rem 0}nav a[aria-current]{color:var(--ink)}h1 span{font-weight:400;color:var(--dim)}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;border-bottom:1px solid var(--line);vertical-align:baseline}
th{padding:0;font-size:.875rem;font-weight:600;position:sticky;top:0;z-index:1;background:var(--paper)}
th a{display:block;padding:.6rem .5rem;color:var(--dim)}th[aria-sort] a{color:var(--ink)}
td{padding:0 .5rem}td:first-child{padding:0;overflow-wrap:anywhere}
td:first-child>*{display:block;position:relative;padding:.45rem .5rem .45rem 2.1rem}
tbody tr:hover{background:var(--hover)}
td+td,th+th{text-align:right;white-space:nowrap;color:var(--dim);font-size:.875rem}
td:first-child>*:before{content:"";position:absolute;left:.6rem;top:.75rem;width:.75rem;height:.9rem;
border:1.5px solid var(--faint);border-radius:2px}
td .d:before{left:.5rem;width:1rem;height:.85rem;border:0;background:linear-gradient(var(--folder),var(--folder))
0 0/45% 40% no-repeat,linear-gradient(var(--folder),var(--folder)) 0 100%/100% 80% no-repeat}
td .u:before{border:0;content:"\\2191";line-height:.9rem;color:var(--dim)}
i{font-style:normal;color:var(--dim);font-size:.8em}
@media(max-width:40rem){td+td span{display:none}td{padding:0 .25rem}th a{padding:.6rem .25rem}
td:first-child>*{padding:.55rem .25rem .55rem 1.85rem}td:first-child>*:before{left:.35rem;top:.85rem}
td .d:before{left:.25rem}}
"""

_UNITS = ("KiB", "MiB", "GiB", "TiB")
_EASY = re.compile(rb"[A-Za-z0-9._~-]+")  # a name that is its own URL and its own HTML
# Control characters, and those that turn the direction of text: a name with them could look like another one.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def size_text(octets: int) -> str:
    """A size for people: ``812 B``, ``1.4 MiB``."""
    if octets < 1024:
        return f"{octets} B"
    amount = float(octets)
    for unit in _UNITS:
        amount /= 1024
        if amount < 1023.95 or unit == "TiB":
            break
    return f"{amount:.1f} {unit}"


@lru_cache(maxsize=1024)
def _minute(minutes: int) -> tuple[str, str]:
    at = time.gmtime(minutes * 60)
    if not 1 <= at.tm_year <= 9999:
        return "", ""
    return f"{at.tm_year:04}-{at.tm_mon:02}-{at.tm_mday:02}", f"{at.tm_hour:02}:{at.tm_min:02}"


def date_and_time(seconds: float | None) -> tuple[str, str]:
    """A time for people: ("2027-01-15", "08:00") of UTC; empty for none, and for one that no calendar has."""
    if seconds is None:
        return "", ""
    try:
        return _minute(int(seconds // 60))
    except (ValueError, OverflowError, OSError):
        return "", ""


def name_text(name: bytes) -> str:
    """A name as HTML: what cannot be seen is spelled out."""
    if _EASY.fullmatch(name):
        return name.decode("ascii")
    text = escape(name.decode("utf-8", "backslashreplace"))
    return _ODD.sub(lambda match: f"<i>U+{ord(match[0]):04X}</i>", text)


def _row(entry: Entry) -> str:
    """A row. The end tags that HTML does not need (13.1.2.4) are left out: they are a fifth of a long list."""
    name, directory = entry.name, entry.directory
    slash = "/" if directory else ""
    kind = ' class="d"' if directory else ""
    if _EASY.fullmatch(name):
        text = name.decode("ascii")
        cell = f'<a{kind} href="./{text}{slash}">{text}{slash}</a>'
    elif can_be_asked_for(name):
        cell = f'<a{kind} href="./{quote_from_bytes(name, safe="")}{slash}"><bdi>{name_text(name)}</bdi>{slash}</a>'
    else:
        cell = f'<span{kind} title="No address leads to this name."><bdi>{name_text(name)}</bdi>{slash}</span>'
    size = entry.size
    if size is None:
        amount = "<td>"
    elif size < 1024:
        amount = f"<td>{size} B"
    else:
        amount = f'<td title="{size:,} bytes">{size_text(size)}'
    day, hour = date_and_time(entry.modified)
    when = f"<td>{day}<span> {hour}</span>" if day else "<td>"
    return f"<tr><td>{cell}{amount}{when}"


def _breadcrumbs(segments: tuple[bytes, ...]) -> str:
    links = [f'<a href="{"../" * len(segments) or "./"}">/</a>']
    for at, segment in enumerate(segments):
        up = "../" * (len(segments) - at - 1) or "./"
        links.append(f'<a href="{up}"><bdi>{name_text(segment)}</bdi>/</a>')
    links[-1] = links[-1].replace("<a ", '<a aria-current="page" ', 1)
    return " ".join(links)


def _heads(order: Order) -> str:
    heads = []
    for by, title in (("name", "Name"), ("size", "Size"), ("date", 'Modified<span class="hide"> (UTC)</span>')):
        if by == order.by:
            turn = "asc" if order.descending else "desc"
            arrow = "&darr;" if order.descending else "&uarr;"
            state = "descending" if order.descending else "ascending"
            heads.append(
                f'<th scope="col" aria-sort="{state}"><a href="?sort={by}&amp;order={turn}">{title}'
                f' <span aria-hidden="true">{arrow}</span></a></th>'
            )
        else:
            turn = "asc" if by == "name" else "desc"  # what is looked for is the largest and the newest
            heads.append(f'<th scope="col"><a href="?sort={by}&amp;order={turn}">{title}</a></th>')
    return "".join(heads)


def _amount(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _summary(entries: list[Entry], more: bool) -> str:
    if more:
        return f"Only {MAX_ENTRIES:,} of the names are shown."
    if not entries:
        return "This directory is empty."
    directories = sum(entry.directory for entry in entries)
    parts = []
    if directories:
        parts.append(_amount(directories, "directory", "directories"))
    if len(entries) > directories:
        size = sum(entry.size or 0 for entry in entries)
        parts.append(f"{_amount(len(entries) - directories, 'file', 'files')}, {size_text(size)}")
    return "; ".join(parts) + ". Times are UTC."


def _head(segments: tuple[bytes, ...]) -> str:
    return f'<nav aria-label="Path"><h1><span>Index of</span> {_breadcrumbs(segments)}</h1></nav>\n'


def _title(segments: tuple[bytes, ...]) -> str:
    path = b"/".join((b"", *segments, b"")).decode("utf-8", "replace")
    return "Index of " + _ODD.sub("\N{REPLACEMENT CHARACTER}", path)


def listing_page(
    segments: tuple[bytes, ...], entries: list[Entry], more: bool, order: Order, offers: Offers | None = None
) -> bytes:
    """The page.

    :param segments: the decoded URL path of the directory.
    :param more: whether there are more entries than these.
    :param offers: what may be changed from the page, with a form and a script; None for a page without either.
    """
    rows = "\n".join(map(_row, in_order(entries, order)))
    if segments:
        up = '<tr><td><a class="u" href="../">Parent directory</a></td><td></td><td></td></tr>'
        rows = f"{up}\n{rows}" if rows else up
    table = f"<table>\n<thead><tr>{_heads(order)}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n" if rows else ""
    found = f'<p class="dim">{_summary(entries, more)}</p>\n{table}'
    if offers is None:
        return page(_title(segments), _head(segments) + found, _STYLE)
    return _with_panel(segments, offers, found)


def drop_page(segments: tuple[bytes, ...], offers: Offers) -> bytes:
    """The page of a directory for who may put files there and see none.

    :param segments: the decoded URL path of the directory.
    """
    return _with_panel(segments, offers, '<p class="dim">Files can be put here. What is here is not shown.</p>\n')


def _with_panel(segments: tuple[bytes, ...], offers: Offers, found: str) -> bytes:
    body = f'{_head(segments)}{panel(offers)}<div id="list">\n{found}</div>\n'
    return page(_title(segments), body, _STYLE + panel_style(), panel_script())
