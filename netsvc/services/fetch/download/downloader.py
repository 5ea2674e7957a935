"""Downloads on one set of terms: they share connections, places, and the rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from netsvc.filestore.store import FileStore
from netsvc.services.fetch.download.attempt import Attempt, Tools
from netsvc.services.fetch.download.connecting import Connector
from netsvc.services.fetch.download.errors import Permanent, Transient
from netsvc.services.fetch.download.judging import error_of, with_wait
from netsvc.services.fetch.download.pace import Pace
from netsvc.services.fetch.download.pool import Pool
from netsvc.services.fetch.download.terms import Document, Done, Progress, Terms, Wanted
from netsvc.services.fetch.download.visit import Visit
from netsvc.services.fetch.download.wire.url import UrlError, parse_url

STOPPED = "the download was stopped"


class Downloader:
    """See the package.

    :param reactor: IReactorTCP, IReactorTime and IReactorPluggableNameResolver.
    :param in_thread: as IRuntime.in_thread: (function, arguments ...) -> Deferred of its result.
    :param owner: of the uploads in the store.
    """

    def __init__(
        self,
        reactor: Any,
        store: FileStore,
        terms: Terms,
        in_thread: Callable[..., Deferred[Any]],
        *,
        owner: str = "fetch",
    ) -> None:
        self._pool = Pool(reactor, terms, Connector(reactor, terms).connect)
        pace = Pace(reactor.seconds, terms.rate_limit)
        self._tools = Tools(
            clock=reactor,
            store=store,
            terms=terms,
            in_thread=in_thread,
            owner=owner,
            visit=lambda: Visit(reactor, terms, self._pool, pace),
        )
        self._under_way: dict[Attempt | Visit, Deferred[Any]] = {}

    def download(self, wanted: Wanted, on_progress: Callable[[Progress], None] | None = None) -> Deferred[Done]:
        """Make one attempt to download one file.

        Cancelling ends it: it fails with CancelledError at once, and what came is kept in the background.

        :param on_progress: told now and then, and at the end.
        :return: fires when the file is there, or fails with :class:`.errors.DownloadError`.
        """
        attempt = Attempt(self._tools, wanted, on_progress)
        return self._run(attempt, Deferred.fromCoroutine(attempt.run()))

    def read(self, url: str, *, max_size: int) -> Deferred[Document]:
        """Get a small answer into memory: a feed, a list of checksums.

        :param max_size: octets.
        :return: fails with :class:`.errors.DownloadError`.
        """
        visit = self._tools.visit()
        return self._run(visit, Deferred.fromCoroutine(self._read(visit, url, max_size)))

    def close(self) -> Deferred[None]:
        """Stop all downloads and close all connections; fires when what came is kept."""
        under_way = dict(self._under_way)
        for one in under_way:
            one.cut(Transient(STOPPED))
        ended = DeferredList([_ending(one) for one in under_way.values()])
        return ended.addCallback(lambda _: self._pool.close())

    def _run(self, one: Attempt | Visit, running: Deferred[Any]) -> Deferred[Any]:
        self._under_way[one] = running
        outer: Deferred[Any] = Deferred(lambda _: one.cut(Transient(STOPPED)))

        def ended(result: Any) -> None:
            del self._under_way[one]
            if not outer.called:
                outer.callback(result)  # a Failure, too

        running.addBoth(ended)
        return outer

    async def _read(self, visit: Visit, url: str, max_size: int) -> Document:
        content = bytearray()

        def write(data: bytes) -> None:
            content.extend(data)
            if len(content) > max_size:
                visit.cut(Permanent(f"the answer is longer than {max_size} octets"))

        try:
            await visit.open(parse_url(url), lambda _: [])
            head = visit.head
            if head.status != 200:
                error = with_wait(error_of(head.status), head, self._tools.terms, self._tools.wall_clock())
                await visit.skip()
                raise error
            if [one for one in head.words("content-encoding") if one != "identity"]:
                raise Permanent("the answer has a Content-Encoding that was not asked for")
            if visit.size is not None and visit.size > max_size:
                raise Permanent(f"the answer is longer than {max_size} octets")
            visit.check_end()
            await visit.body(write)
        except UrlError as error:
            raise Permanent(str(error)) from None
        finally:
            visit.finish()
        return Document(url=str(visit.url), content=bytes(content), headers=head.fields)


def _ending(running: Deferred[Any]) -> Deferred[None]:
    """Fires when that has ended, however."""
    ended: Deferred[None] = Deferred()

    def pass_on(result: Any) -> Any:
        ended.callback(None)
        return result

    running.addBoth(pass_on)
    return ended
