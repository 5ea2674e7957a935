"""Heads and bodies of answers: whole, byte by byte, with trailing data, and any octets at all."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.fetch.download.wire.body import ChunkedBody, LengthBody, body_of
from netsvc.services.fetch.download.wire.head import MAX_HEAD, Head, HeadReader, WireError, parse_head

HEAD = b"HTTP/1.1 200 Fine\r\nA: b\r\nCONTENT-length:\t 3 \r\nX:\r\nFold: a\r\n  b\r\n\r\n"


def chunked(pieces: list[bytes]) -> bytes:
    """A body in these chunks."""
    return b"".join(b"%x;e=1\r\n%b\r\n" % (len(one), one) for one in pieces if one) + b"0\r\nT: x\r\n\r\n"


class HeadTests(SynchronousTestCase):
    """The head."""

    def test_head_is_read_whole_and_byte_by_byte(self) -> None:
        """Fields in order, names in lower case, values without blanks around them, what follows untouched."""
        for octets in (HEAD, HEAD.replace(b"\r\n", b"\n")):
            found = HeadReader().feed(octets + b"abc")
            assert found is not None
            self.assertEqual(found[1], b"abc")
            reader = HeadReader()
            for at in range(len(octets) - 1):
                self.assertIsNone(reader.feed(octets[at : at + 1]))
            last = reader.feed(octets[-1:])
            assert last is not None
            self.assertEqual(last, (found[0], b""))
            self.assertEqual((found[0].minor, found[0].status), (1, 200))
            self.assertEqual(found[0].fields, (("a", "b"), ("content-length", "3"), ("x", ""), ("fold", "a b")))

    def test_malformed_heads(self) -> None:
        """A blank before the colon, a NUL, a bare CR, other versions and statuses: none is read."""
        for octets in (
            b"HTTP/1.1 200 OK\r\nA : b",
            b"HTTP/1.1 200 OK\r\nA: b\0",
            b"HTTP/1.1 200 OK\r\nA: b\rC: d",
            b"HTTP/1.1 200 OK\r\n: b",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 600 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/2 200 OK",
            b"http/1.1 200 OK",
            b"",
        ):
            with self.assertRaises(WireError):
                parse_head(octets)
        self.assertEqual(parse_head(b"HTTP/1.0 200").minor, 0)

    def test_head_is_bounded(self) -> None:
        """One octet above the bound is too much, whether its end is there or not."""
        for end in (b"", b"\r\n\r\n"):
            with self.assertRaises(WireError):
                HeadReader().feed(b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD + end)

    def test_connection_is_kept_as_rfc_9112_says(self) -> None:
        """HTTP/1.1 unless closed, HTTP/1.0 if it says so."""
        for octets, keeps in (
            (b"HTTP/1.1 200 OK", True),
            (b"HTTP/1.1 200 OK\r\nConnection: x, CLOSE", False),
            (b"HTTP/1.0 200 OK", False),
            (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive", True),
        ):
            self.assertEqual(parse_head(octets).keeps, keeps)

    @settings(deadline=None)
    @given(st.binary(), st.integers(1, 9))
    def test_any_octets(self, octets: bytes, piece: int) -> None:
        """Whatever comes is a head or a WireError."""
        reader = HeadReader()
        try:
            for at in range(0, len(octets), piece):
                if reader.feed(octets[at : at + piece]):
                    break
        except WireError:
            pass


class BodyTests(SynchronousTestCase):
    """The body."""

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=40)), st.integers(1, 50), st.binary(max_size=5))
    def test_chunks_come_out_as_they_went_in(self, pieces: list[bytes], piece: int, behind: bytes) -> None:
        """However they are cut; what stands behind the end is left."""
        octets = chunked(pieces) + behind
        body, content, rest = ChunkedBody(), b"", b""
        for at in range(0, len(octets), piece):
            data = octets[at : at + piece]
            if body.ended:
                rest += data
            else:
                came, more = body.feed(data)
                content += came
                rest += more
        self.assertTrue(body.ended)
        self.assertEqual((content, rest), (b"".join(pieces), behind))

    @settings(deadline=None)
    @given(st.binary())
    def test_any_octets_as_chunks(self, octets: bytes) -> None:
        """Whatever comes is a body or a WireError."""
        try:
            content, rest = ChunkedBody().feed(octets)
        except WireError:
            return
        self.assertLessEqual(len(content) + len(rest), len(octets))

    def test_malformed_chunks(self) -> None:
        """No digits, too many, signs, endless lines and trailers."""
        for octets in (
            b"\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1 1\r\n",
            b"fffffffffffffffff\r\n",
            b"ffffffffffffffff\r\n",
            b"1;" + b"x" * 5000,
            b"1\r\nab\r\n",
            b"0\r\n" + b"A: b\r\n" * 5000,
        ):
            with self.assertRaises(WireError):
                ChunkedBody().feed(octets)

    def test_length(self) -> None:
        """So many octets, and no more."""
        body = LengthBody(3)
        self.assertEqual((body.feed(b"ab"), body.ended), ((b"ab", b""), False))
        self.assertEqual((body.feed(b"cd"), body.ended), ((b"c", b"d"), True))
        self.assertTrue(LengthBody(0).ended)

    def test_framing(self) -> None:
        """Statuses without a body have none whatever they declare; the same length twice is one."""
        for status in (204, 304):
            self.assertTrue(body_of(Head(1, status, (("content-length", "9"),))).ended)
        self.assertEqual(body_of(Head(1, 200, (("content-length", "3, 3"), ("content-length", "3")))).size, 3)
        self.assertTrue(body_of(Head(1, 200, ())).closes)
        with self.assertRaises(WireError):
            body_of(Head(0, 200, (("transfer-encoding", "chunked"),)))
