"""Octets that come in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.errors import NotPermittedError
from netsvc.filestore.pieces import MOST, Pieces


class Order(SynchronousTestCase):
    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))), st.integers(0, 10))
    def test_as_a_set(self, pieces: list[tuple[int, int]], whole: int) -> None:
        """What is whole ends where the first octet is missing, in whatever order they came."""
        found = Pieces(whole)
        there = set(range(whole))
        for start, length in pieces:
            found.add(start, start + length)
            there.update(range(start, start + length))
            self.assertEqual(found.whole, next(at for at in range(100) if at not in there))

    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))), st.integers(0, 80))
    def test_cut(self, pieces: list[tuple[int, int]], length: int) -> None:
        """What is cut off is gone, and may come again."""
        found = Pieces()
        there = set()
        for start, count in pieces:
            found.add(start, start + count)
            there.update(range(start, start + count))
        found.cut(length)
        there = {at for at in there if at < length}
        self.assertEqual(found.whole, next(at for at in range(100) if at not in there))
        found.add(found.whole, 100)
        self.assertEqual(found.whole, 100)

    def test_too_many(self) -> None:
        """A peer that leaves a gap behind every octet is stopped."""
        found = Pieces()
        for at in range(MOST):
            found.add(2 * at + 1, 2 * at + 2)
        with self.assertRaises(NotPermittedError):
            found.check(3 * MOST)
        found.check(0)
