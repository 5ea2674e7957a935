"""INI text to sections with places."""

from __future__ import annotations

import os
import tempfile

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.sections import (
    MAX_BINARY_LINES,
    MAX_FAULTS,
    MAX_FILE,
    Document,
    Entry,
    parse,
    quote,
    read,
)
from netsvc.errors import BadValue, Origin


def value(raw: str) -> Entry:
    """The entry that stands behind 'k =', which must have no fault."""
    document = parse(f"[s]\nk ={raw}\n".encode(), "f")
    assert document.faults == (), document.faults
    return document.sections[0].entries[0]


def faults(text: str | bytes) -> list[str]:
    """The faults of a file, as they are reported."""
    octets = text if isinstance(text, bytes) else text.encode()
    return [str(fault) for fault in parse(octets, "f").faults]


class StructureTests(SynchronousTestCase):
    def test_empty(self) -> None:
        """An empty file has no sections and no faults."""
        self.assertEqual(parse(b"", "f"), Document("f"))

    def test_sections_and_keys(self) -> None:
        """Sections and keys stand in their order, each with its place."""
        sections = parse(b"# c\n[a]\nx = 1\n\n[b:c]  ; d\ny_z=2\n", "f").sections
        self.assertEqual([one.name for one in sections], ["a", "b:c"])
        self.assertEqual(sections[1].origin, Origin("f", 5, 1))
        entry = sections[1].entries[0]
        self.assertEqual((entry.key, entry.text, entry.at(0)), ("y_z", "2", Origin("f", 6, 5)))

    def test_line_ends_and_bom(self) -> None:
        """A BOM, CRLF and a missing last line end change nothing."""
        plain = parse(b"[a]\nx = 1\n  2\n", "f")
        self.assertEqual(parse(b"\xef\xbb\xbf[a]\r\nx = 1\r\n  2", "f"), plain)

    def test_only_lf_ends_a_line(self) -> None:
        """A line separator of Unicode is a character like others."""
        self.assertEqual(value(" a\u2028b").text, "a\u2028b")

    def test_continuation(self) -> None:
        """Indented lines continue a value, over comments and empty lines."""
        entry = value(" one\n  # no\n\ttwo ; no\n\n   three")
        self.assertEqual(entry.text, "one\ntwo\nthree")
        self.assertEqual(
            [entry.at(offset) for offset in (0, 2, 3, 4, 8, 12, 99)],
            [Origin("f", *at) for at in ((2, 5), (2, 7), (2, 8), (4, 2), (6, 4), (6, 8), (6, 9))],
        )

    def test_value_on_later_lines(self) -> None:
        """A value may begin on the line after its key."""
        entry = value("\n  one\n  two")
        self.assertEqual((entry.text, entry.at(0)), ("one\ntwo", Origin("f", 3, 3)))

    def test_empty_value(self) -> None:
        """An empty value is one empty line, behind the equals sign."""
        entry = value("")
        self.assertEqual((entry.text, entry.at(5)), ("", Origin("f", 2, 4)))

    def test_backslash_only_continuation(self) -> None:
        """A line that is nothing but white space behind its comment does not count."""
        self.assertEqual(value(" one\n  ;\n two").text, "one\ntwo")


