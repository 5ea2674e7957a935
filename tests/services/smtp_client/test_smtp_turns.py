"""Facts about whose turn it is to send."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.turns import Turns


class TurnsTest(SynchronousTestCase):
    def take(self, turns: Turns, destination: str) -> Deferred[None]:
        turn = turns.take(destination)
        assert turn is not None
        return turn

    def test_each(self) -> None:
        """One destination has so many turns and no more; those of another do not wait for it."""
        turns = Turns(10, 2)
        self.assertIsNone(turns.take("a"))
        self.assertIsNone(turns.take("a"))
        third, fourth = self.take(turns, "a"), self.take(turns, "a")
        self.assertIsNone(turns.take("b"))
        turns.leave("b")
        self.assertNoResult(third)
        turns.leave("a")
        self.successResultOf(third)
        self.assertNoResult(fourth)

    def test_total(self) -> None:
        """When all turns are taken, the one that waits longest is next, if its destination has room."""
        turns = Turns(2, 1)
        turns.take("a")
        turns.take("b")
        again, other = self.take(turns, "a"), self.take(turns, "c")
        turns.leave("b")
        self.assertNoResult(again)
        self.successResultOf(other)
        turns.leave("a")
        self.successResultOf(again)

    def test_cancelled(self) -> None:
        """Who gives up is not waited for."""
        turns = Turns(1, 1)
        turns.take("a")
        first, second = self.take(turns, "a"), self.take(turns, "a")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        turns.leave("a")
        self.successResultOf(second)
        turns.leave("a")
        self.assertIsNone(turns.take("a"))

    @settings(deadline=None)
    @given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(0, 6), max_size=60))
    def test_any(self, total: int, each: int, steps: list[int]) -> None:
        """Never more turns than are allowed; none stands empty while somebody may have it; all come to an end."""
        turns = Turns(total, each)
        sending: list[str] = []
        waiting: list[tuple[Deferred[None], str]] = []
        for step in steps:
            if step < 3:
                destination = "abc"[step]
                turn = turns.take(destination)
                if turn is None:
                    sending.append(destination)
                else:
                    waiting.append((turn, destination))
            elif sending:
                turns.leave(sending.pop(step % len(sending)))
            for turn, destination in list(waiting):
                if turn.called:
                    waiting.remove((turn, destination))
                    sending.append(destination)
            self.assertLessEqual(len(sending), total)
            self.assertTrue(all(sending.count(one) <= each for one in "abc"))
            free = len(sending) < total
            self.assertFalse([one for _, one in waiting if free and sending.count(one) < each])
