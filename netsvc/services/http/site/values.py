"""Types of options that a scope has beside its files: names of hosts, header fields, error pages. No Twisted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from netsvc.config.options import Context, ValueType
from netsvc.config.scopes import parse_prefix
from netsvc.errors import BadValue, together

T = TypeVar("T")

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\t -~]*")
_STATUS = re.compile(r"[45][0-9][0-9]|4xx|5xx")

# These are the server's own: they say how an answer is framed, or what it is.
_OWN_FIELDS = frozenset(
    ("connection", "content-length", "transfer-encoding", "keep-alive", "te", "trailer", "upgrade", "date", "server")
) | frozenset(
    ("content-range", "content-encoding", "content-type", "etag", "last-modified", "location", "accept-ranges")
)


def lines(one: Callable[[str], T], show: Callable[[T], str], bounds: str) -> ValueType[tuple[T, ...]]:
    """A value of several lines, each parsed by itself; faults are placed at their line."""

    def parse(text: str, _: Context) -> tuple[T, ...]:
        found: list[T] = []
        wrong: list[BadValue] = []
        for match in re.finditer(r"[^\n]+", text):
            try:
                found.append(one(match[0].strip()))
            except BadValue as bad:
                wrong.append(BadValue(bad.message, at=match.start()))
        if wrong:
            raise together(wrong)
        return tuple(found)

    return ValueType(
        name="lines", bounds=bounds, parse=parse, show=lambda value: "\n".join(map(show, value)), multiline=True
    )


def header_field(line: str) -> tuple[str, str]:
    """``Name: value`` that may be added to any answer."""
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise BadValue(f"{line!r} is not Name: value")
    if name.lower() in _OWN_FIELDS:
        raise BadValue(f"{name} is set by the server itself")
    if not _VALUE.fullmatch(value):
        raise BadValue(f"the value of {name} is not printable ASCII")
    return name, value.strip()


def error_page_rule(line: str) -> tuple[str, str]:
    """``404 /errors/404.html`` or ``5xx /errors/down.html``: (status, path below the root of the site)."""
    status, _, path = line.partition(" ")
    path = path.strip()
    if not _STATUS.fullmatch(status) or not path.startswith("/") or not path.isprintable():
        raise BadValue(f"{line!r} is not STATUS /PATH, such as 404 /errors/404.html or 5xx /errors/down.html")
    return status, path


def host_name(text: str) -> str:
    """The name of a host, in lower case and A-labels; it may begin with ``*.``."""
    prefix = parse_prefix(f"//{text}")
    if prefix.names:
        raise BadValue(f"{text!r} is not the name of a host")
    return prefix.host


def site_path() -> ValueType[str]:
    """A path of the site; empty is none."""

    def parse(text: str, _: Context) -> str:
        if text and not (text.startswith("/") and text.isprintable()):
            raise BadValue(f"{text!r} is not a path of the site, such as /index.html")
        return text

    return ValueType(name="path", bounds="a path of the site, or empty", parse=parse)
