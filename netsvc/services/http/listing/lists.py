"""Answers GET and HEAD of a directory that has no index: a page for people, JSON for programs.

The directory is read, and its list made, in a thread: a large or slow one holds nobody up. Of each list only one is in
the making; who asks for it meanwhile gets the next one, together with all others who do, so that a list is never older
than the request for it. But that of a directory that has been still for a while is kept for a second: no name in it is
then missing or gone, while a size or a time of a file may be so old.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.services.http.exchange import Headers
from netsvc.services.http.listing.entries import Entry, Order, asked_order, read_directory
from netsvc.services.http.listing.in_json import listing_json
from netsvc.services.http.listing.offers import Offers
from netsvc.services.http.listing.page import listing_page
from netsvc.services.http.listing.panel import panel_headers
from netsvc.services.http.pages import NOSNIFF, PAGE_HEADERS
from netsvc.services.http.site.paths import Directory, Policy
from netsvc.services.http.static.compress import gzipped
from netsvc.services.http.static.conditional import Validators, precondition
from netsvc.services.http.static.encodings import accepted_codings, preferred_type
from netsvc.services.http.static.ready import STILL, Identity, identity
from netsvc.services.http.static.settings import StaticSettings

log = Logger()

PAGE = b"text/html"
JSON = b"application/json"
KEPT = 1.0  # seconds
KEPT_OCTETS = 8 << 20  # of a scope's lists together; a page of as many names as are shown has about one MiB
_VARY = (b"Vary", b"Accept, Accept-Encoding")
_LEVEL = 1  # of gzip: names in order shrink well, and each list is made anew


@frozen(kw_only=True)
class _Wanted:
    """What tells one list from another.

    :param directory: (device, inode).
    :param segments: its decoded URL path, which stands in the list.
    :param kind: PAGE or JSON.
    :param packs: whether it may be compressed.
    :param offers: what may be changed from it.
    """

    directory: tuple[int, int]
    segments: tuple[bytes, ...]
    order: Order
    kind: bytes
    packs: bool
    offers: Offers | None


@frozen(kw_only=True)
class _List:
    """A list that was made.

    :param directory: what the directory was before it was read.
    :param still: whether it had not changed for so long that the next change will show.
    """

    headers: Headers
    body: bytes
    etag: bytes
    directory: Identity
    still: bool


_Asked = tuple[Any, Directory]


class Listings:
    """Lists directories of one scope.

    :param policy: what may be shown.
    :param settings: whether lists may be compressed.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param clock: IReactorTime.
    :param now: seconds since the epoch.
    :param offers: says what whoever asks may change in a directory from its page: (exchange) -> Offers or None.
    :param kept_digest: gives the SHA-256 that is kept of an open file: (user, decoded URL path, descriptor, its stat).
        Blocks.
    """

    def __init__(
        self,
        policy: Policy,
        settings: StaticSettings,
        in_thread: Callable[..., Deferred[Any]],
        clock: Any,
        now: Callable[[], float] = time.time,
        *,
        offers: Callable[[Any], Offers | None] = lambda _: None,
        kept_digest: Callable[[str, tuple[bytes, ...], int, os.stat_result], bytes | None] | None = None,
    ) -> None:
        self._policy = policy
        self._settings = settings
        self._in_thread = in_thread
        self._clock = clock
        self._now = now
        self._offers = offers
        self._kept_digest = kept_digest
        self._waiting: dict[_Wanted, list[_Asked]] = {}  # for each that is in the making: who gets the next one
        self._kept: dict[_Wanted, _List] = {}

    def answer(self, exchange: Any, directory: Directory) -> None:
        """Answer an exchange whose method is GET or HEAD. Closes the directory."""
        head = exchange.head
        found = os.fstat(directory.descriptor)
        # A browser names HTML; who names neither, or takes everything, may be a person with curl or a crawler.
        kind = preferred_type(head.all(b"accept"), (PAGE, JSON)) or PAGE
        wanted = _Wanted(
            directory=(found.st_dev, found.st_ino),
            segments=directory.segments,
            order=asked_order(head.query),
            kind=kind,
            packs=self._settings.compress and accepted_codings(head.all(b"accept-encoding")).weight(b"gzip") > 0,
            offers=self._offers(exchange),
        )
        kept = self._kept.get(wanted)
        if kept is not None and kept.directory == identity(found):
            self._tell(kept, [(exchange, directory)])
        elif wanted in self._waiting:
            self._waiting[wanted].append((exchange, directory))
        else:
            self._begin(wanted, [(exchange, directory)])

    def _begin(self, wanted: _Wanted, asked: list[_Asked]) -> None:
        """Make a list for all who have asked until now."""
        self._waiting[wanted] = []
        self._in_thread(self._make, wanted, asked[0][1].descriptor, asked[0][0].user).addBoth(self._made, wanted, asked)

    def _make(self, wanted: _Wanted, descriptor: int, user: str) -> _List:
        """The list of an open directory, for somebody who may see it. Blocks."""
        now = self._now()
        found = os.fstat(descriptor)
        entries, more = self._read(wanted, descriptor, user)
        headers: Headers
        if wanted.kind == JSON:
            body = listing_json(wanted.segments, entries, more, wanted.order)
            headers = ((b"Content-Type", JSON), NOSNIFF)
        else:
            body = listing_page(wanted.segments, entries, more, wanted.order, wanted.offers)
            headers = PAGE_HEADERS if wanted.offers is None else panel_headers()
        tag = hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii")
        if wanted.packs and len(body) >= self._settings.compress_min:
            body = gzipped(body, _LEVEL)
            tag += b"-gzip"
            headers = (*headers, (b"Content-Encoding", b"gzip"))
        return _List(
            headers=headers,
            body=body,
            etag=b'"%s"' % tag,
            directory=identity(found),
            still=now - max(found.st_mtime, found.st_ctime) >= STILL,
        )

    def _read(self, wanted: _Wanted, descriptor: int, user: str) -> tuple[list[Entry], bool]:
        kept = self._kept_digest
        if kept is None or wanted.kind != JSON:
            return read_directory(descriptor, self._policy)
        return read_directory(
            descriptor, self._policy, lambda file, name, found: kept(user, (*wanted.segments, name), file, found)
        )

    def _made(self, result: _List | Failure, wanted: _Wanted, asked: list[_Asked]) -> None:
        """Answer those for whom it was made, and begin the next one if somebody waits for that."""
        later = self._waiting.pop(wanted)
        if isinstance(result, _List) and result.still:
            self._keep(wanted, result)
            same = [one for one in later if identity(os.fstat(one[1].descriptor)) == result.directory]
            later = [one for one in later if one not in same]
            asked += same
        if later:
            self._begin(wanted, later)
        self._tell(result, asked)

    def _keep(self, wanted: _Wanted, made: _List) -> None:
        self._kept[wanted] = made
        self._clock.callLater(KEPT, self._drop, wanted, made)
        while sum(len(one.body) for one in self._kept.values()) > KEPT_OCTETS:
            del self._kept[next(iter(self._kept))]

    def _drop(self, wanted: _Wanted, made: _List) -> None:
        if self._kept.get(wanted) is made:
            del self._kept[wanted]

    def _tell(self, result: _List | Failure, asked: list[_Asked]) -> None:
        for _, directory in asked:
            directory.close()
        for exchange, _ in asked:
            if isinstance(result, Failure):
                self._failed(result, exchange)
                continue
            try:
                self._answer(result, exchange)
            except Exception:  # noqa: BLE001  (a fault with one costs none of the others)
                self._failed(Failure(), exchange)

    def _answer(self, made: _List, exchange: Any) -> None:
        known: Headers = ((b"ETag", made.etag), (b"Cache-Control", b"no-cache"), _VARY)
        status = precondition(exchange.head, Validators(etag=made.etag, modified=None))
        if status == 304:
            exchange.answer(304, known, b"")
        elif status is not None:
            exchange.refuse(status)
        else:
            exchange.answer(200, (*made.headers, *known), made.body)

    def _failed(self, failure: Failure, exchange: Any) -> None:
        log.error(
            "the list of {path} could not be made: {reason}",
            event="http-listing-failed",
            path=exchange.head.path.decode("latin-1"),
            reason=failure.getErrorMessage(),
            request_id=exchange.request_id,
        )
        exchange.refuse(500)
