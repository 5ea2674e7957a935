"""The fields and problems of the draft of resumable uploads, read and written."""

from __future__ import annotations

import json

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.upload.draft import wire


def asked(**fields: str) -> RequestHead:
    """A request with some fields; _ stands for -."""
    headers = tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items())
    return RequestHead(
        method="PATCH", target=b"/", path=b"/", query=b"", version=(1, 1), headers=headers, host="example.com"
    )


class FieldTests(SynchronousTestCase):
    def test_version(self) -> None:
        """The two that are spoken, and no other."""
        found = [wire.version_of(asked(upload_draft_interop_version=one)) for one in ("8", "6", "7", "9", "?1", "")]
        self.assertEqual(found, [8, 6, None, None, None, None])
        self.assertIsNone(wire.version_of(asked()))

    def test_completeness(self) -> None:
        """A boolean, with parameters or without; whatever else stands there is ignored."""
        for text, value in (("?1", True), (" ?0 ", False), ('?1;a;b=2;c="x\\"y";d=tok/en;e=:YQ==:;f=?0;g=-1.5', True)):
            self.assertIs(wire.completeness(asked(upload_complete=text)), value)
        for text in ("", "1", "true", "?2", "?1 ?1", "?1, ?1", "?1;", "?1;A=1", '?1;a="', "?1;a=1.2345"):
            self.assertIsNone(wire.completeness(asked(upload_complete=text)), text)
        once = asked(upload_complete="?1")
        self.assertIsNone(wire.completeness(evolve(once, headers=once.headers * 2)))

    def test_file_abuse_31_numbers_that_are_none(self) -> None:
        """A number that is negative, too long or none is as if it were not there."""
        for text in ("-1", "9223372036854775808", "18446744073709551616", "1.0", "0x1", "", "1;", "1,1", ":MQ==:"):
            head = asked(upload_length=text, upload_offset=text)
            found = wire.read_part(head, 8, complete=False, body_length=5)
            self.assertEqual((found.length, found.offset), (None, None), text)

    def test_length(self) -> None:
        """It is told by its field, or by the end of the last request; both must agree."""
        found = wire.read_part(asked(upload_length="9", upload_offset="4"), 8, complete=True, body_length=5)
        self.assertEqual((found.offset, found.length, found.complete, found.version), (4, 9, True, 8))
        found = wire.read_part(asked(upload_offset="4"), 6, complete=True, body_length=5)
        self.assertEqual(found.length, 9)
        self.assertEqual(wire.read_part(asked(), 8, complete=True, body_length=5).length, 5)
        self.assertIsNone(wire.read_part(asked(), 8, complete=True, body_length=None).length)
        self.assertIsNone(wire.read_part(asked(), 8, complete=False, body_length=5).length)
        with self.assertRaises(wire.InconsistentError):
            wire.read_part(asked(upload_length="8", upload_offset="4"), 8, complete=True, body_length=5)

    @given(st.binary(max_size=40))
    def test_any_octets(self, value: bytes) -> None:
        """Whatever stands in a field, it is read or ignored."""
        text = value.decode("latin-1")
        head = asked(upload_complete=text, upload_offset=text, upload_length=text, content_type=text)
        self.assertIn(wire.completeness(head), (None, False, True))
        offset = wire.read_part(head, 8, complete=False, body_length=0).offset
        self.assertTrue(offset is None or 0 <= offset < 10**15)
        wire.is_partial(head)

    @given(st.integers(0, 10**15 - 1), st.booleans())
    def test_what_is_written_is_read(self, number: int, value: bool) -> None:
        """Numbers and booleans come back."""
        fields = (wire.offset_field(number), wire.complete_field(value))
        head = RequestHead(
            method="PATCH",
            target=b"/",
            path=b"/",
            query=b"",
            version=(1, 1),
            headers=tuple((name.lower(), octets) for name, octets in fields),
            host="",
        )
        self.assertEqual(wire.read_part(head, 8, complete=value, body_length=None).offset, number)
        self.assertIs(wire.completeness(head), value)

    def test_media_type(self) -> None:
        """Parameters and case do not matter."""
        self.assertTrue(wire.is_partial(asked(content_type="Application/Partial-Upload ; a=b")))
        self.assertFalse(wire.is_partial(asked(content_type="application/octet-stream")))
        self.assertFalse(wire.is_partial(asked()))

    def test_limits(self) -> None:
        """What the limit of time is called depends on the version."""
        found = wire.limit_field(8, max_size=9, longest=5, age=1.9)
        self.assertEqual(found, (b"Upload-Limit", b"max-size=9, max-append-size=5, max-age=1"))
        self.assertEqual(wire.limit_field(6, max_size=None, longest=5, age=-5)[1], b"max-append-size=5, expires=0")
        self.assertEqual(wire.limit_field(8, max_size=None, longest=5)[1], b"max-append-size=5")

    def test_problems(self) -> None:
        """They are JSON with the types that the draft registers."""
        found = json.loads(wire.mismatching_offset(5, 7))
        self.assertTrue(found["type"].endswith("#mismatching-upload-offset"))
        self.assertEqual((found["expected-offset"], found["provided-offset"]), (5, 7))
        self.assertTrue(json.loads(wire.inconsistent_length())["type"].endswith("#inconsistent-upload-length"))
        self.assertTrue(json.loads(wire.completed_upload())["type"].endswith("#completed-upload"))
