"""The digest of what has come of a file."""

from __future__ import annotations

import hashlib
import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.running import Running

PIECES = st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=20)), max_size=12)


class RunningTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(PIECES)
    def test_is_that_of_the_file(self, pieces: list[tuple[int, bytes]]) -> None:
        """Octets that follow, that are written again, or that leave a gap: it is the digest of what it says it has."""
        with tempfile.TemporaryFile() as file:
            running, content = Running(file.fileno(), hashlib.sha256(), 0), b""
            for offset, piece in pieces:
                content = content[:offset].ljust(offset, b"\0") + piece + content[offset + len(piece) :]
                follows = offset == running.at
                running.changed(offset)
                os.pwrite(file.fileno(), piece, offset)
                os.ftruncate(file.fileno(), len(content))
                if follows:
                    running.follow((piece[:1], piece[1:]))
                self.assertEqual(running.digest(), hashlib.sha256(content[: running.at]).digest())
            running.reach(len(content))
            self.assertEqual((running.at, running.digest()), (len(content), hashlib.sha256(content).digest()))

    def test_failed_reading(self) -> None:
        """What cannot be read leaves what it has, and a copy of it goes on by itself."""
        with tempfile.TemporaryFile() as file:
            os.pwrite(file.fileno(), b"abc", 0)
            running = Running(file.fileno(), hashlib.sha256(), 0)
            running.reach(2)
        self.assertRaises(OSError, running.reach, 3)
        copy = running.copy()
        copy.update(b"c")
        self.assertEqual((running.at, running.digest()), (2, hashlib.sha256(b"ab").digest()))
        self.assertEqual(copy.digest(), hashlib.sha256(b"abc").digest())
