"""Answers GET and HEAD of a file: codings, conditions, ranges; from memory, by the kernel, or compressed in blocks."""

from __future__ import annotations

import os
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.errors import StartError
from netsvc.net.sendfile import FileShrankError
from netsvc.services.http.answer import http_date
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.pages import NOSNIFF
from netsvc.services.http.site.paths import File
from netsvc.services.http.static.cache_control import CacheRules
from netsvc.services.http.static.compress import GzipSender, gzipped
from netsvc.services.http.static.conditional import precondition, range_applies
from netsvc.services.http.static.encodings import accepted_codings
from netsvc.services.http.static.media_types import MediaTypes, read_types_file
from netsvc.services.http.static.ranges import Range, UnsatisfiableError, content_range, parse_ranges, part_heads
from netsvc.services.http.static.ready import Ready, ReadyAnswers, identity
from netsvc.services.http.static.representation import Representation, choose
from netsvc.services.http.static.settings import StaticSettings

log = Logger()

TAIL = 16384  # octets of a large file that are sent only after a look whether its content is still the same
SHORT = 1 << 16  # octets; parts that are no more in all are read at once
_READS = 3  # tries to read a small file, or small parts, that change meanwhile
_RANGES: Headers = ((b"Accept-Ranges", b"bytes"),)
_VARY: Headers = ((b"Vary", b"Accept-Encoding"),)


