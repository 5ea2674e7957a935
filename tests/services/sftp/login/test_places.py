"""LoginPlaces: the bound of all, the share of one, and nothing kept of who is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.login.places import LoginPlaces


class LoginPlacesTests(SynchronousTestCase):
    @given(st.integers(2, 9), st.lists(st.tuples(st.booleans(), st.sampled_from([b"a", b"b", b"c"])), max_size=60))
    def test_bounds(self, most: int, steps: list[tuple[bool, bytes]]) -> None:
        """A place is given while there are fewer than all, and the source has fewer than half."""
        places = LoginPlaces(most)
        open_: list[bytes] = []
        for comes, source in steps:
            if comes:
                free = len(open_) < most and open_.count(source) < most // 2
                self.assertEqual(places.take(source), free)
                open_ += [source] * free
            elif source in open_:
                open_.remove(source)
                places.give_back(source)
        for source in open_:
            places.give_back(source)
        self.assertRaises(KeyError, places.give_back, b"a")
