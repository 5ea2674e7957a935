"""Writes the list of a directory as JSON, for programs. No I/O.

The shape is promised; names may be added to it, none is changed or taken away::

    {"path": "/a/", "truncated": false, "entries": [
      {"name": "b c.txt", "type": "file", "size": 5, "mtime": "2027-01-15T08:00:00.250000Z", "href": "./b%20c.txt"}]}

``type`` is "file", "directory" or "link" (to a file, or to nothing; a link to a directory is a directory). ``size`` is
in octets, null for directories and links. ``mtime`` is an RFC 3339 time of UTC, null where it is not known. ``href`` is
relative to the list, and null for a name that no URL leads to (one with a control character or a backslash). Octets of
a name that are not UTF-8 stand as U+FFFD in ``name``, and as they are in ``href``. The order is that of the page.
``truncated`` says that there are more. A file whose SHA-256 is kept has ``digest`` too, written as in the field
Repr-Digest (RFC 9530): ``"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"``.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes

from netsvc.services.http.listing.entries import Entry, Order, in_order
from netsvc.services.http.site.paths import can_be_asked_for


def rfc3339(seconds: float | None) -> str | None:
    """A time with microseconds, of UTC; None for none, and for one that no calendar has."""
    if seconds is None:
        return None
    try:
        return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    except (ValueError, OverflowError, OSError):
        return None


def _entry(entry: Entry) -> dict[str, str | int | None]:
    slash = "/" if entry.directory else ""
    name = entry.name
    found: dict[str, str | int | None] = {
        "name": name.decode("utf-8", "replace"),
        "type": "directory" if entry.directory else "link" if entry.link else "file",
        "size": entry.size,
        "mtime": rfc3339(entry.modified),
        "href": f"./{quote_from_bytes(name, safe='')}{slash}" if can_be_asked_for(name) else None,
    }
    if entry.digest is not None:
        found["digest"] = f"sha-256=:{base64.b64encode(entry.digest).decode('ascii')}:"
    return found


def listing_json(segments: tuple[bytes, ...], entries: list[Entry], more: bool, order: Order) -> bytes:
    """The list, in UTF-8.

    :param segments: the decoded URL path of the directory.
    :param more: whether there are more entries than these.
    """
    found = {
        "path": "/" + "".join(segment.decode("utf-8", "replace") + "/" for segment in segments),
        "truncated": more,
        "entries": [_entry(entry) for entry in in_order(entries, order)],
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
