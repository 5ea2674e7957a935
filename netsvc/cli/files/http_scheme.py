"""http:// and https://: GET that goes on (Range with If-Range), PUT, the JSON list of a directory, DELETE.

Goes on only where the server has named the file's state with a strong ETag (RFC 9110 13.1.5), and only if that is still
its state. Digests are Repr-Digest (RFC 9530): one that the server sends is always checked.
"""

from __future__ import annotations

import http.client
import json
import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from netsvc.cli.files import tus
from netsvc.cli.files.errors import NotVerifiedError, TransferError
from netsvc.cli.files.http_connection import asked, expect
from netsvc.cli.files.local import Download, Source, Target
from netsvc.cli.files.locations import Location
from netsvc.cli.files.meter import Meter
from netsvc.cli.files.ways import Facts, Listed, Wishes, got
from netsvc.filestore.records import Partial

LARGEST_LIST = 64 << 20  # octets of a directory's list as JSON

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?=,|$)")
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})\Z")
_STRONG = re.compile(r'"[\x21\x23-\x7e]*"\Z')
_WANTED = {"Want-Repr-Digest": "sha-256=10"}


def _digest(answer: http.client.HTTPResponse) -> bytes | None:
    """The SHA-256 of the whole file, as the server has it; None if it does not say."""
    found = _SHA256.search(answer.headers["Repr-Digest"] or "")
    try:
        return b64decode(found[1], validate=True) if found else None
    except Error:
        return None


