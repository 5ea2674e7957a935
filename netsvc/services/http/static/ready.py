"""ReadyAnswers: small files kept in memory as whole answers, each checked against the file before every use.

The check is one stat, which also sees a change of mode, owner or content by the change time. A file is kept only once
it has been still for a while, since a clock of the file system that ticks in steps could hide a change within one step;
and the whole way to it is walked anew every second, so that a link that appears on the way is seen, and a compressed
sibling that appears beside it. An answer that proves the same is then kept on, so that nothing is compressed twice.

An answer is found by site, path, whether TLS carries it, and what the request says of codings (the key): never is it
another site's or in another coding.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from netsvc.services.http.answer import field_lines
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.static.encodings import accepted_codings

STILL = 2.1  # seconds since the last change; the coarsest file system clock (FAT) has steps of 2
WALK_AGAIN = 1.0  # seconds
LAG = 2.0  # seconds that the caller's time may be behind, and more than it is; a clock that was set back is further
_OVERHEAD = 1024  # octets that an entry costs beside its answer, about

Identity = tuple[int, int, int, int, int]
Keys = tuple[bytes, bytes]


def identity(found: os.stat_result) -> Identity:
    """What changes when a file does."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _unchanged(path: bytes, identity: Identity) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev) == identity


class Ready:
    """One answer, but for its status line and the fields that change with time.

    :param path: the file's absolute name.
    :param beside: (absolute name, identity) of the file that is sent in its place, compressed; or None.
    :param headers: all fields but Date, Server and those of framing and connection.
    :param not_modified: the fields of a 304 for the same file.
    :param etag: as in headers; b"" when it has none.
    :param modified: the value of Last-Modified.
    :param walked: seconds since the epoch when the way to the file was last walked.
    """

    __slots__ = (
        "_at", "beside", "etag", "headers", "identity", "lead", "modified", "not_modified", "octets", "packed", "path",
        "rest", "unchanged", "walked",
    )  # fmt: skip

    def __init__(
        self,
        path: bytes,
        identity: Identity,
        *,
        headers: Headers,
        body: bytes,
        walked: float,
        not_modified: Headers = (),
        etag: bytes = b"",
        modified: bytes = b"",
        beside: tuple[bytes, Identity] | None = None,
    ) -> None:
        head = b"%sContent-Length: %d\r\n\r\n" % (field_lines(headers), len(body))
        self.path = path
        self.identity = identity
        self.beside = beside
        self.headers = headers
        self.rest = head + body
        self._at = len(head)
        self.not_modified = not_modified
        self.unchanged = field_lines(not_modified) + b"\r\n"
        self.etag = etag
        self.modified = modified
        self.walked = walked
        self.lead = b""
        self.octets = b""
        self.packed: Any = None  # the same as HTTP/2 sends it, once it was asked for that way (http2/packed.py)

    @property
    def length(self) -> int:
        """Octets of the body."""
        return len(self.rest) - self._at

    @property
    def body(self) -> bytes:
        """The body, copied."""
        return self.rest[self._at :]

    def with_lead(self, lead: bytes) -> bytes:
        """The whole answer over HTTP/1; made once for each `lead` object."""
        if self.lead is not lead:
            self.lead = lead
            self.octets = lead + self.rest
        return self.octets

    def is_known(self, tag: bytes, date: bytes) -> bool:
        """Whether a peer that has named one tag (or b""), and one date (or b""), has this already: 304.

        False may also mean that it takes more than a look to say so.
        """
        return tag == self.etag if tag else date == self.modified

    @property
    def cost(self) -> int:
        """Octets of memory."""
        return 2 * len(self.rest) + _OVERHEAD


def site_by_host(host: str) -> bytes:
    """The host of an authority without its port, for services that have no sites by name."""
    name = host.lower()
    name = name.partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.rstrip(".").encode("ascii", "replace")


class ReadyAnswers:
    """Answers by site, path, carrier and codings.

    :param limit: octets of memory, about; the least recently used go first.
    :param largest: octets; bodies up to this length are kept.
    :param site_of: the name of the site that an authority ("example.com:8000") is for, without spaces. The fewer names
        it gives to hosts that nobody configured, the less a peer can fill the memory with.
    """

    def __init__(self, limit: int, largest: int = 64 << 10, site_of: Callable[[str], bytes] = site_by_host) -> None:
        self._limit = limit
        self.largest = largest
        self._site_of = site_of
        self._size = 0
        self._entries: OrderedDict[bytes, Ready] = OrderedDict()

    @property
    def size(self) -> int:
        """Octets of memory in use, about."""
        return self._size

    def keys(self, head: RequestHead) -> Keys:
        """What answers to a request without body and range are kept by: when it came in the clear, and over TLS."""
        codings = accepted_codings(head.all(b"accept-encoding")).key
        key = b"%s %s %s" % (self._site_of(head.host), codings, head.path)
        return key, b"s " + key

    def find(self, key: bytes, now: float) -> Ready | None:
        """The answer to a plain GET, if the file is what it was.

        :param now: seconds since the epoch; may lag a second behind.
        """
        entry = self._entries.get(key)
        if entry is None or not -LAG < now - entry.walked < WALK_AGAIN:
            return None
        beside = entry.beside
        if _unchanged(entry.path, entry.identity) and (beside is None or _unchanged(*beside)):
            self._entries.move_to_end(key)
            return entry
        self.drop(key)
        return None

    def renew(
        self, key: bytes, identity: Identity, beside: Identity | None, headers: Headers, now: float
    ) -> Ready | None:
        """The kept answer, if it is the one that a walk to the file has led to again; it then counts as walked.

        :param identity: of the file that was found.
        :param beside: of the compressed one that is sent instead.
        :param headers: of the answer.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        if (
            entry.identity == identity
            and (entry.beside[1] if entry.beside else None) == beside
            and entry.headers == headers
        ):
            entry.walked = now
            self._entries.move_to_end(key)
            return entry
        self.drop(key)
        return None

    def may_keep(self, found: os.stat_result, now: float) -> bool:
        """Whether a file has been still for long enough, and is short enough.

        :param now: seconds since the epoch, from before the file was read.
        """
        return now - max(found.st_mtime, found.st_ctime) >= STILL

    def add(self, key: bytes, entry: Ready) -> None:
        """Keep an answer."""
        self.drop(key)
        if entry.cost > self._limit:
            return
        self._entries[key] = entry
        self._size += entry.cost
        while self._size > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._size -= oldest.cost

    def drop(self, key: bytes) -> None:
        """Forget one, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.cost