def _still_has(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether an open file still has what it had. One that has grown was appended to, as logs are.

    The change time would say too much: it moves with another mode or link, and when a new version is renamed into the
    file's place; who was sent the old one still gets all of it.
    """
    return now.st_size > before.st_size or (now.st_mtime_ns, now.st_size) == (before.st_mtime_ns, before.st_size)


def _digest(sent: Representation) -> Headers:
    """What says that all octets have come (RFC 9530), where that is known of what is sent."""
    digest = sent.file.digest
    return () if digest is None or sent.packs else ((b"Repr-Digest", b"sha-256=:%s:" % b64encode(digest)),)


@frozen(kw_only=True)
class _Plan:
    """What is said of a file to one exchange.

    :param file: what was found.
    :param sent: what is sent of it.
    :param headers: the fields of a 200 or 206.
    :param known: those of a 304.
    :param key: what the answer may be kept by, or None.
    :param now: seconds since the epoch.
    """

    exchange: Any
    file: File
    sent: Representation
    headers: Headers
    known: Headers
    key: bytes | None
    now: float


class _ChangedError(Exception):
    """A small file, or small parts of one, changed while they were read.

    :param stat: of what it is now.
    """

    def __init__(self, stat: os.stat_result) -> None:
        super().__init__(stat)
        self.stat = stat


class StaticFiles:
    """Sends the files of one scope.

    :param settings: what to add to them, and how to compress them.
    :param ready: where whole answers of small files are kept, for all scopes of a service.
    :param clock: IReactorTime.
    :param now: seconds since the epoch.
    :param fields: what every 200 and 206 has besides.
    :raises StartError: the file of types cannot be read.
    """

    def __init__(
        self,
        settings: StaticSettings,
        ready: ReadyAnswers,
        clock: Any,
        now: Callable[[], float] = time.time,
        *,
        fields: Headers = (),
    ) -> None:
        self._settings = settings
        self._ready = ready
        self._clock = clock
        self._now = now
        self._fields = fields
        self._cache_rules = CacheRules(settings.cache_control)
        others = {}
        if settings.types_file is not None:
            try:
                others = read_types_file(settings.types_file)
            except OSError as error:
                raise StartError(f"the types_file {settings.types_file} cannot be read: {error.strerror}") from error
        self._types = MediaTypes(dict(settings.types), others)

    def answer(self, exchange: Any, file: File, *, keep: bool = False) -> None:
        """Answer an exchange whose method is GET or HEAD. Closes the file.

        :param keep: whether the answer may be kept and given to everybody who asks this site for this path: not where
            it depends on who asks, nor where the path is spelled in one of many ways.
        """
        sending: Deferred[None] | None = None
        try:
            ranged = exchange.head.first(b"range") is not None
            key = self._ready.keys(exchange.head)[exchange.secure] if keep and not ranged else None
            sending = self._answer(exchange, file, key)
        except OSError as error:
            self._unreadable(exchange, file, error.strerror or str(error))
            exchange.refuse(500)
        finally:
            if sending is None:
                file.close()
        if sending is not None:
            sending.addBoth(self._sent, exchange, file)

    def _answer(self, exchange: Any, file: File, key: bytes | None, reads: int = _READS) -> Deferred[None] | None:
        """Answer at once (None), or begin to send from the file.

        :param reads: how often a small file may yet be read.
        """
        head: RequestHead = exchange.head
        now = self._now()
        kind = self._types.of(file.path.rpartition(b"/")[2])
        accepted = accepted_codings(head.all(b"accept-encoding"))
        asked = head.all(b"range") if head.method == "GET" else []
        sent = choose(file, kind, accepted, self._settings, whole=not asked)
        if sent is None:
            exchange.refuse(406, headers=_VARY)
            return None
        validators = sent.validators(now)
        cache = self._cache_rules.value(b"/" + b"/".join(file.names))
        known: Headers = (
            (b"Last-Modified", http_date(sent.modified(now))),
            (b"ETag", validators.etag),
            *(((b"Cache-Control", cache),) if cache is not None else ()),
            *(_VARY if sent.varies else ()),
        )
        headers: Headers = (
            (b"Content-Type", kind),
            *(((b"Content-Encoding", sent.coding),) if sent.coding else ()),
            *known,
            *(() if sent.packs else _RANGES),
            *_digest(sent),
            NOSNIFF,
            *self._fields,
        )
        plan = _Plan(exchange=exchange, file=file, sent=sent, headers=headers, known=known, key=key, now=now)
        status = precondition(head, validators)
        small = sent.file.stat.st_size <= self._ready.largest
        try:
            if status == 304:
                if small and key is not None:  # so that the next one costs a look
                    self._whole(plan)
                exchange.answer(304, known, b"")
                return None
            if status is not None:
                exchange.refuse(status)
                return None
            if len(asked) == 1 and range_applies(head, validators, now):
                try:
                    ranges = parse_ranges(asked[0], sent.file.stat.st_size)
                except UnsatisfiableError:
                    exchange.refuse(416, headers=((b"Content-Range", b"bytes */%d" % sent.file.stat.st_size), *known))
                    return None
                if ranges is not None:
                    return self._partial(exchange, sent.file, ranges, headers, kind)
            if small and (head.method == "GET" or sent.packs):
                exchange.answer(200, headers, self._whole(plan))
                return None
        except _ChangedError as changed:
            if reads > 1 and sent.file is file:  # all that was said of it is to be said anew
                return self._answer(exchange, evolve(file, stat=changed.stat), key, reads - 1)
            exchange.refuse(503, headers=((b"Retry-After", b"1"),))
            return None
        return self._large(exchange, sent, headers)

    def _whole(self, plan: _Plan) -> bytes:
        """The body of a small file, from memory if it is there; and kept, if it may be.

        :raises _ChangedError: it changed meanwhile.
        """
        file, sent, key = plan.file, plan.sent, plan.key
        style = plan.exchange.style
        headers = style.dress(plan.headers)
        beside = None if sent.file is file else identity(sent.file.stat)
        if key is not None:
            entry = self._ready.renew(key, identity(file.stat), beside, headers, plan.now)
            if entry is not None:
                return entry.body
        length = sent.file.stat.st_size
        body = os.pread(sent.file.descriptor, length + 1, 0)
        after = os.fstat(sent.file.descriptor)
        if identity(after) != identity(sent.file.stat) or len(body) != length:
            raise _ChangedError(after)
        if sent.packs:
            body = gzipped(body, self._settings.compress_level)
        if key is not None and self._ready.may_keep(file.stat, plan.now) and self._ready.may_keep(after, plan.now):
            fields = dict(plan.known)
            entry = Ready(
                file.path,
                identity(file.stat),
                headers=headers,
                body=body,
                walked=plan.now,
                not_modified=style.dress(plan.known),
                etag=fields[b"ETag"],
                modified=fields[b"Last-Modified"],
                beside=None if beside is None else (sent.file.path, beside),
            )
            self._ready.add(key, entry)
        return body

    def _large(self, exchange: Any, sent: Representation, headers: Headers) -> Deferred[None] | None:
        file, length = sent.file, sent.file.stat.st_size
        exchange.begin(200, headers, None if sent.packs else length)
        if exchange.head.method == "HEAD":
            exchange.finish()
            return None
        if sent.packs:
            return self._packed(exchange, file)
        return self._parts(exchange, file, (Range(0, length),), [b""], b"")

    @inlineCallbacks
    def _packed(self, exchange: Any, file: File) -> Generator[Deferred[None], None, None]:
        """Send a file compressed. It has no last chunk unless its content is still the same."""
        sender = GzipSender(exchange, self._clock, file.descriptor, file.stat.st_size, self._settings.compress_level)
        yield sender.send()
        if not _still_has(os.fstat(file.descriptor), file.stat):
            raise FileShrankError("its content changed")
        exchange.finish()

    def _partial(
        self, exchange: Any, file: File, ranges: tuple[Range, ...], headers: Headers, kind: bytes
    ) -> Deferred[None] | None:
        """Answer with parts of a file: short ones at once.

        :raises _ChangedError: it changed while short ones were read.
        """
        length = file.stat.st_size
        if len(ranges) == 1:
            heads, tail, total = [b""], b"", ranges[0].length
            headers = (*headers, (b"Content-Range", content_range(ranges[0], length)))
        else:
            boundary = secrets.token_hex(16).encode("ascii")
            heads, tail, total = part_heads(ranges, length, kind, boundary)
            headers = ((b"Content-Type", b"multipart/byteranges; boundary=" + boundary), *headers[1:])
        if total <= SHORT:
            exchange.answer(206, headers, self._read(file, ranges, heads, tail))
            return None
        exchange.begin(206, headers, total)
        return self._parts(exchange, file, ranges, heads, tail)

    def _read(self, file: File, ranges: tuple[Range, ...], heads: list[bytes], tail: bytes) -> bytes:
        """Parts of a file with what stands around them.

        :raises _ChangedError: it changed meanwhile.
        """
        pieces: list[bytes] = []
        for one, head in zip(ranges, heads, strict=True):
            part = os.pread(file.descriptor, one.length, one.start)
            pieces += (head, part)
            if len(part) != one.length:
                raise _ChangedError(os.fstat(file.descriptor))
        after = os.fstat(file.descriptor)
        if not _still_has(after, file.stat):
            raise _ChangedError(after)
        return b"".join((*pieces, tail))

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
        file.close()
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
            self._unreadable(exchange, file, result.getErrorMessage())

    def _unreadable(self, exchange: Any, file: File, reason: str) -> None:
        log.error(
            "{path} could not be sent: {reason}",
            event="http-file-failed",
            path=os.fsdecode(file.path),
            reason=reason,
            request_id=exchange.request_id,
        )
