"""The fields of tus 1.0, read and written."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.upload.tus import wire
from netsvc.services.http.upload.tus.wire import FieldError


def asked(*fields: tuple[bytes, bytes], method: str = "POST") -> RequestHead:
    """A request with some fields."""
    return RequestHead(
        method=method, target=b"/", path=b"/", query=b"", version=(1, 1), headers=fields, host="example.com"
    )


class NumberTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        """Digits only, as many zeros before them as one likes, up to the longest file."""
        for text, value in ((b"0", 0), (b"007", 7), (b"9223372036854775807", (1 << 63) - 1), (b"0" * 99 + b"1", 1)):
            self.assertEqual(wire.number(text), value)

    def test_file_abuse_31_numbers_that_are_none(self) -> None:
        """What is negative, empty or no number is a bad request; 2^63 and more is too large."""
        for text in (b"", b"-1", b"+1", b"1.0", b" 1", b"1 ", b"0x1", b"1_0", "\u0661".encode(), b"1\x00", b"NaN"):
            self.assertEqual(self.assertRaises(FieldError, wire.number, text).status, 400, text)
        for text in (b"9223372036854775808", b"18446744073709551616", b"9" * 5000):
            self.assertEqual(self.assertRaises(FieldError, wire.number, text).status, 413)

    @given(st.binary(max_size=30))
    def test_any_octets(self, text: bytes) -> None:
        """Whatever stands there is a number of octets or is refused."""
        try:
            self.assertLess(wire.number(text), 1 << 63)
        except FieldError as error:
            self.assertIn(error.status, (400, 413))


class MetadataTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        """Keys have values in base64, or none; blanks behind the commas do no harm; nothing is no pair."""
        found = wire.parse_metadata(b"filename aMOkLnR4dA==, secret,empty ")
        self.assertEqual(found, {"filename": "hä.txt".encode(), "secret": b"", "empty": b""})
        self.assertEqual(wire.parse_metadata(b""), {})

    def test_what_is_refused(self) -> None:
        """Keys that are none or come twice, values that are no base64, and too much of it."""
        for value in (
            b",",
            b"a aa,",
            b"a YQ==,a YQ==",
            b"a YQ",
            b"a Y!Q=",
            b"a YQ== YQ==",
            b"\xff YQ==",
            b"a " + b"A" * 8200,
        ):
            self.assertEqual(self.assertRaises(FieldError, wire.parse_metadata, value).status, 400, value)

    @given(st.dictionaries(st.text("abcXYZ-_.", min_size=1), st.binary(), max_size=5))
    def test_what_is_written_is_read(self, pairs: dict[str, bytes]) -> None:
        """Any pairs come back."""
        written = b",".join(key.encode() + b" " + b64encode(value) for key, value in pairs.items())
        self.assertEqual(wire.parse_metadata(written), pairs)

    @given(st.binary(max_size=200))
    def test_any_octets(self, value: bytes) -> None:
        """Whatever stands there, it is pairs or refused; and what is taken can be given back in a field."""
        try:
            wire.parse_metadata(value)
        except FieldError as error:
            self.assertEqual(error.status, 400)
        else:
            value.decode("ascii")


class ChecksumTests(SynchronousTestCase):
    def test_algorithms(self) -> None:
        """Those that OPTIONS names are taken."""
        for name in wire.ALGORITHMS:
            digest = hashlib.new(name, b"abc").digest()
            found = wire.parse_checksum(name.encode() + b" " + b64encode(digest))
            self.assertEqual((found.algorithm, found.digest), (name, digest))

    def test_what_is_refused(self) -> None:
        """Another algorithm, no base64, a digest of the wrong length."""
        for value in (
            b"",
            b"sha1",
            b"md5 " + b64encode(bytes(16)),
            b"sha1 !",
            b"sha1 " + b64encode(bytes(19)),
            b"sha1  ",
        ):
            self.assertEqual(self.assertRaises(FieldError, wire.parse_checksum, value).status, 400, value)

    @given(st.binary(max_size=120))
    def test_any_octets(self, value: bytes) -> None:
        """Whatever stands there, it is a checksum or refused."""
        try:
            self.assertIn(wire.parse_checksum(value).algorithm, wire.ALGORITHMS)
        except FieldError as error:
            self.assertEqual(error.status, 400)


class RequestTests(SynchronousTestCase):
    def test_creation(self) -> None:
        """A POST tells the length, the name and the rest."""
        found = wire.read_creation(
            asked(
                (b"upload-length", b"5"),
                (b"upload-metadata", b"filename " + b64encode(b"a.txt")),
                (b"content-type", b"application/offset+octet-stream; x=y"),
            )
        )
        self.assertEqual((found.length, found.filename, found.with_body, found.checksum), (5, "a.txt", True, None))
        self.assertEqual(found.metadata, "filename YS50eHQ=")

    def test_deferred_length(self) -> None:
        """The length may follow later; the name may be called name."""
        found = wire.read_creation(asked((b"upload-defer-length", b"1"), (b"upload-metadata", b"name YQ==")))
        self.assertEqual((found.length, found.filename, found.with_body), (None, "a", False))

    def test_creations_that_are_none(self) -> None:
        """No length, two lengths, a length that is both, a name that is not UTF-8, an upload of uploads."""
        length = (b"upload-length", b"1")
        for fields in (
            (),
            (length, length),
            (length, (b"upload-defer-length", b"1")),
            ((b"upload-defer-length", b"0"),),
            (length, (b"upload-metadata", b"filename /w==")),
            (length, (b"upload-concat", b"partial")),
        ):
            error = self.assertRaises(FieldError, wire.read_creation, asked(*fields))
            self.assertEqual(error.status, 400, fields)

    def test_chunk(self) -> None:
        """A PATCH tells where it goes on, and perhaps how long the whole is."""
        kind = (b"content-type", wire.CHUNK)
        found = wire.read_chunk(asked(kind, (b"upload-offset", b"7"), (b"upload-length", b"9"), method="PATCH"))
        self.assertEqual((found.offset, found.length, found.checksum), (7, 9, None))
        self.assertEqual(self.assertRaises(FieldError, wire.read_chunk, asked(kind)).status, 400)
        self.assertEqual(self.assertRaises(FieldError, wire.read_chunk, asked((b"upload-offset", b"7"))).status, 415)

    def test_method(self) -> None:
        """A field may stand for the method."""
        self.assertEqual(wire.method_of(asked((b"x-http-method-override", b"patch"))), "PATCH")
        self.assertEqual(wire.method_of(asked()), "POST")

    def test_answers(self) -> None:
        """What is told of an upload and of the server."""
        self.assertEqual(wire.state(offset=3, length=9), ((b"Upload-Offset", b"3"), (b"Upload-Length", b"9")))
        self.assertEqual(
            wire.state(offset=0, length=None, metadata="a"),
            ((b"Upload-Offset", b"0"), (b"Upload-Defer-Length", b"1"), (b"Upload-Metadata", b"a")),
        )
        self.assertEqual(wire.expires(784111777), ((b"Upload-Expires", b"Sun, 06 Nov 1994 08:49:37 GMT"),))
        offered = dict(wire.offered(7))
        self.assertEqual((offered[b"Tus-Version"], offered[b"Tus-Max-Size"]), (b"1.0.0", b"7"))
        self.assertNotIn(b"Tus-Max-Size", dict(wire.offered(None)))
