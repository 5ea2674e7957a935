"""What files will be called: as the last part of their URL, and never as another URL's file. Pure."""

from __future__ import annotations

from collections.abc import Callable

from netsvc.filestore.errors import BadNameError
from netsvc.filestore.names import check_name
from netsvc.services.fetch.download.wire.url import UrlError, parse_url

MOST_TWINS = 10_000


def name_in(url: str, *, windows: bool = False) -> str:
    """The name that a URL has for its file; empty when it has none that a file may have."""
    try:
        return check_name(parse_url(url).name, windows=windows)
    except (UrlError, BadNameError):
        return ""


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name, or ``name-2.jpg`` and so on if files of other URLs have it."""
    if not name or not is_taken(name):
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    for number in range(2, MOST_TWINS):
        candidate = f"{stem}-{number}{dot}{suffix}"
        if not is_taken(candidate):
            return candidate
    return ""