class CommentTests(SynchronousTestCase):
    def test_rule(self) -> None:
        """A mark after white space begins a comment, but not within quotes or behind a backslash."""
        for raw, text in (
            (" tcp:80 # web", "tcp:80"),
            (" a#b;c", "a#b;c"),
            (" # all", ""),
            ("#fff", "#fff"),
            (' "a # b"', '"a # b"'),
            (' "a # b" ; c # d', '"a # b"'),
            (' X: "a # b" # c', 'X: "a # b"'),
            (r" a \# b", "a # b"),
            (r" \;", ";"),
            (r" a \\# b", r"a \# b"),
            (r" a\# b # c", r"a\# b"),
            (r' "a \# b"', '"a # b"'),
            (r" tcp:80:interface=\:\:1", r"tcp:80:interface=\:\:1"),
            (' 5" pipe', '5" pipe'),
            (' 5" pipe#1', '5" pipe#1'),
            (r' 5" pipe \# 1', '5" pipe # 1'),
            (" a\t;b", "a"),
            ("\n  a # b\n  \\# c", "a\n# c"),
        ):
            self.assertEqual(value(raw).text, text, raw)

    def test_columns_behind_a_backslash(self) -> None:
        """A column counts the backslashes that were taken away before it."""
        entry = value(r" a \# \; b")
        self.assertEqual(entry.text, "a # ; b")
        self.assertEqual([entry.at(offset).column for offset in range(7)], [5, 6, 8, 9, 11, 12, 13])

    def test_unpaired_quote(self) -> None:
        """A bare mark within quotes that do not pair is a fault at the quote, and the value is not judged."""
        document = parse(b'[s]\nk = 5" # x\n', "f")
        self.assertEqual([fault.origin for fault in document.faults], [Origin("f", 2, 6)])
        self.assertTrue(document.sections[0].entries[0].faulty)

    def test_comment_with_quotes(self) -> None:
        """Quotes within a comment count for nothing."""
        self.assertEqual(value(' a # b " c').text, "a")

    @settings(derandomize=True, deadline=None)
    @given(
        st.lists(
            st.text(st.sampled_from("ab #;\"\\'=:é\t"), min_size=1).filter(lambda one: one == one.strip(" \t")),
            min_size=1,
            max_size=4,
        )
    )
    @example(["#"])
    @example([r'" \# " #', r"\\#"])
    def test_quote(self, lines: list[str]) -> None:
        """What quote() writes is read back as it was, on one line or many, and each character keeps its place."""
        text = "\n".join(lines)
        written = "\n ".join(quote(text).split("\n"))
        document = parse(f"[s]\nk = {written}\n".encode(), "f")
        self.assertEqual(document.faults, ())
        entry = document.sections[0].entries[0]
        self.assertEqual(entry.text, text)
        rows = f"[s]\nk = {written}\n".split("\n")
        for offset, character in enumerate(text):
            at = entry.at(offset)
            found = rows[at.line - 1][at.column - 1 : at.column]
            self.assertEqual(found or "\n", character)


