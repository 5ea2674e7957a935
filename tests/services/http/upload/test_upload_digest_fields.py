"""Repr-Digest, Content-Digest and Content-MD5 as they are read."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.upload.digest_fields import LENGTHS, MalformedError, parse_digests


class ParseTests(SynchronousTestCase):
    """A Dictionary of RFC 9651, as far as digests go."""

    @given(st.dictionaries(st.sampled_from(sorted(LENGTHS)), st.binary(max_size=9)), st.booleans())
    def test_what_was_written_is_read(self, texts: dict[str, bytes], lines: bool) -> None:
        """Digests come back as they were written, in one line or several, among others."""
        digests = {name: hashlib.new(name.replace("-", ""), text).digest() for name, text in texts.items()}
        members = [b"%s=:%s:" % (name.encode(), b64encode(digest)) for name, digest in digests.items()]
        members.insert(len(members) // 2, b'other=:QQ==:;a="x"')
        self.assertEqual(parse_digests(members if lines else [b" , ".join(members)], "Repr-Digest"), digests)

    @given(st.binary(max_size=40))
    def test_any_octets(self, value: bytes) -> None:
        """Whatever comes is a dictionary or is refused; what is read of it has the right length."""
        try:
            found = parse_digests([value], "Repr-Digest")
        except MalformedError:
            return
        self.assertTrue(all(len(digest) == LENGTHS[name] for name, digest in found.items()))

    def test_the_last_counts(self) -> None:
        """Of a key that is there twice the last value counts (RFC 9651 4.2.2)."""
        one, two = (b64encode(bytes([at]) * 32) for at in (1, 2))
        found = parse_digests([b"sha-256=:%s:, sha-256=:%s:" % (one, two)], "Repr-Digest")
        self.assertEqual(found, {"sha-256": b"\2" * 32})

    def test_long_values(self) -> None:
        """A value of many members, or of one that does not end, takes no long time."""
        self.assertEqual(parse_digests([b"a," * 20_000 + b"b"], "Repr-Digest"), {})
        for value in (b'a="' + b"\\" * 40_000, b"a=" + b" " * 40_000, b" " * 40_000, b"a=:" + b"A" * 40_000):
            self.assertRaises(MalformedError, parse_digests, [value + b"\0"], "Repr-Digest")
