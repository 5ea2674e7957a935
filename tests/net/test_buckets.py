"""Token buckets: the rate holds, memory is bounded, and spraying sources does not reset a limited one."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.values import Rate
from netsvc.net.buckets import Buckets, never_back


class RateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.buckets = Buckets(Rate(3, 6.0), self.clock.seconds)

    def test_burst(self) -> None:
        """The count is the burst; one more is refused."""
        self.assertEqual([self.buckets.take("a") for _ in range(5)], [True, True, True, False, False])

    def test_refill(self) -> None:
        """One token comes back each period/count, also while more are asked for in vain."""
        for _ in range(3):
            self.buckets.take("a")
        for _ in range(19):
            self.clock.advance(0.1)
            self.assertFalse(self.buckets.take("a"))
        self.clock.advance(0.11)
        self.assertTrue(self.buckets.take("a"))
        self.assertFalse(self.buckets.take("a"))

    def test_full_again(self) -> None:
        """After a whole period the whole burst is there, and not more."""
        for _ in range(3):
            self.buckets.take("a")
        self.clock.advance(600)
        self.assertEqual([self.buckets.take("a") for _ in range(4)], [True, True, True, False])

    def test_put_back(self) -> None:
        """A token that is given back can be taken again; giving back to a full bucket changes nothing."""
        for _ in range(3):
            self.buckets.take("a")
        self.buckets.put_back("a")
        self.assertEqual([self.buckets.take("a") for _ in range(2)], [True, False])
        self.buckets.put_back("b")
        self.assertEqual([self.buckets.take("b") for _ in range(4)], [True, True, True, False])
        self.buckets.take("c")
        self.clock.advance(1.9)
        self.buckets.put_back("c")
        self.assertEqual([self.buckets.take("c") for _ in range(4)], [True, True, True, False])

    def test_apart(self) -> None:
        """One source's rate is not another's."""
        for _ in range(4):
            self.buckets.take("a")
        self.assertTrue(self.buckets.take("b"))

    def test_large_counts(self) -> None:
        """A burst of a hundred thousand is exact."""
        buckets = Buckets(Rate(100_000, 1.0), self.clock.seconds)
        self.assertEqual(sum(buckets.take("a") for _ in range(100_100)), 100_000)

    @settings(derandomize=True, deadline=None)
    @given(
        st.integers(1, 20),
        st.floats(0.01, 100),
        st.lists(st.tuples(st.floats(0, 30), st.sampled_from("abcd")), max_size=200),
    )
    def test_never_over_rate(self, count: int, period: float, steps: list[tuple[float, str]]) -> None:
        """In no span of time does a source get more than the burst and what came back, nor less than its due."""
        clock = Clock()
        buckets = Buckets(Rate(count, period), clock.seconds)
        given_at: dict[str, list[float]] = defaultdict(list)
        tokens: dict[str, tuple[float, float]] = {}
        for wait, key in steps:
            clock.advance(wait)
            now = clock.seconds()
            had, since = tokens.get(key, (float(count), now))
            held = min(float(count), had + (now - since) * count / period)
            taken = buckets.take(key)
            if abs(held - 1) > 0.01:  # at the very edge rounding decides
                self.assertEqual(taken, held >= 1)
            tokens[key] = (held - taken, now)
            if taken:
                given_at[key].append(now)
        for times in given_at.values():
            for first in range(len(times)):
                for last in range(first, len(times)):
                    most = count + (times[last] - times[first]) * count / period
                    self.assertLessEqual(last - first + 1, most + 0.05)


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def test_bounded(self) -> None:
        """However many sources come, no more buckets are kept than the capacity."""
        buckets = Buckets(Rate(5, 60.0), self.clock.seconds, capacity=50)
        for source in range(1000):
            self.assertTrue(buckets.take(source))
            self.assertLessEqual(len(buckets), 50)

    def test_full_buckets_are_forgotten(self) -> None:
        """Sources that were quiet for a period leave memory as others come."""
        buckets = Buckets(Rate(5, 10.0), self.clock.seconds)
        for source in range(100):
            buckets.take(source)
        self.clock.advance(11)
        for _ in range(200):
            self.clock.advance(3)
            buckets.take("later")
        self.assertLessEqual(len(buckets), 2)
        self.assertLessEqual(len(buckets._slots), 3)
        self.assertEqual(len(buckets._slots), len(buckets._numbers))

    def test_slots_are_bounded(self) -> None:
        """One source that takes on and on for ever leaves no trail of slots."""
        buckets = Buckets(Rate(100, 1.0), self.clock.seconds)
        for _ in range(5000):
            self.clock.advance(0.013)
            self.assertTrue(buckets.take("a"))
        self.assertLess(len(buckets._slots), 300)
        self.assertEqual(len(buckets._slots), len(buckets._numbers))

    def test_full_ones_go_first(self) -> None:
        """When memory is full, a bucket that is full again makes room before one that is not."""
        buckets = Buckets(Rate(2, 10.0), self.clock.seconds, capacity=3)
        buckets.take("old")
        self.clock.advance(6)  # "old" is full again
        for key in ("a", "a", "b", "b", "new"):
            buckets.take(key)
        self.assertFalse(buckets.take("a"))
        self.assertFalse(buckets.take("b"))

    def test_spraying_does_not_reset(self) -> None:
        """Ten times the capacity of one-shot sources does not give a limited source its tokens back."""
        buckets = Buckets(Rate(10, 60.0), self.clock.seconds, capacity=100)
        for _ in range(10):
            buckets.take("limited")
        for source in range(1000):
            buckets.take(source)
        self.assertFalse(buckets.take("limited"))

    def test_spraying_later_does_not_reset(self) -> None:
        """Nor does it while the source's tokens are coming back one by one."""
        buckets = Buckets(Rate(10, 60.0), self.clock.seconds, capacity=100)
        taken = 0
        for step in range(120):
            for source in range(150):
                buckets.take((step, source))
            while buckets.take("limited"):
                taken += 1
            self.clock.advance(1)
        self.assertLessEqual(taken, 10 + 120 // 6)

    @settings(derandomize=True, deadline=None)
    @given(st.integers(1, 5), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 12)), max_size=300))
    def test_sound_in_any_order(self, capacity: int, steps: list[tuple[float, int]]) -> None:
        """Whatever comes, the tables agree with each other and stay within bounds."""
        clock = Clock()
        buckets = Buckets(Rate(2, 7.0), clock.seconds, capacity=capacity)
        for wait, key in steps:
            clock.advance(wait)
            buckets.take(key)
            self.assertLessEqual(len(buckets), capacity)
            in_slots = [one for slot in buckets._slots.values() for one in slot]
            self.assertEqual(sorted(in_slots), sorted(buckets._full_at))
            self.assertEqual(sorted(buckets._slots), sorted(buckets._numbers))


class ClockTests(SynchronousTestCase):
    def test_stands_still(self) -> None:
        """A clock that is set back stands still, then goes on from there."""
        now = 100.0
        seconds = never_back(lambda: now)
        self.assertEqual(seconds(), 0)
        now = 101.0
        self.assertEqual(seconds(), 1)
        now = 50.0
        self.assertEqual(seconds(), 1)
        now = 52.0
        self.assertEqual(seconds(), 3)

    def test_a_clock_set_back_locks_nobody_out(self) -> None:
        """After the clock was set back an hour, a source waits no longer than its rate says."""
        now = 10_000.0
        buckets = Buckets(Rate(1, 1.0), lambda: now)
        self.assertTrue(buckets.take("a"))
        now -= 3600
        self.assertFalse(buckets.take("a"))
        now += 1.01
        self.assertTrue(buckets.take("a"))
