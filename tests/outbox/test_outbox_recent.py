"""Contents that are kept for a moment: bounded in octets and in time."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.recent import KEPT, SHARE, Recent


class Recents(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.recent = Recent(10 * SHARE, self.clock.seconds)

    def test_once(self) -> None:
        """What is taken is not there any more."""
        self.recent.keep("a", b"1234567890")
        self.assertEqual([self.recent.take("a"), self.recent.take("a")], [b"1234567890", None])

    def test_room(self) -> None:
        """What is too large for its share, or for what is left of the room, is not kept; taking makes room."""
        self.recent.keep("large", b"x" * 11)
        self.assertIsNone(self.recent.take("large"))
        for n in range(SHARE + 1):
            self.recent.keep(str(n), b"x" * 10)
        self.assertIsNone(self.recent.take(str(SHARE)))
        self.assertIsNotNone(self.recent.take("0"))
        self.recent.keep("next", b"x" * 10)
        self.assertIsNotNone(self.recent.take("next"))

    def test_time(self) -> None:
        """What nobody took for long makes room for what comes."""
        for n in range(SHARE):
            self.recent.keep(str(n), b"x" * 10)
        self.clock.advance(KEPT + 1)
        self.recent.keep("next", b"x" * 10)
        self.assertIsNone(self.recent.take("0"))
        self.assertIsNotNone(self.recent.take("next"))
