"""Makes the service of downloads: a queue with its runner, the engine, the schedule, the socket that orders runs."""

from __future__ import annotations

import random
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from netsvc.config.server import ServerSettings
from netsvc.errors import StartError
from netsvc.filestore.store import FileStore
from netsvc.interfaces import IRuntime
from netsvc.net.request_socket import own_socket
from netsvc.net.unix_peer import operators
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.directories import make_directories
from netsvc.outbox.opening import open_store
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits, Runner
from netsvc.services.fetch.book import Book
from netsvc.services.fetch.delivery import Courier
from netsvc.services.fetch.desk import Desk
from netsvc.services.fetch.download import Downloader, Terms
from netsvc.services.fetch.listing import Feed
from netsvc.services.fetch.manifest import Manifest
from netsvc.services.fetch.protocol import SocketFactory
from netsvc.services.fetch.runs import Plan
from netsvc.services.fetch.schedule import Schedule, Times
from netsvc.services.fetch.settings import (
    FetchSettings,
    directory_path,
    queue_path,
    records_path,
    socket_path,
)


class Fetch(MultiService):
    """The service of one section: the records, then the queue, then what fills it; the other way round at the end."""

    def __init__(  # noqa: PLR0917
        self,
        directory: Path,
        book: Book,
        runner: Runner,
        ways_in: MultiService,
        downloader: Downloader,
        manifest: Manifest,
    ) -> None:
        MultiService.__init__(self)
        self._directory = directory
        self._book = book
        self._runner = runner
        self._ways_in = ways_in
        self._downloader = downloader
        self._manifest = manifest
        self.addService(runner)  # type: ignore[no-untyped-call]
        self.addService(ways_in)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """Start.

        :raises StartError: the directory, the records or the queue cannot be used.
        """
        try:
            _make(self._directory)
            self._book.open()
        except OSError as error:
            raise StartError(f"[{self._runner.queue}] {error}") from None
        if self._book.records():
            self._manifest.changed()  # the daemon may have died before it was written
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:
        """Let requests be answered, then let downloads end; what has come of files is kept."""
        self.running = 0

        async def stop() -> None:
            try:
                await maybeDeferred(self._ways_in.stopService)
            finally:
                await self._runner.stopService()
                await self._downloader.close()
                await self._manifest.flush()
                self._book.close()

        return Deferred.fromCoroutine(stop())


def _make(directory: Path) -> None:
    """Make the directory, readable for others as its parents are."""
    if not directory.is_dir():
        make_directories(directory.parent)
        directory.mkdir(exist_ok=True)


def make_service(settings: FetchSettings, runtime: IRuntime) -> IService:
    """The downloads of one section.

    :raises StartError: the path of its socket is too long.
    """
    path = socket_path(settings, runtime.state_directory, runtime.name)
    here = own_socket(runtime.name, path, settings.socket_mode)

    def changed() -> None:
        manifest.changed()

    directory = directory_path(settings, runtime.state_directory, runtime.name)
    files = FileStore(directory, settings.terms())
    book = Book(records_path(runtime.state_directory, runtime.name), runtime.in_disk_thread, changed)
    manifest = Manifest(files, settings.manifest, runtime.name, book.records, runtime.reactor, runtime.in_disk_thread)
    downloader = Downloader(runtime.reactor, files, _terms(settings), runtime.in_disk_thread)
    plan = _plan(settings)
    courier = Courier(
        queue=runtime.name,
        plan=plan,
        downloader=downloader,
        files=files,
        book=book,
        in_thread=runtime.in_disk_thread,
        outbox=lambda: runner.store,
    )
    runner = _runner(settings, runtime, courier)
    desk = Desk(
        runner,
        book,
        settings.identity(),
        plan.destination,
        runtime.metrics,
        operators=operators,
    )
    ways_in = MultiService()
    server = ServerSettings(listen=(here,), drain_timeout=settings.drain_timeout)
    ways_in.addService(runtime.serve(server, stream=SocketFactory(desk.answer, runtime.reactor)))
    schedule = Schedule(
        Times(
            every=settings.every,
            at=settings.at,
            zone=None if settings.timezone == "local" else ZoneInfo(settings.timezone),
            once=not settings.when_told,
        ),
        reactor=runtime.reactor,
        now=time.time,
        last=lambda: (book.last_run, book.last_list == settings.identity()),
        order=desk.due,
    )
    ways_in.addService(schedule)
    return Fetch(directory, book, runner, ways_in, downloader, manifest)


def _plan(settings: FetchSettings) -> Plan:
    feed = None
    if settings.feed is not None and settings.feed_path is not None:
        feed = Feed(template=settings.feed, path=settings.feed_path, key=settings.feed_key, pages=settings.feed_pages)
    return Plan(
        listed=settings.urls,
        feed=feed,
        checksums=settings.checksums,
        mirror=settings.mirror,
        reserved=settings.manifest,
        windows_names=settings.windows_names,
    )


def _terms(settings: FetchSettings) -> Terms:
    return Terms(
        connect_timeout=settings.connect_timeout,
        first_byte_timeout=settings.first_byte_timeout,
        idle_timeout=settings.idle_timeout,
        total_timeout=settings.total_timeout,
        lowest_speed=settings.lowest_speed,
        speed_window=settings.speed_window,
        rate_limit=settings.rate_limit,
        max_size=settings.max_file_size,
        max_redirects=settings.max_redirects,
        private_addresses=settings.private_addresses,
        ca_file=settings.trust_roots,
        max_connections=settings.concurrency,
        max_connections_per_host=settings.per_host,
    )


def _runner(settings: FetchSettings, runtime: IRuntime, courier: Courier) -> Runner:
    # A download whose end nobody knows is begun again: it does no harm twice.
    custody = Custody(
        retry=RetryPolicy(first=settings.retry_first, longest=settings.retry_longest, give_up=settings.give_up_after),
        ambiguous="retry",
    )
    pace = Pace(concurrency=settings.per_host, first=settings.retry_first, longest=settings.retry_longest)
    return Runner(
        queue=runtime.name,
        reactor=runtime.reactor,
        open_store=lambda: open_store(
            settings,
            queue=runtime.name,
            directory=queue_path(settings, runtime.state_directory, runtime.name),
            allow_volatile=True,
            call_from_thread=runtime.reactor.callFromThread,
            custody=custody,
            settled=courier.settled,
        ),
        deliver=courier,
        custody=custody,
        metrics=runtime.metrics,
        random=random.SystemRandom().random,
        limits=Limits(
            pace=pace, concurrency=settings.concurrency, drain_timeout=settings.drain_timeout, keep=settings.keep
        ),
        settled=courier.settled,
    )
