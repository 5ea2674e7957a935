"""Facts about files of quotes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.qotd.wire import LONGEST, PROVERBS, parse


class ParseTests(SynchronousTestCase):
    def test_blank_lines(self) -> None:
        """Blank lines separate, any number of them, with spaces or not; lines end in CRLF on the wire."""
        quotes = parse(b"\n\nOne.\n \n\nTwo,\nin two lines.  \n\n")
        self.assertEqual(quotes.texts, (b"One.\r\n", b"Two,\r\nin two lines.\r\n"))

    def test_percent_lines(self) -> None:
        """Where there is a line with a single percent sign, such lines separate and blank ones stay."""
        quotes = parse(b"One.\n%\n\nA verse\n\nwith a gap\n\n%\n%\n\n%\n100% sure\n")
        self.assertEqual(quotes.texts, (b"One.\r\n", b"100% sure\r\n", b"A verse\r\n\r\nwith a gap\r\n"))

    def test_line_ends(self) -> None:
        """Line ends of any system are read; a byte order mark is not part of the first quote."""
        for text in (b"a\r\nb\r\n\r\nccccc\r\n", b"a\rb\r\rccccc\r", b"\xef\xbb\xbfa\nb\n\nccccc"):
            self.assertEqual(parse(text).texts, (b"a\r\nb\r\n", b"ccccc\r\n"))

    def test_too_long(self) -> None:
        """A quote of 511 octets with its CRLF is told, one of 512 is left out and counted."""
        quotes = parse(b"x" * 509 + b"\n\n" + b"y" * 510 + b"\n")
        self.assertEqual([len(text) for text in quotes.texts], [511])
        self.assertEqual(quotes.too_long, 1)

    def test_empty(self) -> None:
        """A file without quotes has none."""
        for text in (b"", b"\n\n", b"%\n%\n", b" "):
            self.assertEqual(parse(text).texts, ())

    def test_fitting(self) -> None:
        """How many are at most so long is found for every limit."""
        quotes = parse(b"4444\n\n1\n\n22\n")
        self.assertEqual([quotes.fitting(limit) for limit in range(8)], [0, 0, 0, 1, 2, 2, 3, 3])

    def test_proverbs(self) -> None:
        """What is told without a file is under 512 characters of ASCII."""
        quotes = parse(PROVERBS)
        self.assertGreater(len(quotes.texts), 5)
        self.assertEqual(quotes.too_long, 0)
        self.assertTrue(all(text.isascii() for text in quotes.texts))

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=2000) | st.text("%\n\r a", max_size=50).map(str.encode))
    def test_any(self, data: bytes) -> None:
        """Any octets are read; what is told is never empty, never too long, and ends with one CRLF."""
        for text in parse(data).texts:
            self.assertLessEqual(len(text), LONGEST)
            self.assertTrue(text.endswith(b"\r\n"))
            self.assertTrue(text.strip())
            self.assertEqual(text.count(b"\r"), text.count(b"\n"))
