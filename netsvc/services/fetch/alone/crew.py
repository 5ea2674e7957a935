"""The downloads of one call: all at once as far as the engine lets them, each tried again by the outbox's rule."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger

from netsvc.filestore.errors import MismatchError, StoreError
from netsvc.filestore.store import FileStore
from netsvc.outbox.retry import RetryPolicy
from netsvc.services.fetch.alone.ends import End, end_of, hint_of
from netsvc.services.fetch.alone.records import OWNER, Records
from netsvc.services.fetch.alone.request import Request
from netsvc.services.fetch.book import Record
from netsvc.services.fetch.checksums import Sum, parse_sum
from netsvc.services.fetch.download import (
    Checksum,
    Done,
    Downloader,
    DownloadError,
    Permanent,
    Progress,
    Transient,
    Validators,
    Wanted,
    clean_url,
)
from netsvc.services.fetch.listing import Feed, read_checksums
from netsvc.services.fetch.naming import free_name, name_in
from netsvc.services.fetch.orders import host_of
from netsvc.services.fetch.recording import is_here
from netsvc.services.fetch.settings import Listed

_log = Logger()

POLICY = RetryPolicy(first=1.0, longest=30.0)
LEFT_ALONE = frozenset({429, 503})  # answers that speak for the whole host, RFC 6585 4, RFC 9110 15.6.4

T = TypeVar("T")


class Display(Protocol):
    """What shows the transfers, such as :class:`netsvc.cli.progress.Progress`."""

    def add(self, name: str, total: int | None = None, *, at: int = 0) -> int: ...

    def expect(self, task: int, total: int | None, *, at: int) -> None: ...

    def advance(self, task: int, octets: int) -> None: ...

    def done(self, task: int, **facts: Any) -> None: ...

    def failed(self, task: int, reason: str, **facts: Any) -> None: ...

    def say(self, line: str) -> None: ...


@define
class _File:
    """One that is to come.

    :param name: empty: as the answer says.
    """

    url: str = field(repr=False)
    name: str
    checksum: Sum | None
    missing: bool = False  # in the list of checksums
    fresh: bool = False  # nothing is kept of it
    task: int | None = None
    at: int = -1
    resume: str | None = None
    done: Done | None = None
    error: DownloadError | None = None

    @property
    def shown(self) -> str:
        """What it is called in words."""
        return self.name or clean_url(self.url)


class Crew:
    """One call's downloads.

    :param on_head: told the status and the fields of each answer that a file came of, when the request wants it.
    :param whole: whether a further transfer is shown that stands for all.
    :param random: gives floats in [0, 1).
    """

    def __init__(
        self,
        request: Request,
        *,
        reactor: Any,
        store: FileStore,
        downloader: Downloader,
        in_thread: Callable[..., Deferred[Any]],
        display: Display,
        on_head: Callable[[Done], None],
        whole: bool,
        random: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._request = request
        self._reactor = reactor
        self._store = store
        self._downloader = downloader
        self._in_thread = in_thread
        self._display = display
        self._on_head = on_head
        self._whole = whole
        self._random = random
        self._records = Records(store, request.manifest, now)
        self._stopped = False
        self._pauses: set[Deferred[Any]] = set()
        self._turns: dict[str, DeferredSemaphore] = {}  # by host
        self._free_at: dict[str, float] = {}  # by host: when it may be asked again
        self._overall: int | None = None
        self._expected = 0  # files
        self._sizes: dict[str, int] = {}
        self._received: dict[str, int] = {}

    def stop(self) -> None:
        """Ctrl-C: end all; what has come is kept."""
        if not self._stopped:
            self._stopped = True
            for one in list(self._pauses):
                one.cancel()
            self._downloader.close()

    async def run(self) -> set[End]:
        """Download; in which ways it failed."""
        files: list[_File] = []
        try:
            files = await self._files()
        except DownloadError as error:
            if not self._stopped:
                self._display.say(f"netsvc fetch: the list cannot be had: {error.reason}{hint_of(error.reason)}")
        else:
            if self._whole and len(files) > 1:
                self._overall, self._expected = self._display.add(f"{len(files)} files"), len(files)
            if not self._request.resume:
                await self._in_thread(self._drop, files)
            if self._request.mirror:
                await self._in_thread(self._records.read)
            await DeferredList([Deferred.fromCoroutine(self._one(one)) for one in files])
            self._end_overall(files)
            await self._manifest(files)
            bad = sum(one.done is None for one in files)
            if bad and len(files) > 1 and not (self._stopped or self._request.quiet):
                self._display.say(f"netsvc fetch: {bad} of {len(files)} files are not here")
            if not self._stopped:
                return {end_of(one.error) for one in files if one.error is not None}
        if self._stopped:
            self._display.say("netsvc fetch: interrupted; the same command with -c goes on from here")
            return {"interrupted"}
        return {"failed"}

    # What is to come

    async def _files(self) -> list[_File]:
        request = self._request
        wanted = {one.url: one for one in request.urls}
        if request.feed is not None:
            one = request.feed
            feed = Feed(template=one.template, path=one.path, key=one.key, pages=one.pages)
            for url in await self._insist("the feed", host_of(one.template), lambda: feed.read(self._downloader)):
                wanted.setdefault(url, Listed(url))
        sums = request.sums
        if (sums_url := request.sums_url) is not None:
            sums = await self._insist(
                "the checksums", host_of(sums_url), lambda: read_checksums(self._downloader, sums_url)
            )
        taken = {request.manifest} if request.manifest else set[str]()
        return [self._file(one, sums, taken) for one in wanted.values()]

    def _file(self, listed: Listed, sums: Mapping[str, Sum] | None, taken: set[str]) -> _File:
        own = name_in(listed.url)
        name = self._request.output or ("" if self._request.answer_names else free_name(own, taken.__contains__))
        taken.add(name)
        found: Sum | None
        if listed.checksum:
            found, missing = parse_sum(listed.checksum), False
        else:
            found = None if sums is None else sums.get(own)
            missing = sums is not None and found is None
        return _File(listed.url, name, found, missing=missing, fresh=not (self._request.resume or self._request.mirror))

    # One file

    async def _one(self, file: _File) -> None:
        try:
            if file.missing:
                raise Permanent("the list of checksums has no line for it") from MismatchError("nothing is promised")
            file.done = await self._insist(file.shown, host_of(file.url), lambda: self._attempt(file))
        except DownloadError as error:
            file.error = error
        except StoreError as error:
            file.error = Permanent(error.reason)
        except Exception:  # noqa: BLE001 - a fault of ours is logged, and no success
            _log.failure("A file failed for a reason that nobody expected")
            file.error = Permanent("netsvc failed")
        if file.task is None:
            size = 0 if file.done is None else file.done.size
            file.task = self._display.add(file.shown, size or None, at=size)
        if file.done is None:
            reason = "interrupted" if self._stopped or file.error is None else file.error.reason
            status = None if file.error is None else file.error.status
            self._display.failed(file.task, reason, url=clean_url(file.url), status=status)
            if not self._stopped:
                self._display.say(f"netsvc fetch: {clean_url(file.url)}: {reason}{hint_of(reason)}")
                if file.url not in self._sizes:  # its size is not waited for any more
                    self._expected -= 1
                    self._expect_overall()
            return
        done = file.done
        self._count(file, done.size, done.size)
        self._display.done(
            file.task,
            url=clean_url(file.url),
            path="/".join(done.names),
            sha256=done.sha256.hex() if done.sha256 else None,
            status=done.status,
            unchanged=done.from_cache,
        )
        if self._request.head:
            self._on_head(done)

    def _drop(self, files: list[_File]) -> None:
        """Give up the parts of an earlier call, but for one that another process writes to now. Blocks."""
        for one in files:
            with suppress(StoreError):
                partial = self._store.find_partial((one.name,), OWNER) if one.name else None
                if partial is not None:
                    self._store.drop(partial.id, OWNER)

    async def _attempt(self, file: _File) -> Done:
        if self._stopped:
            raise Transient("interrupted")
        checksum = None
        if file.checksum is not None:
            one = file.checksum
            checksum = Checksum(one.algorithm, bytes.fromhex(one.digest))  # type: ignore[arg-type]
        validators = None
        if file.name and self._request.mirror:
            validators = await self._in_thread(self._validators, file)
        wanted = Wanted(
            url=file.url,
            names=(file.name,) if file.name else None,
            checksum=checksum,
            validators=validators,
            resume=file.resume,
            fresh=file.fresh,
        )
        file.fresh = False
        try:
            return await self._downloader.download(wanted, lambda now: self._moved(file, now))
        except DownloadError as error:
            file.resume = error.resume if not file.name else None
            raise

    def _validators(self, file: _File) -> Validators | None:
        """Of what is here as it came: of the manifest, or else the time that the origin gave it. Blocks."""
        try:
            names = (file.name,)
            entry = self._store.stat(names)
            one = file.checksum
            if one is not None and (one.algorithm != "sha256" or one.digest != self._store.digest(names).hex()):
                return None
        except StoreError:
            return None
        earlier = self._records.earlier(file.url, file.name)
        if earlier is not None:
            known = Validators(etag=earlier.etag, last_modified=earlier.last_modified)
            return known if is_here(self._store, earlier) else None
        return Validators(last_modified=formatdate(entry.modified_ns // 1_000_000_000, usegmt=True))

    async def _insist(self, what: str, host: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it comes, or the time or the tries for it are over."""
        began, tries = self._reactor.seconds(), 0
        while True:
            try:
                return await self._in_turn(host, attempt)
            except Transient as error:
                tries += 1
                now = self._reactor.seconds()
                if error.retry_after and error.status in LEFT_ALONE:
                    self._free_at[host] = max(self._free_at.get(host, 0.0), now + error.retry_after)
                wait = max(
                    POLICY.delay(tries, self._random), error.retry_after or 0.0, self._free_at.get(host, 0.0) - now
                )
                left = began + self._request.retry_for - now
                if self._stopped or wait > left or tries >= self._request.tries:
                    raise
                if not self._request.quiet:
                    self._display.say(f"netsvc fetch: {what}: {error.reason}; again in {wait:.0f} s")
            await self._pause(deferLater(self._reactor, wait))

    async def _in_turn(self, host: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt when it is its turn: some more at once than connections, since files are written meanwhile.

        A host that asked to be left alone is not asked for its other files, either.
        """
        if host not in self._turns:
            self._turns[host] = DeferredSemaphore(2 * self._request.per_host)
        turn = self._turns[host]
        await self._pause(turn.acquire())
        try:
            if self._free_at.get(host, 0.0) > self._reactor.seconds():
                raise Transient(f"{host} asked to be left alone")
            return await attempt()
        finally:
            self._reactor.callLater(0, turn.release)  # not here: a thousand that fail at once would be one in another

    async def _pause(self, pause: Deferred[Any]) -> None:
        """Wait, but no longer than until Ctrl-C."""
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            raise Transient("interrupted") from None
        finally:
            self._pauses.discard(pause)

    # What is shown

    def _moved(self, file: _File, now: Progress) -> None:
        if file.task is None:
            file.task = self._display.add(file.shown, now.size, at=now.resumed_from)
            file.at = now.resumed_from
        elif now.received < file.at:  # another try, from the beginning
            self._display.expect(file.task, now.size, at=now.resumed_from)
            file.at = now.resumed_from
        self._display.advance(file.task, now.received - file.at)
        file.at = now.received
        self._count(file, now.received, now.size)

    def _count(self, file: _File, received: int, size: int | None) -> None:
        """What the transfer that stands for all has to know."""
        if self._overall is None:
            return
        self._display.advance(self._overall, received - self._received.get(file.url, 0))
        self._received[file.url] = received
        if size is not None and file.url not in self._sizes:
            self._sizes[file.url] = size
            self._expect_overall()

    def _expect_overall(self) -> None:
        """Tell the size of all together, if all that are still to come have one."""
        if self._overall is not None and len(self._sizes) == self._expected:
            self._display.expect(self._overall, sum(self._sizes.values()), at=sum(self._received.values()))

    def _end_overall(self, files: list[_File]) -> None:
        if self._overall is None:
            return
        bad = sum(one.done is None for one in files)
        if bad:
            self._display.failed(self._overall, f"{bad} of {len(files)} files are not here")
        else:
            self._display.done(self._overall)

    async def _manifest(self, files: list[_File]) -> None:
        try:
            await self._in_thread(self._records.write, [self._record(one) for one in files])
        except StoreError as error:
            self._display.say(f"netsvc fetch: the manifest cannot be written: {error.reason}")

    def _record(self, file: _File) -> Record:
        if file.done is not None:
            return self._records.came(file.url, file.done)
        return self._records.failed(file.url, file.name, file.error.reason if file.error else "interrupted")