class FaultTests(SynchronousTestCase):
    def test_each(self) -> None:
        """Every malformed line is listed with its place; the reading goes on."""
        text = "a = 1\n  2\n  [x\n[b\nc = 1\nd\n e\n= 2\n[e]\n  f = 1\n[g]\nh = 1\nh = 2\n[x] y\n"
        self.assertEqual(
            faults(text),
            [
                "f:1:1: error[syntax]: this key stands before the first [section]",
                "f:4:1: error[syntax]: this is not a section; write [kind] or [kind:instance] alone on a line",
                "f:6:1: error[syntax]: this is neither [section] nor 'key = value' nor a comment",
                "f:7:2: error[syntax]: this line is indented, but there is no value above that it continues; "
                "keys begin in column 1",
                "f:8:1: error[syntax]: there is no key before the '='",
                "f:10:3: error[syntax]: this line is indented, but there is no value above that it continues; "
                "keys begin in column 1",
                "f:13:1: error[duplicate-key]: this key stands in [g] already, at f:12:1",
                "f:14:1: error[syntax]: this is not a section; write [kind] or [kind:instance] alone on a line",
            ],
        )

    def test_the_line_is_not_repeated(self) -> None:
        """A line without a key may be a piece of a secret; no fault shows it."""
        self.assertNotIn("hunter2", "".join(faults("[a]\nhunter2\n hunter2\n")))

    def test_duplicate_key_keeps_the_first(self) -> None:
        """Of a duplicate key the first value stays."""
        entries = parse(b"[a]\nx = 1\nx = 2\n", "f").sections[0].entries
        self.assertEqual([entry.text for entry in entries], ["1"])

    def test_illegal_character(self) -> None:
        """NUL and other controls are faults at their column, in comments too; the value is not judged."""
        document = parse(b"[a]\nx = 1\x00\n# \x1b[2J\ny = \xc2\x85\n", "f")
        self.assertEqual([(one.origin.line, one.origin.column) for one in document.faults], [(2, 6), (3, 3), (4, 5)])
        self.assertEqual([entry.faulty for entry in document.sections[0].entries], [True, True])

    def test_lone_cr(self) -> None:
        """A CR that does not end a line is a fault."""
        self.assertEqual(
            faults(b"[a]\nb = 1\rc\n"), ["f:2:6: error[syntax]: the character U+000D cannot stand in a configuration"]
        )

    def test_not_utf8(self) -> None:
        """An octet that is not UTF-8 is a fault at its column in characters."""
        self.assertEqual(faults(b"[a]\nx = \xc3\xa9\xff\n"), ["f:2:6: error[syntax]: the octet 0xff is not UTF-8 text"])

    def test_utf16(self) -> None:
        """UTF-16 is named as what it is."""
        self.assertIn("UTF-16", faults("[a]".encode("utf-16"))[0])

    def test_binary(self) -> None:
        """A binary file is one fault at its first octet that no text has, not thousands."""
        found = parse(b"a\n" + b"\x80\n" * (MAX_BINARY_LINES + 1), "f")
        self.assertEqual(found.sections, ())
        self.assertEqual([fault.origin for fault in found.faults], [Origin("f", 2, 1)])
        self.assertIn("10 more lines", found.faults[0].message)

    def test_bound(self) -> None:
        """What is no INI file at all gives a bounded number of faults and says so."""
        found = parse(b"nonsense\n" * 5000, "f").faults
        self.assertEqual(len(found), MAX_FAULTS + 1)
        self.assertIn("more than 100 faults", str(found[-1]))

    def test_long_lines_are_quick(self) -> None:
        """A line of a megabyte is read in linear time, whatever its marks are."""
        for unit in (b" \\#", b' "#', b" #", b"\\", b'"'):
            parse(b'[a]\nk = "' + unit * (MAX_FILE // len(unit)), "f")

    @settings(derandomize=True, deadline=None)
    @given(st.binary())
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets give sections and faults whose places are in the file."""
        document = parse(octets, "f")
        rows = octets.split(b"\n")
        for fault in document.faults:
            self.assertLessEqual(fault.origin.line, len(rows))

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.text(st.sampled_from('[]ab=# ;\n"\\\t\r\0:é')))
    def test_any_text(self, text: str) -> None:
        """Any text gives sections and faults; each place is on a character of its line, or just behind it."""
        document = parse(text.encode(), "f")
        rows = text.split("\n")
        origins = [fault.origin for fault in document.faults]
        origins += [entry.at(offset) for one in document.sections for entry in one.entries for offset in range(20)]
        for origin in origins:
            self.assertLessEqual(origin.column, len(rows[origin.line - 1]) + 1)


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def refused(self, path: str) -> str:
        with self.assertRaises(BadValue) as caught:
            read(path)
        return caught.exception.message

    def test_read(self) -> None:
        """A regular file gives its octets."""
        path = os.path.join(self.directory, "a")
        with open(path, "wb") as stream:
            stream.write(b"x" * MAX_FILE)
        self.assertEqual(len(read(path)), MAX_FILE)

    def test_too_large(self) -> None:
        """One octet over the limit is refused."""
        path = os.path.join(self.directory, "a")
        with open(path, "wb") as stream:
            stream.write(b"x" * (MAX_FILE + 1))
        self.assertIn("larger than 1 MiB", self.refused(path))

    def test_not_a_file(self) -> None:
        """A directory, a FIFO, a device, a missing file and an impossible name are refused, and none blocks."""
        fifo = os.path.join(self.directory, "fifo")
        os.mkfifo(fifo)
        self.assertIn("is a directory", self.refused(self.directory))
        self.assertIn("not a regular file", self.refused(fifo))
        self.assertIn("not a regular file", self.refused("/dev/zero"))
        self.assertIn("No such file", self.refused(os.path.join(self.directory, "none")))
        self.assertIn("cannot be a file's name", self.refused("a\0b"))
