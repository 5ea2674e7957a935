"""The object that a peer sends, in any pieces."""

from __future__ import annotations

import json
import os
from base64 import b64encode

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.filetransfer.decode import MAX_BLANKS, MAX_NAME, BadObjectError, Decoder, End, Event, Name
from netsvc.services.filetransfer.wire import encode


def decoded(whole: bytes, size: int | None = None) -> tuple[str, bytes]:
    """The name and the octets of an object that comes in pieces of one size.

    :raises BadObjectError: it is none.
    """
    decoder = Decoder()
    events: list[Event] = []
    step = size or max(len(whole), 1)
    for at in range(0, len(whole), step):
        events += decoder.feed(whole[at : at + step])
    decoder.finish()
    (name,) = (one.text for one in events if isinstance(one, Name))
    assert isinstance(events[-1], End)
    assert sum(isinstance(one, End) for one in events) == 1
    return name, b"".join(one for one in events if isinstance(one, bytes))


def made(name: str = "a", data: bytes = b"data") -> bytes:
    """An object as json.dumps writes it."""
    return json.dumps({"filename": name, "filedata": b64encode(data).decode()}).encode()


class DecoderTests(SynchronousTestCase):
    def test_file_abuse_44_base64_sizes(self) -> None:
        """A file of every length up to 20, the empty one too, comes as it was, however it is cut."""
        for length in range(21):
            data = os.urandom(length)
            whole = b"".join(encode("n", [data]))
            for size in (None, 1, 2, 3, 4, 5, 7):
                self.assertEqual(decoded(whole, size), ("n", data))

    @settings(deadline=None)
    @given(st.text(max_size=200), st.binary(max_size=300), st.integers(1, 50), st.booleans(), st.booleans())
    def test_as_json_has_it(self, name: str, data: bytes, size: int, turned: bool, escapes: bool) -> None:
        """Whatever json.dumps writes is understood: both orders, escapes or UTF-8, blanks between."""
        fields = {"filename": name, "filedata": b64encode(data).decode()}
        if turned:
            fields = dict(reversed(fields.items()))
        text = json.dumps(fields, ensure_ascii=escapes, indent=2 if turned else None)
        self.assertEqual(decoded(text.encode("utf-8", "surrogatepass") + b"\r\n", size), (name, data))

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.integers(1, 9))
    @example(b'{"filename": "a", "filedata": "QQ==QQ=="}', 4)
    def test_anything(self, data: bytes, size: int) -> None:
        """Anything else is refused with BadObjectError and nothing else, whole as well as in pieces."""
        for start in (b"", b'{"filename": "', b'{"filedata": "'):
            results = []
            for step in (None, 1, size):
                try:
                    results.append(decoded(start + data, step))
                except BadObjectError:
                    results.append(None)
            self.assertEqual(results, [results[0]] * 3)

    def test_escapes(self) -> None:
        """Digits may be escaped as some encoders do it, names with pairs of surrogates, keys in any way."""
        data = bytes(range(256)) * 4
        digits = b64encode(data).decode()
        for spelled in (digits.replace("/", "\\/"), "".join(f"\\u{ord(one):04X}" for one in digits)):
            whole = f'{{"file\\u006eame":"\\ud83d\\ude00\\/\\"","filedata":"{spelled}"}}'.encode()
            for size in (None, 1, 1000):
                self.assertEqual(decoded(whole, size), ('😀/"', data))

    def test_not_such_an_object(self) -> None:
        """What is not such an object is refused with a reason, wherever it is cut."""
        for whole, reason in (
            (b"", "ended before"),
            (b'{"filename": "a", "filedata": ""', "ended before"),
            (b'{"filename": "a"}', ", was expected"),
            (b"{}", '" was expected'),
            (b"[]", "{ was expected, but '['"),
            (b"\xef\xbb\xbf{}", "{ was expected, but '\\xef'"),
            (b"null", "{ was expected"),
            (b'{"filename": null, "filedata": ""}', '" was expected'),
            (b'{"filename": "a", "filename": "b", "filedata": ""}', "filename twice"),
            (b'{"filename": "a", "filedata": "", "mode": "x"}', "} was expected"),
            (b'{"mode": 1, "filename": "a", "filedata": ""}', "another key"),
            (b'{"' + b"k" * 49, "a key is too long"),
            (made() + b"x", "more behind"),
            (made() + made(), "more behind"),
            (made().replace(b":", b"="), ": was expected"),
            (b'{"filename": "a\nb", "filedata": ""}', "the name is no JSON string"),
            (b'{"filename": "\xff", "filedata": ""}', "the name is no JSON string"),
            (b'{"filename": "\\x", "filedata": ""}', "the name is no JSON string"),
            (b'{"filename": "' + b"n" * (MAX_NAME + 1), "the name is too long"),
            (b" " * (MAX_BLANKS + 1), "blanks"),
        ):
            for size in (None, 1):
                with self.assertRaises(BadObjectError) as caught:
                    decoded(whole, size)
                self.assertIn(reason, str(caught.exception), whole[:50])

    def test_not_base64(self) -> None:
        """Digits that are not base64 are refused: another character, no padding, one in the middle, an open escape."""
        for digits in (
            *("Q", "QQ", "QQQ", "QQ=", "=", "====", "Q===", "QQ==QQ==", "QQ=Q", "QQ==Q", "QQ QQ", "QQ\\nQQ", "QQ-_"),
            *("\\\\/QQQ", "\\u005c/QQQ", "QQQ\\", "QQQ\\u00", "QQQ\\u0141", "QQQ\\q", "QQQ\u00e9", 'QQQ\\"QQQQ'),
        ):
            whole = f'{{"filename": "a", "filedata": "{digits}"}}'.encode()
            for size in (None, 1, 2):
                self.assertRaises(BadObjectError, decoded, whole, size)

    def test_file_abuse_24_invalid_utf8(self) -> None:
        """A half of a surrogate pair is text that the rules for names refuse later; octets that are no UTF-8 end it."""
        self.assertEqual(decoded(b'{"filename": "\\ud83d", "filedata": ""}')[0], "\ud83d")
        self.assertRaises(BadObjectError, decoded, b'{"filename": "\xc3\x28", "filedata": ""}')

    def test_memory(self) -> None:
        """What is kept between two pieces is less than a token, however long the file."""
        decoder = Decoder()
        decoder.feed(b'{"filename": "a", "filedata": "')
        for _ in range(100):
            (octets,) = decoder.feed(b"QUJD" * 1000 + b"Q")
            (more,) = decoder.feed(b"UJD")
            self.assertEqual((len(octets), more), (3000, b"ABC"))
