"""Lines of JSON: how they are cut, what is understood, what is refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import MalformedError, Refusal, RequestReader, encode, read_command, refused

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def read(pieces: list[bytes], max_line: int = 100) -> list[bytes]:
    """The lines in what comes in these pieces."""
    reader, found = RequestReader(bytes, max_line), []
    for piece in pieces:
        reader.feed(piece)
        while (line := reader.next()) is not None:
            found.append(line)
    return found


class Cutting(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
    def test_any_split(self, octets: bytes, cuts: list[int]) -> None:
        """Lines come out whole however they are cut; what has no end yet is kept."""
        edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
        pieces = [octets[a:b] for a, b in itertools.pairwise(edges)]
        lines = octets.split(b"\n")[:-1]
        for each in (pieces, [octets], [octets[n : n + 1] for n in range(len(octets))]):
            self.assertEqual(read(each), lines)

    def test_bound(self) -> None:
        """A line may be as long as the bound; one octet more is refused, with its end or without."""
        self.assertEqual(read([b"x" * 9, b"x\n", b"y\n"], 10), [b"x" * 10, b"y"])
        for pieces in ([b"x" * 11], [b"x" * 11 + b"\n"], [b"x" * 10, b"x\n"]):
            with self.assertRaises(MalformedError) as caught:
                read(pieces, 10)
            self.assertEqual(caught.exception.text, "the request is longer than 10 octets")

    def test_idle(self) -> None:
        """A reader is idle while nothing of a next request is there."""
        reader = RequestReader(bytes, 10)
        for octets, idle in ((b"", True), (b"x", False), (b"\n", False)):
            reader.feed(octets)
            self.assertEqual(reader.idle, idle)
        self.assertEqual((reader.next(), reader.idle, reader.announced), (b"x", True, 0))

    def test_octets_behind(self) -> None:
        """Octets behind a line are had when all have come; the next line stands behind them."""
        reader = RequestReader(bytes, 10)
        reader.feed(b"a\n12\n")
        self.assertEqual((reader.next(), reader.take(4)), (b"a", None))
        reader.feed(b"4b\n")
        self.assertEqual((reader.take(4), reader.take(0), reader.next()), (b"12\n4", b"", b"b"))

    def test_refused_line(self) -> None:
        """After a line that is refused for what it says, the next can be had."""

        def parse(line: bytes) -> bytes:
            if line == b"no":
                raise Refusal("5.7.1", "no")
            return line

        reader = RequestReader(parse, 10)
        reader.feed(b"no\nyes\n")
        self.assertRaises(Refusal, reader.next)
        self.assertEqual(reader.next(), b"yes")


class Commands(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.text(), st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
    def test_round_trip(self, command: str, fields: dict[str, Any]) -> None:
        """What is encoded is one line, and is read as it was said."""
        said = {name: value for name, value in fields.items() if name not in {"v", "command"}}
        line = encode({"v": 1, "command": command, **said})
        self.assertEqual(line.find(b"\n"), len(line) - 1)
        self.assertEqual(read_command(line[:-1]), (command, said))

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
    def test_anything(self, line: bytes) -> None:
        """Any other line is malformed, and never a surprise."""
        with self.assertRaises(MalformedError) as caught:
            read_command(line)
        self.assertEqual(caught.exception.code, "5.5.2")

    def test_malformed(self) -> None:
        """What is wrong is said in words."""
        for line, text in (
            (b"[" * 100_000, "the request is not a line of JSON"),
            (b'{"v":1,"command":' + b"1" * 5000 + b"}", "the request is not a line of JSON"),
            (b"[]", "the request is not a JSON object"),
            (b'{"command":"x"}', "this is not version 1 of the protocol"),
            (b'{"v":true,"command":"x"}', "this is not version 1 of the protocol"),
            (b'{"v":1.0,"command":"x"}', "this is not version 1 of the protocol"),
            (b'{"v":1,"command":["x"]}', "there is no such command"),
            (b'{"v":1,"v":1,"command":"x"}', "the request has a name twice"),
            (b'{"v":1,"command":"x","y":{"z":1,"z":2}}', "the request has a name twice"),
            (b'{"v":1,"command":"x","y":-Infinity}', "-Infinity is not JSON"),
        ):
            with self.assertRaises(MalformedError) as caught:
                read_command(line)
            self.assertEqual(caught.exception.text, text)

    def test_version(self) -> None:
        """Another version is taken where it is asked for, and only there."""
        self.assertEqual(read_command(b'{"v":2,"command":"x"}', version=2), ("x", {}))
        self.assertRaises(MalformedError, read_command, b'{"v":1,"command":"x"}', version=2)

    def test_refused(self) -> None:
        """A refusal is a reply with its code and its text."""
        reply = json.loads(encode(refused(MalformedError("too much", "5.5.3"))))
        self.assertEqual(reply, {"ok": False, "code": "5.5.3", "text": "too much"})