def _of_date(text: str) -> float | None:
    """Seconds since the epoch of a date as HTTP has it, or None."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def get(location: Location, target: Target, wishes: Wishes, meter: Meter) -> Facts:
    """Fetch a file, or the rest of one."""
    kept = target.kept(target.named(location.name)) if wishes.resume else None
    if kept is not None and (kept.meta.get("url") != str(location) or not kept.meta.get("etag")):
        kept = None
    if kept is not None:
        facts = _get(location, target, wishes, meter, kept)
        if facts is not None:
            return facts
    facts = _get(location, target, wishes, meter, None)
    assert facts is not None  # noqa: S101 - only a rest can be out of range
    return facts


def _get(location: Location, target: Target, wishes: Wishes, meter: Meter, kept: Partial | None) -> Facts | None:
    """Fetch it; None if the rest that was asked for is out of range: nothing is missing, or the file is shorter now."""
    headers = dict(_WANTED)
    if kept is not None:
        headers |= {"Range": f"bytes={kept.offset}-", "If-Range": kept.meta["etag"]}
    with asked("GET", location, wishes, headers=headers, stop=meter.stop) as (_, answer):
        if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and kept is not None:
            return None
        expect(answer, *((200,) if kept is None else (200, 206)))
        wanted = _digest(answer)
        if wishes.verify and wanted is None:
            raise NotVerifiedError("the server tells no digest: --verify cannot be done")
        size = answer.length if answer.status == http.client.OK else _rest(answer, kept)
        if kept is not None and answer.status == http.client.PARTIAL_CONTENT:
            download = target.go_on(kept)
        else:
            etag = answer.headers["ETag"] or ""
            meta = {"url": str(location), "etag": etag} if _STRONG.match(etag) else None
            download = target.begin(target.named(location.name), size, meta)
        with download:
            start = download.offset
            meter.expect(size, at=start)
            _take(answer, download, meter)
            meter.check()
            entry = download.commit(size=size, digest=wanted, modified=_of_date(answer.headers["Last-Modified"] or ""))
    return got(target, entry, verified=wanted is not None, resumed_at=start)


def _rest(answer: http.client.HTTPResponse, kept: Partial | None) -> int:
    """The length of the whole, of an answer that is the rest that was asked for.

    :raises TransferError: it is something else.
    """
    assert kept is not None  # noqa: S101 - nobody else asks for a part
    found = _RANGE.match(answer.headers["Content-Range"] or "")
    if found is None:
        raise TransferError("the server sends a part, but not which")
    first, last, size = map(int, found.groups())
    if first != kept.offset or last != size - 1:
        raise TransferError(f"the server sends octets {first} to {last} of {size}, {kept.offset} to the end were asked")
    if answer.length is not None and answer.length != size - first:
        raise TransferError("the server contradicts itself about the length")
    return size


def _take(answer: http.client.HTTPResponse, download: Download, meter: Meter) -> None:
    """Take the body.

    :raises TransferError: it was cut.
    """
    try:
        while data := answer.read(meter.piece):
            download.write(data)
            meter.moved(len(data))
    except http.client.IncompleteRead:
        raise TransferError("the connection was cut") from None
    if answer.length:
        raise TransferError(f"the connection was cut: {answer.length} octets are missing")


def put(source: Source, location: Location, wishes: Wishes, meter: Meter) -> Facts:
    """Send a file."""
    if not location.name:
        location = location.beneath(quote(source.name, safe=""))
    start = tus.put(source, location, wishes, meter) if wishes.resume else None
    if start is None:
        _put(source, location, wishes, meter)
    if wishes.verify:
        _compare(location, wishes, meter, source.digest())
    return {"stored": str(location), "verified": wishes.verify, "resumed_at": start or 0}


def _put(source: Source, location: Location, wishes: Wishes, meter: Meter) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.size)}
    if wishes.verify:
        headers["Repr-Digest"] = f"sha-256=:{b64encode(source.digest()).decode('ascii')}:"
    meter.expect(source.size)

    def body() -> Iterator[bytes]:
        for block in source.blocks(length=meter.piece):
            yield block
            meter.moved(len(block))

    with asked("PUT", location, wishes, headers=headers, body=body(), stop=meter.stop) as (_, answer):
        expect(answer, 200, 201, 204)
        answer.read(LARGEST_LIST)


def _compare(location: Location, wishes: Wishes, meter: Meter, digest: bytes) -> None:
    """Make sure that the server has what it was sent.

    :raises NotVerifiedError: it has not, or does not tell.
    """
    with asked("HEAD", location, wishes, headers=_WANTED, stop=meter.stop) as (_, answer):
        expect(answer, 200)
        found = _digest(answer)
    if found is None:
        raise NotVerifiedError("the file is sent, but the server tells no digest: --verify cannot be done")
    if found != digest:
        raise NotVerifiedError("the server has stored other octets")


def ls(location: Location, wishes: Wishes) -> Iterator[Listed]:
    """The list of a directory of a server that has one as JSON (this daemon, or nginx with autoindex_format json).

    :raises TransferError: there is none; or, behind its names, it is not whole.
    """
    with asked("GET", location, wishes, headers={"Accept": "application/json"}) as (_, answer):
        expect(answer, 200)
        kind = answer.headers.get_content_type()
        octets = answer.read(LARGEST_LIST + 1) if kind == "application/json" else b""
    if not octets or len(octets) > LARGEST_LIST:
        raise TransferError(
            f"that is no list of a directory as JSON ({kind})" if not octets else "the list is too long"
        )
    try:
        found = json.loads(octets)
        entries = found["entries"] if isinstance(found, dict) else found
        listed = [_listed(one) for one in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TransferError("the JSON is no list of a directory") from None
    yield from listed
    if isinstance(found, dict) and found.get("truncated") is True:
        raise TransferError(f"the server lists no more than these {len(listed)} names, and has more")


def _listed(one: dict[str, Any]) -> Listed:
    """One entry. A size or a time that makes no sense is none."""
    size, time = one.get("size"), one.get("mtime")
    modified = None
    if isinstance(time, str):
        try:
            modified = datetime.fromisoformat(time).timestamp()
        except (ValueError, OverflowError):
            modified = _of_date(time)
    return Listed(str(one["name"]), one.get("type") == "directory", size if isinstance(size, int) else None, modified)


def rm(location: Location, wishes: Wishes) -> None:
    """Remove a file, or an empty directory."""
    with asked("DELETE", location, wishes, body=()) as (_, answer):
        expect(answer, 200, 202, 204)
