"""Work in threads, and the wait for its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.threads import DISK_THREADS, ThreadWork
from tests.waiting import wait_until


class Pool(Clock):
    """A reactor whose threads do their work when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[tuple[Callable[..., None], Callable[[], Any]]] = []
        self.triggers: list[tuple[Any, ...]] = []

    def getThreadPool(self) -> Pool:
        return self

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    def callInThreadWithCallback(self, told: Callable[..., None], function: Callable[..., Any], *rest: Any) -> None:
        self.work.append((told, lambda: function(*rest)))

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        self.triggers.append(trigger)

    def finish(self) -> None:
        told, function = self.work.pop(0)
        try:
            result = function()
        except ZeroDivisionError:
            told(False, Failure())
        else:
            told(True, result)


class ThreadWorkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = Pool()
        self.work = ThreadWork(self.pool)

    def test_nothing(self) -> None:
        """Where nothing is done nothing is waited for."""
        self.assertTrue(self.successResultOf(self.work.ended(1.0)))

    def test_what_follows_counts(self) -> None:
        """Work that is begun with the result of other work, or its failure, is waited for, too."""
        first: Deferred[Any] = self.work.run(lambda: 1 / 0)
        first.addErrback(lambda _: self.work.run(lambda: "second"))
        ended = self.work.ended(60.0)
        self.pool.finish()
        self.pool.advance(1)
        self.assertNoResult(ended)
        self.pool.finish()
        self.assertEqual(self.successResultOf(first), "second")
        self.pool.advance(1)
        self.assertTrue(self.successResultOf(ended))
        self.assertEqual(self.pool.getDelayedCalls(), [])

    def test_bound(self) -> None:
        """It is not waited for longer than the bound; each who waits has his own."""
        self.work.run(int)
        short, long = self.work.ended(1.0), self.work.ended(60.0)
        self.pool.advance(1)
        self.assertFalse(self.successResultOf(short))
        self.assertNoResult(long)
        self.pool.finish()
        self.pool.advance(0)
        self.assertTrue(self.successResultOf(long))

    def test_slow_disk(self) -> None:
        """However many wait for the disk, the reactor's threads have none of it; all of it is done before the end."""
        let_go, done = threading.Event(), []
        self.addCleanup(let_go.set)
        waiting = [self.work.run_on_disk(let_go.wait, 20) for _ in range(3 * DISK_THREADS)]
        for one in waiting:
            one.addCallback(done.append)
        self.work.run(int)
        self.assertEqual(len(self.pool.work), 1)
        self.assertEqual(done, [])
        let_go.set()
        wait_until(lambda: len(done) == len(waiting))
        ((phase, event, stop),) = self.pool.triggers
        self.assertEqual((phase, event), ("during", "shutdown"))
        stop()
