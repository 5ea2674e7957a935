"""Answers GET and HEAD of a file: validators, conditions, ranges; small files from memory, others from the kernel."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.net.sendfile import FileShrankError
from netsvc.services.http.answer import field_lines, http_date
from netsvc.services.http.conditional import Validators, precondition, range_applies
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.media_types import media_type
from netsvc.services.http.pages import NOSNIFF
from netsvc.services.http.paths import File
from netsvc.services.http.ranges import Range, UnsatisfiableError, content_range, parse_ranges, part_heads
from netsvc.services.http.ready import Ready, ReadyAnswers, identity

log = Logger()

TAIL = 16384  # octets of a large file that are sent only after a look whether its content is still the same
_READS = 3  # tries to read a small file that changes meanwhile


def _still_has(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether an open file still has what it had. One that has grown was appended to, as logs are.

    The change time would say too much: it moves with another mode or link, and when a new version is renamed into the
    file's place; who was sent the old one still gets all of it.
    """
    return now.st_size > before.st_size or (now.st_mtime_ns, now.st_size) == (before.st_mtime_ns, before.st_size)


def validators_of(found: os.stat_result, now: float) -> Validators:
    """What tells versions of a file apart: its identity, length and modification time in nanoseconds.

    :param now: seconds since the epoch: Last-Modified is never later (RFC 9110 8.8.2.1).
    """
    return Validators(
        etag=b'"%x-%x-%x"' % (found.st_ino, found.st_size, found.st_mtime_ns & 0xFFFFFFFFFFFFFFFF),
        modified=int(min(found.st_mtime, now)),
    )


class StaticFiles:
    """Sends files.

    :param ready: where whole answers of small files are kept.
    :param small: octets; files up to this length are read as a whole.
    :param now: seconds since the epoch.
    """

    def __init__(self, ready: ReadyAnswers, small: int, now: Callable[[], float]) -> None:
        self._ready = ready
        self._small = small
        self._now = now

    def answer(self, exchange: Any, file: File, key: bytes | None = None) -> None:
        """Answer an exchange whose method is GET or HEAD. Closes the file.

        :param key: the raw path under which the answer may be kept, or None.
        """
        sending: Deferred[None] | None = None
        try:
            sending = self._answer(exchange, file, key)
        finally:
            if sending is None:
                os.close(file.descriptor)
        if sending is not None:
            sending.addBoth(self._sent, exchange, file)

    def _answer(self, exchange: Any, file: File, key: bytes | None, reads: int = _READS) -> Deferred[None] | None:
        """Answer at once (None), or begin to send from the file.

        :param reads: how often a small file may yet be read.
        """
        head: RequestHead = exchange.head
        now = self._now()
        length = file.stat.st_size
        validators = validators_of(file.stat, now)
        known: Headers = (
            (b"Last-Modified", http_date(validators.modified)),
            (b"ETag", validators.etag),
        )
        status = precondition(head, validators)
        if status == 304:
            exchange.answer(304, known, b"")
            return None
        if status is not None:
            exchange.refuse(status)
            return None
        kind = media_type(file.path.rpartition(b"/")[2])
        headers: Headers = ((b"Content-Type", kind), *known, (b"Accept-Ranges", b"bytes"), NOSNIFF)
        asked = head.all(b"range") if head.method == "GET" else []
        if len(asked) == 1 and range_applies(head, validators, now):
            try:
                ranges = parse_ranges(asked[0], length)
            except UnsatisfiableError:
                exchange.refuse(416, headers=((b"Content-Range", b"bytes */%d" % length), *known))
                return None
            if ranges is not None:
                return self._partial(exchange, file, ranges, headers, kind)
        if head.method == "HEAD":
            exchange.begin(200, headers, length)
            exchange.finish()
            return None
        if length <= self._small:
            body = os.pread(file.descriptor, length + 1, 0)
            after = os.fstat(file.descriptor)
            if identity(after) == identity(file.stat) and len(body) == length:
                if key is not None and self._ready.may_keep(after, now):
                    rest = b"%sContent-Length: %d\r\n\r\n%s" % (field_lines(headers), length, body)
                    self._ready.add(key, Ready(file.path, identity(after), rest, length, now))
                exchange.answer(200, headers, body)
                return None
            if reads > 1:  # all that was said of it is to be said anew
                return self._answer(exchange, evolve(file, stat=after), key, reads - 1)
            exchange.refuse(503, headers=((b"Retry-After", b"1"),))
            return None
        exchange.begin(200, headers, length)
        return self._parts(exchange, file, (Range(0, length),), [b""], b"")

    def _partial(
        self, exchange: Any, file: File, ranges: tuple[Range, ...], headers: Headers, kind: bytes
    ) -> Deferred[None]:
        length = file.stat.st_size
        if len(ranges) == 1:
            exchange.begin(206, (*headers, (b"Content-Range", content_range(ranges[0], length))), ranges[0].length)
            return self._parts(exchange, file, ranges, [b""], b"")
        boundary = secrets.token_hex(16).encode("ascii")
        heads, tail, total = part_heads(ranges, length, kind, boundary)
        parted = ((b"Content-Type", b"multipart/byteranges; boundary=" + boundary), *headers[1:])
        exchange.begin(206, parted, total)
        return self._parts(exchange, file, ranges, heads, tail)

    @inlineCallbacks
    def _parts(
        self, exchange: Any, file: File, ranges: tuple[Range, ...], heads: list[bytes], tail: bytes
    ) -> Generator[Deferred[None], None, None]:
        """Send parts of the file. The end of the last is held back until the file is seen not to have changed."""
        for at, (one, head) in enumerate(zip(ranges, heads, strict=True)):
            if head:
                exchange.write(head)
            last = at == len(ranges) - 1
            held = min(one.length, TAIL) if last else 0
            yield exchange.send_file(file.descriptor, one.start, one.length - held)
            if last:
                end = os.pread(file.descriptor, held, one.stop - held)
                if len(end) < held or not _still_has(os.fstat(file.descriptor), file.stat):
                    raise FileShrankError("its content changed")
                exchange.write(end + tail)
        exchange.finish()

    def _sent(self, result: Failure | None, exchange: Any, file: File) -> None:
        """All is well; or the peer left, or the file changed, or cannot be read: the answer is cut."""
        os.close(file.descriptor)
        if result is None:
            return
        exchange.abort()
        if isinstance(result.value, FileShrankError):
            log.warn(
                "{path} changed while it was sent",
                event="http-file-changed",
                path=os.fsdecode(file.path),
                request_id=exchange.request_id,
            )
        elif not isinstance(result.value, ConnectionError):
            log.error(
                "{path} could not be sent: {reason}",
                event="http-file-failed",
                path=os.fsdecode(file.path),
                reason=result.getErrorMessage(),
                request_id=exchange.request_id,
            )
