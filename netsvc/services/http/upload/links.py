"""The addresses of uploads that are not finished: the address that asked for one, with the upload's id in its query.

A query is part of no file's name, so that none of them can ever be taken for a file.
"""

from __future__ import annotations

import re

from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.site.paths import join
from netsvc.services.http.upload.door import Door

_LINK = re.compile(rb"upload=([0-9a-f]{32})")
_KEY = b"upload="


def is_link(head: RequestHead) -> bool:
    """Whether a request is about an upload, be it there or not."""
    return head.query.startswith(_KEY)


def id_of(head: RequestHead) -> str:
    """The id of the upload that a request is about; "" when it is none that could ever have been given."""
    match = _LINK.fullmatch(head.query)
    return match[1].decode("ascii") if match else ""


def link(door: Door, upload_id: str) -> bytes:
    """The address of an upload that was asked for at a door: a path, which holds for whatever host was meant."""
    names = (*door.root, *(name.encode() for name in door.names))
    return join(names, directory=door.directory) + b"?" + _KEY + upload_id.encode("ascii")
