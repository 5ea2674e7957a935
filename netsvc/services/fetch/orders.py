"""What the outbox holds for us: an order to begin a run, and an order for each file of it. No I/O.

The URLs are in the content, with the passwords that may stand in them; targets and records have them without.
"""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

from attrs import field, frozen

RUN = "run"  # meta["order"] of an order to begin
FILE = "file"
MISSING = "missing"  # in place of a checksum: the list has none for the file, which is not taken then


class OrderError(ValueError):
    """What the outbox holds is no order of ours."""


@frozen
class RunOrder:
    """Read the list and the feed, and order what they name."""

    def encode(self) -> bytes:
        """The content of an item."""
        return b'{"v":1}'


@frozen(kw_only=True)
class FileOrder:
    """Get one file.

    :param name: what it will be called; empty: as the answer says.
    :param checksum: as ``sha256:HEX``, empty, or :data:`MISSING`.
    """

    url: str = field(repr=False)
    name: str = ""
    checksum: str = ""

    def encode(self) -> bytes:
        """The content of an item."""
        whole = {"v": 1, "url": self.url, "name": self.name, "checksum": self.checksum}
        return json.dumps(whole, separators=(",", ":")).encode()


def decode(content: bytes) -> RunOrder | FileOrder:
    """The order of an item's content.

    :raises OrderError: it is none.
    """
    try:
        whole = json.loads(content)
        if whole["v"] != 1:
            raise OrderError("the order was written by another version of netsvc")
        if "url" not in whole:
            return RunOrder()
        return FileOrder(url=str(whole["url"]), name=str(whole["name"]), checksum=str(whole["checksum"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, OrderError):
            raise
        raise OrderError("what is in the queue is no order of ours") from None


def key_of(url: str) -> str:
    """A URL's name in records, which tells nothing of it."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def host_of(url: str) -> str:
    """Where a URL leads, as the outbox's word for it."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
