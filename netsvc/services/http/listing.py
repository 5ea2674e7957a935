"""Answers GET and HEAD of a directory that has no index: a page for people, JSON for programs.

The directory is read, and its list made, in a thread: a large or slow one holds nobody up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.services.http.compress import gzipped
from netsvc.services.http.conditional import Validators, precondition
from netsvc.services.http.encodings import accepted_codings, preferred_type
from netsvc.services.http.entries import asked_order, read_directory
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.listing_json import listing_json
from netsvc.services.http.listing_page import listing_page
from netsvc.services.http.pages import NOSNIFF, PAGE_HEADERS
from netsvc.services.http.paths import Directory, Policy
from netsvc.services.http.static_settings import StaticSettings

log = Logger()

PAGE = b"text/html"
JSON = b"application/json"
_VARY = (b"Vary", b"Accept, Accept-Encoding")
_LEVEL = 1  # of gzip: names in order shrink well, and each list is made anew


@frozen
class _List:
    headers: Headers
    body: bytes
    etag: bytes


class Listings:
    """Lists directories of one scope.

    :param policy: what may be shown.
    :param settings: whether lists may be compressed.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    """

    def __init__(self, policy: Policy, settings: StaticSettings, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._policy = policy
        self._settings = settings
        self._in_thread = in_thread

    def answer(self, exchange: Any, directory: Directory) -> None:
        """Answer an exchange whose method is GET or HEAD. Closes the directory."""
        making = self._in_thread(self._make, directory, exchange.head)
        making.addBoth(self._made, exchange, directory)
        making.addErrback(self._failed, exchange)

    def _make(self, directory: Directory, head: RequestHead) -> _List:
        """The list that a request asks for. Blocks."""
        entries, more = read_directory(directory.descriptor, self._policy)
        order = asked_order(head.query)
        # A browser names HTML; who names neither, or takes everything, may be a person with curl or a crawler: a page.
        kind = preferred_type(head.all(b"accept"), (PAGE, JSON)) or PAGE
        headers: Headers
        if kind == JSON:
            body = listing_json(directory.segments, entries, more, order)
            headers = ((b"Content-Type", JSON), NOSNIFF)
        else:
            body = listing_page(directory.segments, entries, more, order)
            headers = PAGE_HEADERS
        tag = hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii")
        coding: Headers = ()
        if (
            self._settings.compress
            and len(body) >= self._settings.compress_min
            and accepted_codings(head.all(b"accept-encoding")).weight(b"gzip")
        ):
            body = gzipped(body, _LEVEL)
            tag += b"-gzip"
            coding = ((b"Content-Encoding", b"gzip"),)
        return _List((*headers, *coding), body, b'"%s"' % tag)

    def _made(self, result: _List | Failure, exchange: Any, directory: Directory) -> None:
        directory.close()
        if isinstance(result, Failure):
            result.raiseException()
            return
        known: Headers = ((b"ETag", result.etag), (b"Cache-Control", b"no-cache"), _VARY)
        status = precondition(exchange.head, Validators(etag=result.etag, modified=None))
        if status == 304:
            exchange.answer(304, known, b"")
        elif status is not None:
            exchange.refuse(status)
        else:
            exchange.answer(200, (*result.headers, *known), result.body)

    def _failed(self, failure: Failure, exchange: Any) -> None:
        log.error(
            "the list of {path} could not be made: {reason}",
            event="http-listing-failed",
            path=exchange.head.path.decode("latin-1"),
            reason=failure.getErrorMessage(),
            request_id=exchange.request_id,
        )
        exchange.refuse(500)
