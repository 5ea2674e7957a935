"""Sends a file by tus 1.0 (tus.io/protocols/resumable-upload), so that a later run can go on.

Where an upload stands, the server knows; where it is, is written down in the user's state directory until it is done.
The server is told the SHA-256 of the whole when the upload begins, and may check it at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urljoin

from attrs import evolve

from netsvc.cli.files.errors import NotThereError, TransferError, UsageError
from netsvc.cli.files.http_connection import asked, expect
from netsvc.cli.files.local import Source
from netsvc.cli.files.locations import Location, parse_location
from netsvc.cli.files.meter import Meter
from netsvc.cli.files.ways import Wishes

_RESUMABLE = {"Tus-Resumable": "1.0.0"}
_CHUNK = "application/offset+octet-stream"


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
    start = None if upload is None else _stands(upload, source, wishes, meter)
    if upload is None or start is None:
        remembered.forget()
        upload, start = _begin(source, location, wishes, meter), 0
        if upload is None:
            return None
        remembered.write(f"{upload.scheme}://{upload.authority}{upload.path}")
    meter.expect(source.size, at=start)
    if start < source.size:
        _send(source, upload, start, wishes, meter)
    remembered.forget()
    return start


def _same_host(location: Location, url: str) -> Location | None:
    """Where an upload is; None if that is on another server, which would be told the password."""
    with contextlib.suppress(UsageError, ValueError):
        found = parse_location(urljoin(f"{location.scheme}://{location.authority}{location.path}", url))
        if (found.scheme, found.host, found.port) == (location.scheme, location.host, location.port):
            return evolve(found, user=location.user, password=location.password)
    return None


def _stands(upload: Location, source: Source, wishes: Wishes, meter: Meter) -> int | None:
    """Octets that the server has; None if it knows nothing of this upload."""
    try:
        with asked("HEAD", upload, wishes, headers=_RESUMABLE, stop=meter.stop) as (_, answer):
            expect(answer, 200, 204)
            offset = _offset(answer)
    except NotThereError:
        return None
    return offset if offset <= source.size else None


def _begin(source: Source, location: Location, wishes: Wishes, meter: Meter) -> Location | None:
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
    if found is None:
        raise TransferError("the server begins the upload on another server, which is not followed")
    return found


def _send(source: Source, upload: Location, start: int, wishes: Wishes, meter: Meter) -> None:
    def body() -> Iterator[bytes]:
        for block in source.blocks(start, meter.piece):
            yield block
            meter.moved(len(block))

    headers = {
        **_RESUMABLE,
        "Content-Type": _CHUNK,
        "Upload-Offset": str(start),
        "Content-Length": str(source.size - start),
    }
    with asked("PATCH", upload, wishes, headers=headers, body=body(), stop=meter.stop) as (_, answer):
        expect(answer, 204)
        if _offset(answer) != source.size:
            raise TransferError("the server has not taken all of it")


def _offset(answer: HTTPResponse) -> int:
    text = answer.headers["Upload-Offset"] or ""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise TransferError("the server does not say where the upload stands")
    return int(text)
