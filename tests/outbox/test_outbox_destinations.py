"""Destinations: windows, back-off, slow return, rates."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.destinations import FORGET, Destinations, Pace


class DestinationsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def make(self, **pace: float) -> Destinations:
        return Destinations(Pace(**pace), self.clock.seconds)  # type: ignore[arg-type]

    def fail(self, destinations: Destinations, times: int = 1) -> list[bool]:  # type: ignore[override]
        for _ in range(times):
            destinations.began("x")
        return [destinations.ended("x", "refused") for _ in range(times)]


class BackOff(DestinationsCase):
    def test_closes(self) -> None:
        """The third failure in a row closes a destination; others stay open."""
        destinations = self.make()
        self.assertEqual(self.fail(destinations, 3), [False, False, True])
        allowance = destinations.allowance()
        self.assertEqual((allowance.of("x"), allowance.of("y")), (0, 20))
        self.assertEqual(destinations.opens_in(), 60)
        standing = destinations.standing("x")
        self.assertEqual((standing.reason, standing.closed, standing.failures), ("refused", True, 3))

    def test_what_was_under_way_says_nothing_new(self) -> None:
        """Twenty attempts that fail together are one closure, not eighteen doublings."""
        destinations = self.make()
        self.assertEqual(sum(self.fail(destinations, 20)), 1)
        self.assertEqual(destinations.opens_in(), 60)

    def test_one_probe_and_doubling(self) -> None:
        """After the back-off one attempt goes; if it fails the time doubles, up to the longest."""
        destinations = self.make(longest=200)
        self.fail(destinations, 3)
        waits = []
        for _ in range(4):
            self.clock.advance(destinations.opens_in() or 0)
            self.assertEqual(destinations.allowance().of("x"), 1)
            self.assertEqual(self.fail(destinations), [True])
            waits.append(destinations.opens_in())
        self.assertEqual(waits, [120, 200, 200, 200])

    def test_slow_return(self) -> None:
        """When it is reached again the window grows by one with each success, up to the whole."""
        destinations = self.make(concurrency=4)
        self.fail(destinations, 3)
        self.clock.advance(60)
        windows = []
        for _ in range(4):
            windows.append(destinations.allowance().of("x"))
            destinations.began("x")
            destinations.ended("x", None)
        self.assertEqual(windows, [1, 2, 3, 4])

    def test_operator_opens(self) -> None:
        """An operator may open one destination or all."""
        destinations = self.make()
        self.fail(destinations, 3)
        destinations.open("y")
        self.assertEqual(destinations.allowance().of("x"), 0)
        destinations.open("x")
        self.assertEqual(destinations.allowance().of("x"), 1)
        self.fail(destinations)
        destinations.open()
        self.assertEqual(destinations.allowance().of("x"), 1)

    def test_success_forgives(self) -> None:
        """Failures that are not in a row close nothing."""
        destinations = self.make()
        for _ in range(5):
            self.fail(destinations, 2)
            destinations.began("x")
            destinations.ended("x", None)
        self.assertEqual(destinations.standing("x").failures, 0)

    def test_forgets(self) -> None:
        """What is as usual is not remembered; what was in trouble is, for an hour after it opened."""
        destinations = self.make()
        destinations.began("x")
        destinations.ended("x", None)
        destinations.began("y")
        destinations.passed("y")
        self.assertEqual(dict(destinations.allowance().room), {})
        self.fail(destinations, 3)
        self.clock.advance(60 + FORGET)
        self.assertEqual(dict(destinations.allowance().room), {"x": 1})
        self.clock.advance(1)
        self.assertEqual(dict(destinations.allowance().room), {})


class Windows(DestinationsCase):
    def test_concurrency(self) -> None:
        """What is under way takes room, and is said to be busy."""
        destinations = self.make(concurrency=2)
        destinations.began("x")
        allowance = destinations.allowance()
        self.assertEqual((allowance.of("x"), allowance.of("y"), dict(allowance.busy)), (1, 2, {"x": 1}))

    def test_rate(self) -> None:
        """With a rate attempts go as tokens come, and the time of the next is known."""
        destinations = self.make(rate=0.5, burst=2)
        self.assertEqual(destinations.allowance().of("x"), 2)
        for _ in range(2):
            destinations.began("x")
            destinations.ended("x", None)
        self.assertEqual((destinations.allowance().of("x"), destinations.opens_in()), (0, 2))
        self.clock.advance(2)
        self.assertEqual(destinations.allowance().of("x"), 1)
        self.clock.advance(2)
        self.assertEqual(dict(destinations.allowance().room), {})
