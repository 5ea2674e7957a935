"""The object is what json.dumps makes of name and base64, however the octets come."""

import json
from base64 import b64encode
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.filetransfer.wire import encode, usable_name

NAMES = ["picture.png", 'a "quoted" \\ name', "汇总数据.xlsx", "😀.txt", "tab\there"]


def dumped(name: str, data: bytes) -> bytes:
    """What json.dumps makes of it."""
    return json.dumps({"filename": name, "filedata": b64encode(data).decode()}).encode()


class EncodeTests(SynchronousTestCase):
    """encode."""

    def test_file_abuse_44_octets(self) -> None:
        """For every length from 0 to 10 and every name, the octets are json.dumps'."""
        for name in NAMES:
            for size in range(11):
                data = bytes(range(250, 250 + min(size, 6))) + b"x" * (size - 6)
                pieces = list(encode(name, [data] if data else []))
                self.assertEqual(b"".join(pieces), dumped(name, data))
                self.assertTrue(all(pieces))

    @settings(derandomize=True, deadline=None)
    @given(st.text(), st.lists(st.binary(max_size=20)))
    def test_any_split(self, name: str, blocks: list[bytes]) -> None:
        """Blocks of any lengths, empty ones too, give the same object, in pieces none of which is empty."""
        pieces = list(encode(name, blocks))
        data = b"".join(blocks)
        self.assertEqual(b"".join(pieces), dumped(name, data))
        self.assertTrue(all(pieces))

    def test_byte_by_byte(self) -> None:
        """One octet at a time gives the same object."""
        data = bytes(range(256))
        self.assertEqual(b"".join(encode("f", (bytes([one]) for one in data))), dumped("f", data))

    def test_lazy(self) -> None:
        """No block is asked for before the piece before it was taken."""
        asked = []

        def blocks() -> Iterator[bytes]:
            for number in range(3):
                asked.append(number)
                yield b"abc"

        pieces = encode("f", blocks())
        next(pieces)
        self.assertEqual(asked, [])
        next(pieces)
        self.assertEqual(asked, [0])


class NameTests(SynchronousTestCase):
    """usable_name."""

    def test_usable(self) -> None:
        """Names of any script, with any spaces, quotes and joined emoji, are of use."""
        for name in (
            *NAMES[:1],
            'a "quoted" name',
            *NAMES[2:4],
            "全角\u3000空格",
            "no\u00a0break",
            "👨\u200d👩",
            "-rf",
            "e\u0301",
        ):
            self.assertTrue(usable_name(name), name)

    def test_of_no_use(self) -> None:
        """Control characters, octets that are no UTF-8 and what turns the direction of text are not."""
        for name in (
            "a\nb",
            "a\x1b[31m",
            "a\x7f",
            "a\x85b",
            "a\u2028b",
            "a\u202egnp.exe",
            "\udcff",
            "a\u2066b",
        ):
            self.assertFalse(usable_name(name), name)
