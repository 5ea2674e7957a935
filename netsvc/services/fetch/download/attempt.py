"""One attempt to get one file into the store: what is here of it, the question, the answer, the file.

A part that is here is continued only if the record says that it is of this URL and has a strong validator, which the
peer is sent with If-Range; an answer that does not fit is not used, and the file is begun again, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import BadNameError, MismatchError, NotFoundError, StoreError
from netsvc.filestore.names import check_name
from netsvc.filestore.records import Partial
from netsvc.filestore.store import FileStore
from netsvc.filestore.upload import Upload
from netsvc.services.fetch.download.errors import DownloadError, Permanent, Transient, not_promised, of_store
from netsvc.services.fetch.download.judging import Standing, Verdict, fields, judge, origin_text, with_wait
from netsvc.services.fetch.download.sink import Sink
from netsvc.services.fetch.download.terms import Done, Progress, Terms, Wanted
from netsvc.services.fetch.download.visit import Visit
from netsvc.services.fetch.download.wire.conditions import content_range, etag, seconds_of, strong_validator
from netsvc.services.fetch.download.wire.disposition import disposed_name
from netsvc.services.fetch.download.wire.url import Url, UrlError, parse_url

_log = Logger()

OFTEN = 0.1  # seconds between two words of progress, at least


@frozen(kw_only=True)
class Tools:
    """What all attempts of a Downloader share.

    :param clock: IReactorTime.
    :param in_thread: as IRuntime.in_thread.
    :param owner: of the uploads.
    :param visit: a new one.
    """

    clock: Any
    store: FileStore
    terms: Terms
    in_thread: Callable[..., Deferred[Any]]
    owner: str
    visit: Callable[[], Visit]
    wall_clock: Callable[[], float] = time.time


class Attempt:
    """One attempt; used once."""

    def __init__(self, tools: Tools, wanted: Wanted, on_progress: Callable[[Progress], None] | None) -> None:
        self._tools = tools
        self._wanted = wanted
        self._on_progress = on_progress
        self._told_at = float("-inf")
        self._visit = tools.visit()
        self._upload: Upload | None = None  # that is to be continued
        self._standing: Standing | None = None
        self._sink: Sink | None = None
        self._can_resume = False

    def cut(self, error: DownloadError) -> None:
        """End it; what is there is kept if it can be continued."""
        self._visit.cut(error)

    async def run(self) -> Done:
        """Make it.

        :raises DownloadError: nothing was published.
        """
        try:
            url = parse_url(self._wanted.url)
            if not self._wanted.fresh and (self._wanted.names is not None or self._wanted.resume is not None):
                await self._tools.in_thread(self._look, url)
            return await self._get(url)
        except UrlError as error:
            raise Permanent(str(error)) from None
        except StoreError as error:
            await self._end(of_store(error))
        except DownloadError as error:
            await self._end(error)
        except Exception:  # noqa: BLE001 - whatever it is: nothing stays behind, and it is logged
            _log.failure("A download failed for a reason that nobody expected")
            await self._end(Permanent("netsvc failed"))
        finally:
            self._visit.finish()
        raise AssertionError  # _end raises

    async def _end(self, error: DownloadError) -> None:
        """Fail, with what is there kept or removed."""
        self._visit.finish()
        try:
            if self._sink is not None and (isinstance(error, Permanent) or not self._can_resume):
                await self._sink.discard()
            elif self._sink is not None:
                error.resume = await self._sink.keep()
            elif self._upload is not None:
                await self._tools.in_thread(self._upload.keep)
                error.resume = self._upload.id
        except StoreError:
            error.resume = None
        raise error

    def _look(self, url: Url) -> None:
        """Find what is here. Blocks."""
        store, owner, wanted = self._tools.store, self._tools.owner, self._wanted
        if wanted.validators is not None:
            try:
                if wanted.names is None or store.stat(wanted.names).directory:
                    raise NotFoundError("no such file")
            except StoreError:
                self._wanted = wanted = evolve(wanted, validators=None)
        try:
            partial = store.partial(wanted.resume, owner) if wanted.resume else None
            if partial is None and wanted.names is not None:
                partial = store.find_partial(wanted.names, owner)
            if partial is None or not (standing := standing_of(partial, url)):
                return
            if wanted.names is not None and partial.names != wanted.names:
                return
            self._upload = store.resume(partial.id, owner)
            self._standing = evolve(standing, offset=self._upload.offset)
        except StoreError:
            self._upload = None  # it begins anew

    async def _get(self, url: Url) -> Done:
        for _ in range(2):
            await self._visit.open(url, lambda one: fields(one, self._standing, self._wanted))
            verdict = await self._judged()
            if verdict == "over":
                await self._visit.skip()
                await self._begin_anew()
                continue
            if verdict == "unchanged":
                return await self._unchanged()
            if verdict == "whole":
                await self._begin_anew()
            return await self._take(url, verdict)
        raise Permanent("the answers do not fit the question")  # the second asks for no part and cannot be "over"

    async def _judged(self) -> Verdict:
        visit = self._visit
        try:
            verdict = judge(visit.url, visit.head, visit.size, self._standing, self._wanted)
        except DownloadError as error:
            with_wait(error, visit.head, self._tools.terms, self._tools.wall_clock())
            await visit.skip()
            raise
        if verdict == "rest" and self._standing is not None:
            found = content_range(visit.head.value("content-range"))
            self._standing = evolve(self._standing, size=found.size if found else None)
        return verdict

    async def _begin_anew(self) -> None:
        upload, self._upload, self._standing = self._upload, None, None
        if upload is not None:
            await self._tools.in_thread(upload.discard)

    async def _unchanged(self) -> Done:
        await self._visit.skip()
        names = self._wanted.names
        if names is None:
            raise Permanent("the answer is 304, and nobody knows of which file")
        entry = await self._tools.in_thread(self._kept, names)
        return self._done(names, entry, from_cache=True, resumed_from=0)

    def _kept(self, names: tuple[str, ...]) -> Entry:
        """The file that stays, with its digest. Blocks."""
        return evolve(self._tools.store.stat(names), digest=self._tools.store.digest(names))

    async def _take(self, url: Url, verdict: Verdict) -> Done:
        visit, terms, resumed_from = self._visit, self._tools.terms, 0
        size = visit.size
        if verdict == "rest" and self._standing is not None:
            resumed_from = self._standing.offset
            size = self._standing.size
        elif self._wanted.checksum is None:
            visit.check_end()
        if terms.max_size is not None and size is not None and size > terms.max_size:
            raise Permanent(f"the file is longer than {terms.max_size} octets")
        names = self._upload.names if self._upload is not None else self._names(url)
        validator = strong_validator(visit.head)
        self._can_resume = verdict == "rest" or validator is not None
        meta = meta_of(url, visit.url, validator, size)

        def create() -> Upload:
            return self._tools.store.create(
                names,
                owner=self._tools.owner,
                size=size,
                if_absent=not self._wanted.replace,
                meta=meta,
            )

        self._sink = sink = Sink(
            self._tools.in_thread, visit, create, upload=self._upload, size=size, max_size=terms.max_size
        )

        def write(data: bytes) -> None:
            sink.write(data)
            self._tell(Progress(sink.received, size, resumed_from))

        await visit.body(write)
        self._told_at = float("-inf")
        self._tell(Progress(sink.received, sink.received, resumed_from))
        try:
            entry = await sink.finish(self._wanted.checksum, seconds_of(visit.head.value("last-modified")))
        except MismatchError as error:
            self._can_resume = False
            raise (Transient if resumed_from else Permanent)(not_promised(error)) from error
        return self._done(names, entry, from_cache=False, resumed_from=resumed_from)

    def _names(self, url: Url) -> tuple[str, ...]:
        if self._wanted.names is not None:
            return self._wanted.names
        for name in (disposed_name(self._visit.head.value("content-disposition")), url.name):
            if name:
                try:
                    return *self._wanted.directory, check_name(name)
                except BadNameError:
                    continue
        raise Permanent("neither the answer nor the URL names a file that may be written")

    def _tell(self, progress: Progress) -> None:
        if self._on_progress is not None and self._tools.clock.seconds() - self._told_at >= OFTEN:
            self._told_at = self._tools.clock.seconds()
            self._on_progress(progress)

    def _done(self, names: tuple[str, ...], entry: Entry, *, from_cache: bool, resumed_from: int) -> Done:
        visit = self._visit
        return Done(
            names=names,
            size=entry.size,
            sha256=entry.digest or b"",  # what a commit and _kept tell always has one
            url=str(visit.url),
            etag=etag(visit.head),
            last_modified=visit.head.value("last-modified"),
            from_cache=from_cache,
            resumed_from=resumed_from,
            status=visit.head.status,
            headers=visit.head.fields,
        )


def meta_of(url: Url, source: Url, validator: str | None, size: int | None) -> dict[str, str]:
    """What the record of an upload says of where it comes from; nothing when it cannot be continued."""
    if validator is None:
        return {}
    found = {"url": str(url), "origin": origin_text(source), "validator": validator}
    return found if size is None else {**found, "size": str(size)}


def standing_of(partial: Partial, url: Url) -> Standing | None:
    """What a record says; None when it is of another URL or cannot be continued."""
    meta = partial.meta
    if meta.get("url") != str(url) or not meta.get("validator") or not partial.offset:
        return None
    size = meta.get("size")
    return Standing(
        offset=partial.offset,
        validator=meta["validator"],
        origin=meta.get("origin", ""),
        size=int(size) if size is not None else None,
    )
