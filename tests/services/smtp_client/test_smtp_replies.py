"""Facts about reading SMTP replies."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.replies import (
    MAX_LINE,
    MAX_LINES,
    MAX_REPLY,
    Capabilities,
    Reply,
    ReplyError,
    ReplyParser,
    clean,
)


def parse(data: bytes, size: int = 1 << 20) -> list[Reply]:
    """All replies of octets fed in pieces."""
    parser, replies = ReplyParser(), []
    for at in range(0, len(data), size):
        parser.feed(data[at : at + size])
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
    return replies


class ParserTests(SynchronousTestCase):
    def test_whole_bytewise_and_with_trailing_data(self) -> None:
        """Replies are the same fed whole or by octets; what follows them waits."""
        data = b"220-a\r\n220 b\r\n250\r\n354-\r\n354 \r\n"
        expected = [Reply(220, ("a", "b")), Reply(250, ("",)), Reply(354, ("", ""))]
        for size in (1, 2, 1000):
            self.assertEqual(parse(data, size), expected)
        parser = ReplyParser()
        parser.feed(data + b"25")
        while parser.next_reply():
            pass
        self.assertTrue(parser.residue)
        self.assertFalse(ReplyParser().residue)

    def test_a_reply_in_parts_is_residue(self) -> None:
        """Lines of a reply that is not whole count as residue."""
        parser = ReplyParser()
        parser.feed(b"250-x\r\n")
        self.assertIsNone(parser.next_reply())
        self.assertTrue(parser.residue)

    def test_what_is_no_reply(self) -> None:
        """Codes outside 200 to 599, of other lengths, or without a separator are refused."""
        for line in (b"", b"25", b"2500 x", b"250x", b"199 x", b"600 x", b"abc d", b"\xb2\xb5\xb0 x", b" 250 x"):
            with self.assertRaises(ReplyError):
                parse(line + b"\r\n")

    def test_limits(self) -> None:
        """A line, a count of lines and a reply may be so long and no longer."""
        line = b"250 " + b"x" * (MAX_LINE - 4)
        self.assertEqual(len(parse(line + b"\r\n")), 1)
        for data in (line + b"x\r\n", line + b"xxx", b"250-\r\n" * MAX_LINES, (b"250-" + b"x" * 1000 + b"\r\n") * 40):
            with self.assertRaises(ReplyError):
                parse(data)
        self.assertLess(MAX_REPLY, 40 * 1000)

    def test_mixed_codes(self) -> None:
        """All lines of a reply bear one code."""
        with self.assertRaises(ReplyError):
            parse(b"250-a\r\n251 b\r\n")

    def test_enhanced_status(self) -> None:
        """A status code is taken when its class is the reply's, and is no part of the text."""
        for line, status, text in (
            (b"550 5.1.1 who", "5.1.1", "who"),
            (b"550 5.1.1", "5.1.1", ""),
            (b"550 4.1.1 who", None, "who"),
            (b"550 5.1.1234 who", None, "5.1.1234 who"),
            (b"550 5.01.1 who", None, "5.01.1 who"),
            (b"550 127.0.0.1 who", None, "127.0.0.1 who"),
        ):
            (reply,) = parse(line + b"\r\n")
            self.assertEqual((reply.enhanced, reply.text), (status, text))
        (reply,) = parse(b"550-5.1.1 a\r\n550 5.1.1 b\r\n")
        self.assertEqual((reply.text, reply.severity), ("a b", 5))

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=200), st.integers(1, 20))
    def test_any_octets(self, data: bytes, size: int) -> None:
        """Any octets, however cut, give the same replies or the same refusal."""

        def run(step: int) -> object:
            try:
                return parse(data, step)
            except ReplyError as error:
                return str(error)

        self.assertEqual(run(size), run(1000))


class CapabilityTests(SynchronousTestCase):
    def test_keywords(self) -> None:
        """Keywords have no case; parameters of repeated ones add up."""
        reply = Reply(250, ("host SIZE", "size 10", "auth PLAIN", "Auth=LOGIN", "", "8bitmime"))
        capabilities = Capabilities.of(reply)
        self.assertNotIn("HOST", capabilities)
        self.assertIn("8BITMIME", capabilities)
        self.assertEqual(capabilities.size_limit, 10)
        self.assertEqual(capabilities.mechanisms, {"PLAIN", "LOGIN"})


class CleanTests(SynchronousTestCase):
    def test_clean(self) -> None:
        """Controls, escapes and direction marks become blanks; the length is bounded."""
        self.assertEqual(clean(" a\x1b[1m\r\nb\u202ec\x85 "), "a [1m b c")
        self.assertEqual(len(clean("x" * 600)), 512)
        self.assertEqual(clean("汤众"), "汤众")
