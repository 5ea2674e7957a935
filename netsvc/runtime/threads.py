"""ThreadWork: what services have threads do, and the wait for its end when the daemon stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


DISK_THREADS = 16  # of the pool for the disk: syncs that the kernel may put together


class ThreadWork:
    """Blocking work in the reactor's thread pool, or in one of its own for what waits for the disk.

    A disk may take seconds for a sync, and uploads are many. In the reactor's few threads they would hold up the
    passwords and the names that are looked up there, for all services of the daemon.

    When the reactor ends, its pool still does what it was given, but what comes of it is told to nobody: an upload
    whose last octets were being written would not get the record with which it can be continued. So the reactor must
    not end before :meth:`ended`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._running = 0
        self._disk: ThreadPool | None = None  # made when it is first needed
        self._waiting: list[Deferred[None]] = []

    def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Have a thread call a function; its result."""
        return self._in(self._reactor.getThreadPool(), function, *args, **kwargs)

    def run_on_disk(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """As :meth:`run`, for what may wait for the disk long: it delays nothing but its like."""
        if self._disk is None:
            self._disk = ThreadPool(0, DISK_THREADS, "disk")
            self._disk.start()
            self._reactor.addSystemEventTrigger("during", "shutdown", self._disk.stop)
        return self._in(self._disk, function, *args, **kwargs)

    def _in(self, pool: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        self._running += 1
        work = deferToThreadPool(self._reactor, pool, function, *args, **kwargs)
        return work.addBoth(self._done)

    def ended(self, bound: float) -> Deferred[bool]:
        """Fires when nothing is being done, nor anything that was begun with the results of what was.

        :param bound: seconds after which it fires all the same.
        :return: whether all has ended.
        """
        if not self._running:
            return succeed(True)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        overdue = self._reactor.callLater(bound, self._tell, waiting)

        def over(_: None) -> bool:
            if overdue.active():
                overdue.cancel()
            return not self._running

        return waiting.addCallback(over)

    def _done(self, result: Any) -> Any:
        self._running -= 1
        if self._waiting and not self._running:
            self._reactor.callLater(0, self._look)  # whoever gets this result may go on with it first
        return result

    def _look(self) -> None:
        while self._waiting and not self._running:
            self._tell(self._waiting[0])

    def _tell(self, waiting: Deferred[None]) -> None:
        self._waiting.remove(waiting)
        waiting.callback(None)
