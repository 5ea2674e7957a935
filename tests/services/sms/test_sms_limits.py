"""Limits: windows that slide, all of a message or nothing."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.values import Rate
from netsvc.services.sms.limits import Limits, Windows


class LimitTests(SynchronousTestCase):
    def test_windows(self) -> None:
        """So many in a time; the wait is until the oldest leaves the window; other keys do not matter."""
        windows = Windows((Rate(2, 60.0), Rate(3, 3600.0)))
        for now in (0.0, 10.0):
            self.assertEqual(windows.wait("a", 1, now), 0)
            windows.add("a", 1, now)
        self.assertEqual(windows.wait("a", 1, 20.0), 40)
        self.assertEqual(windows.wait("b", 1, 20.0), 0)
        self.assertEqual(windows.wait("a", 1, 60.0), 0)
        windows.add("a", 1, 60.0)
        self.assertEqual(windows.wait("a", 1, 200.0), 3400)
        self.assertEqual(windows.wait("a", 3, 20.0), math.inf)

    def test_many_numbers(self) -> None:
        """However many numbers come by, each is remembered as long as its window lasts."""
        windows = Windows((Rate(1, 60.0),))
        for n in range(10_000):
            windows.add(str(n), 1, n / 100)
        self.assertEqual(
            [windows.wait(str(n), 1, 100.0) > 0 for n in (0, 3999, 4001, 9999)], [False, False, True, True]
        )

    def test_all_or_nothing(self) -> None:
        """A message that one limit forbids counts in none; what was not taken after all is given back."""
        limits = Limits(per_number=(Rate(1, 60.0),), per_template=(Rate(3, 60.0),), total=(Rate(5, 60.0),))
        self.assertIsNone(limits.take(("a", "b"), "t", 0.0))
        self.assertEqual(limits.take(("b", "c"), "t", 1.0), ("limit_per_number", 59.0))
        self.assertEqual(limits.take(("c", "d"), "t", 1.0), ("limit_per_template", 59.0))
        self.assertIsNone(limits.take(("c", "d"), "", 1.0))
        self.assertEqual(limits.take(("e", "f"), "", 2.0), ("limit_total", 58.0))
        limits.take_back(("c", "d"), "")
        self.assertIsNone(limits.take(("c", "d"), "", 3.0))

    def test_none(self) -> None:
        """Without rates everything goes, and nothing is remembered."""
        limits = Limits(per_number=(), per_template=(), total=())
        for _ in range(100):
            self.assertIsNone(limits.take(("a",) * 1, "t", 0.0))
        limits.take_back(("a",), "t")

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3)), max_size=40))
    def test_never_more(self, steps: list[tuple[float, int]]) -> None:
        """Whatever is asked for, no window ever holds more than its rate."""
        windows, now, went = Windows((Rate(3, 10.0), Rate(5, 30.0))), 0.0, []
        for pause, count in steps:
            now += pause
            if not windows.wait("k", count, now):
                windows.add("k", count, now)
                went += [now] * count
        for at in went:
            for most, period in ((3, 10.0), (5, 30.0)):
                self.assertLessEqual(len([one for one in went if at - period < one <= at]), most)
