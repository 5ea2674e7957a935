"""The log of refusals."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.refusals import CAPACITY, INTERVAL, RefusalLog


class RefusalTests(SynchronousTestCase):
    """RefusalLog."""

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.clock = Clock()
        self.log = RefusalLog(self.clock, "echo", Logger(observer=self.events.append))

    def test_first_one_is_written_at_once(self) -> None:
        """A refusal is one line with its rule; other sources and reasons have their own."""
        self.log.refused("192.0.2.1", "denied", "deny 192.0.2.0/24")
        self.log.refused("192.0.2.1", "rate", "rate 1/s")
        self.log.refused("192.0.2.2", "denied", "deny 192.0.2.0/24")
        self.assertEqual(len(self.events), 3)
        self.assertEqual(self.events[0]["rule"], "deny 192.0.2.0/24")
        self.assertEqual(self.events[0]["event"], "connection-refused")

    def test_a_flood_is_summed_up(self) -> None:
        """Further ones are counted and written as one sum, after which the next is written at once again."""
        for _ in range(1001):
            self.log.refused("192.0.2.1", "rate", "rate 1/s")
        self.assertEqual(len(self.events), 1)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.events[1]["count"], 1000)
        self.log.refused("192.0.2.1", "rate", "rate 1/s")
        self.assertEqual(len(self.events), 3)

    def test_memory_is_bounded(self) -> None:
        """Beyond CAPACITY pairs all further sources share one sum."""
        for number in range(CAPACITY + 500):
            self.log.refused(f"source {number}", "rate", "rate 1/s")
        self.assertEqual(len(self.events), CAPACITY + 1)
        self.log.close()
        self.assertEqual(self.events[-1]["count"], 499)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_without_refusals(self) -> None:
        """Nothing to write, nothing written."""
        self.log.close()
        self.assertEqual(self.events, [])
