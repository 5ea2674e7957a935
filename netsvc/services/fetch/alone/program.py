"""Runs one call of the command on a reactor of its own."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms as StoreTerms
from netsvc.net.heap import give_back
from netsvc.services.fetch.alone.crew import Crew, Display
from netsvc.services.fetch.alone.ends import End
from netsvc.services.fetch.alone.records import OWNER
from netsvc.services.fetch.alone.request import Request
from netsvc.services.fetch.download import Done, Downloader, Terms

DISK_THREADS = 16  # syncs that the kernel may put together


def run(request: Request, display: Display, on_head: Callable[[Done], None], *, whole: bool) -> set[End]:
    """Download; in which ways it failed.

    :param whole: whether a further transfer is shown that stands for all.
    """
    give_back()
    loop: Any = EPollReactor()
    installReactor(loop)  # for what asks for one by itself
    bad = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.critical)])
    globalLogBeginner.beginLoggingTo([bad], redirectStandardIO=False, discardBuffer=True)

    # Not the reactor's pool: names are looked up there, and would come too late while a slow disk keeps it busy.
    disk = ThreadPool(0, DISK_THREADS, "disk")
    disk.start()
    loop.addSystemEventTrigger("during", "shutdown", disk.stop)

    def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Deferred[Any]:
        return deferToThreadPool(loop, disk, function, *arguments, **named)

    mask = os.umask(0o077)
    os.umask(mask)
    terms = StoreTerms(file_mode=0o666 & ~mask, directory_mode=0o777 & ~mask, case_twins=True)
    store = FileStore(request.directory.resolve(), terms)
    downloader = Downloader(loop, store, _terms(request), in_thread, owner=OWNER)
    crew = Crew(
        request,
        reactor=loop,
        store=store,
        downloader=downloader,
        in_thread=in_thread,
        display=display,
        on_head=on_head,
        whole=whole,
        random=random.SystemRandom().random,
    )
    ends: list[set[End]] = []

    async def work() -> None:
        ends.append(await crew.run())
        await downloader.close()

    def fault(failure: Failure) -> None:
        failure.printTraceback(sys.stderr)

    def begin() -> None:
        gc.freeze()  # what is there now stays: collections need not look at it, not even the last
        gc.enable()
        ended = Deferred.fromCoroutine(work())
        ended.addErrback(fault)
        ended.addBoth(lambda _: loop.stop())

    def interrupted(number: int, _: object) -> None:
        signal.signal(number, before[number])  # the second one ends it in any case
        loop.callFromThread(crew.stop)

    before: dict[int, Any] = {one: signal.signal(one, interrupted) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        loop.callWhenRunning(begin)
        loop.run(installSignalHandlers=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ends[0] if ends else {"failed"}


def _terms(request: Request) -> Terms:
    return Terms(
        connect_timeout=request.timeout,
        first_byte_timeout=request.timeout,
        idle_timeout=request.timeout,
        rate_limit=request.rate_limit,
        max_size=request.max_size,
        private_addresses=request.private_addresses,
        ca_file=request.cafile,
        max_connections=request.jobs,
        max_connections_per_host=min(request.per_host, request.jobs),
    )
