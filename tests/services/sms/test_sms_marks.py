"""Marks: a key of their own, equal for what is equal, silent about what another machine wrote."""

from __future__ import annotations

import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.services.sms.marks import Marks
from tests.outbox.kit import temporary


class MarksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path: Path = temporary(self) / "sms.key"

    def test_key(self) -> None:
        """The key is made once, for its owner only, and is the same at the next start; a damaged one ends the start."""
        first = Marks.open(self.path)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(Marks.open(self.path).of_number("+1"), first.of_number("+1"))
        self.path.write_bytes(b"short")
        self.assertRaisesRegex(StartError, "damaged", Marks.open, self.path)
        self.assertRaisesRegex(StartError, "cannot be used", Marks.open, self.path / "x")

    def test_numbers(self) -> None:
        """Equal numbers have equal marks, which show nothing of them and differ by key."""
        marks, others = Marks(b"k"), Marks(b"l")
        self.assertEqual(marks.of_number("+8613800138000"), marks.of_number("+8613800138000"))
        self.assertEqual(len({one.of_number(number) for one in (marks, others) for number in ("+1", "+2")}), 4)

    def test_messages(self) -> None:
        """Another message is known to be another, unless another machine's key made the mark."""
        marks = Marks(b"k")
        mark = marks.of_content(b"one")
        self.assertFalse(marks.differs(mark, b"one"))
        self.assertTrue(marks.differs(mark, b"two"))
        self.assertFalse(Marks(b"l").differs(mark, b"two"))
        self.assertFalse(marks.differs("", b"two"))
