"""When the stores of a service are swept."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.errors import BrokenError
from netsvc.filestore.sweeper import EVERY, Sweeper


class Hours(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sweeps: list[str] = []
        self.ends: list[Deferred[None]] = []
        self.sweeper = Sweeper(lambda: None, self.thread, self.clock, "sftp")

    def thread(self, *_: object) -> Deferred[None]:
        self.sweeps.append("swept")
        return self.ends.pop() if self.ends else succeed(None)

    def test_at_once_and_every_hour(self) -> None:
        """They are swept at the start and every hour, and not after the stop."""
        self.sweeper.startService()
        self.assertEqual(len(self.sweeps), 1)
        self.clock.pump([EVERY - 1, 1, EVERY])
        self.assertEqual(len(self.sweeps), 3)
        self.sweeper.stopService()
        self.clock.advance(2 * EVERY)
        self.assertEqual((len(self.sweeps), self.clock.getDelayedCalls()), (3, []))

    def test_stopped_in_a_sweep(self) -> None:
        """A sweep that ends after the stop is followed by none."""
        sweep: Deferred[None] = Deferred()
        self.ends = [sweep]
        self.sweeper.startService()
        self.sweeper.stopService()
        sweep.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failed(self) -> None:
        """A sweep that fails is logged with its section, and tried again an hour later."""
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.ends = [fail(BrokenError("the disk failed"))]
        self.sweeper.startService()
        told = [event for event in events if event.get("event") == "store-sweep-failed"]
        self.assertEqual([(one["log_level"], one["service"], one["reason"]) for one in told],
                         [(LogLevel.error, "sftp", "the disk failed")])  # fmt: skip
        self.clock.advance(EVERY)
        self.assertEqual(len(self.sweeps), 2)
