"""Sends a file by tus 1.0 (tus.io/protocols/resumable-upload), so that a later run can go on.

Where an upload stands, the server knows; where it is, is written down in the user's state directory until it is done.
The server is told the SHA-256 of the whole when the upload begins, and may check it at the end. What is missing goes in
one request, or in as many as the server wants: tus has no field for how long one may be, so that of the IETF's draft is
looked for (Upload-Limit: max-append-size), which this daemon sends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urljoin

from attrs import evolve, frozen

from netsvc.cli.files.errors import NotThereError, TransferError, UsageError
from netsvc.cli.files.http_connection import asked, expect
from netsvc.cli.files.local import Source
from netsvc.cli.files.locations import Location, parse_location
from netsvc.cli.files.meter import Meter
from netsvc.cli.files.ways import Wishes

_RESUMABLE = {"Tus-Resumable": "1.0.0"}
_CHUNK = "application/offset+octet-stream"
_LIMIT = re.compile(r"(?:^|,)[ \t]*max-append-size=([1-9][0-9]{0,14})[ \t]*(?=[,;]|$)")


@frozen
class _Stand:
    """Where an upload stands.

    :param offset: octets that the server has.
    :param most: octets that one request may bring; None for any.
    """

    offset: int
    most: int | None


class Remembered:
    """Where the upload of one file to one place is, kept over runs.

    A file that has changed since is another one. What cannot be written down is only not known later.
    """

    def __init__(self, source: Source, location: Location) -> None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        which = json.dumps([str(source.path.resolve()), source.size, source.modified_ns, str(location)])
        self._path = state / "netsvc" / "uploads" / hashlib.sha256(which.encode("utf-8", "surrogateescape")).hexdigest()

    def read(self) -> str | None:
        """The upload's URL, or None."""
        try:
            return self._path.read_text("ascii")
        except (OSError, ValueError):
            return None

    def write(self, url: str) -> None:
        """Keep it."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.write_text(url, "ascii")

    def forget(self) -> None:
        """The upload is no more."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def put(source: Source, location: Location, wishes: Wishes, meter: Meter) -> int | None:
    """Send a file, or the rest of it: octets that were there before. None: the server does not speak tus.

    :param location: of the file.
    """
    remembered = Remembered(source, location)
    found = remembered.read()
    upload = None if found is None else _same_host(location, found)
    stand = None if upload is None else _stands(upload, source, wishes, meter)
    if upload is None or stand is None:
        remembered.forget()
        begun = _begin(source, location, wishes, meter)
        if begun is None:
            return None
        upload, stand = begun
        remembered.write(f"{upload.scheme}://{upload.authority}{upload.path}")
    meter.expect(source.size, at=stand.offset)
    offset = stand.offset
    while offset < source.size:
        stop = source.size if stand.most is None else min(source.size, offset + stand.most)
        _send(source, upload, range(offset, stop), wishes, meter)
        offset = stop
    remembered.forget()
    return stand.offset


def _same_host(location: Location, url: str) -> Location | None:
    """Where an upload is; None if that is on another server, which would be told the password."""
    with contextlib.suppress(UsageError, ValueError):
        found = parse_location(urljoin(f"{location.scheme}://{location.authority}{location.path}", url))
        if (found.scheme, found.host, found.port) == (location.scheme, location.host, location.port):
            return evolve(found, user=location.user, password=location.password)
    return None


def _stands(upload: Location, source: Source, wishes: Wishes, meter: Meter) -> _Stand | None:
    """Where an upload stands; None if the server knows nothing of it."""
    try:
        with asked("HEAD", upload, wishes, headers=_RESUMABLE, stop=meter.stop) as (_, answer):
            expect(answer, 200, 204)
            offset, most = _offset(answer), _most(answer)
    except NotThereError:
        return None
    return _Stand(offset, most) if offset <= source.size else None


def _begin(source: Source, location: Location, wishes: Wishes, meter: Meter) -> tuple[Location, _Stand] | None:
    """Begin an upload; where it is. None: the server does not speak tus."""
    directory = evolve(location, path=location.path.rpartition("/")[0] + "/")
    headers = {
        **_RESUMABLE,
        "Upload-Length": str(source.size),
        "Upload-Metadata": f"filename {b64encode(location.name.encode()).decode('ascii')}",
        "Repr-Digest": f"sha-256=:{b64encode(source.digest()).decode('ascii')}:",
        "Content-Length": "0",
    }
    with asked("POST", directory, wishes, headers=headers, body=(), stop=meter.stop) as (_, answer):
        if answer.headers["Tus-Resumable"] is None:
            return None
        expect(answer, 201)
        found = _same_host(directory, answer.headers["Location"] or "")
        stand = _Stand(0, _most(answer))
    if found is None:
        raise TransferError("the server begins the upload on another server, which is not followed")
    return found, stand


def _send(source: Source, upload: Location, part: range, wishes: Wishes, meter: Meter) -> None:
    """Send some of the octets."""

    def body() -> Iterator[bytes]:
        for block in source.blocks(part.start, meter.piece, stop=part.stop):
            yield block
            meter.moved(len(block))

    headers = {
        **_RESUMABLE,
        "Content-Type": _CHUNK,
        "Upload-Offset": str(part.start),
        "Content-Length": str(len(part)),
    }
    with asked("PATCH", upload, wishes, headers=headers, body=body(), stop=meter.stop) as (_, answer):
        expect(answer, 204)
        if _offset(answer) != part.stop:
            raise TransferError("the server has not taken all of it")


def _offset(answer: HTTPResponse) -> int:
    text = answer.headers["Upload-Offset"] or ""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise TransferError("the server does not say where the upload stands")
    return int(text)


def _most(answer: HTTPResponse) -> int | None:
    """The octets that one request may bring, if the server says so."""
    found = _LIMIT.search(answer.headers["Upload-Limit"] or "")
    return int(found[1]) if found else None
