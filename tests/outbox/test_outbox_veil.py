"""What lies before a content that is to be redacted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.veil import LENGTH, PAGE, unveiled, veiled


class Veil(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.binary(max_size=3 * LENGTH))
    def test_there_and_back(self, content: bytes) -> None:
        """What was veiled, and what was not, comes back whole."""
        octets = veiled(content, lambda count: b"s" * count)
        self.assertEqual(octets[:PAGE], bytes(PAGE))
        self.assertEqual(unveiled(octets, len(content)), content)
        self.assertEqual(unveiled(content, len(content)), content)
