"""The head of a script's output."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.output import MAX_FIELDS, MAX_HEAD, BadOutputError, HeadParser, ScriptHead


def whole(octets: bytes) -> tuple[ScriptHead, bytes] | None:
    """Feed all at once."""
    return HeadParser().feed(octets)


def pieces(octets: bytes) -> tuple[ScriptHead, bytes] | None:
    """Feed octet by octet, up to the end of the head; what follows is the body."""
    parser = HeadParser()
    for at in range(len(octets)):
        found = parser.feed(octets[at : at + 1])
        if found is not None:
            return found[0], found[1] + octets[at + 1 :]
    return None


class OutputTest(SynchronousTestCase):
    """RFC 3875, section 6, and CGI line 5 of the specification."""

    def parse(self, octets: bytes) -> tuple[ScriptHead, bytes]:
        found = whole(octets)
        assert found is not None
        self.assertEqual(pieces(octets), found)
        return found

    def head(self, octets: bytes) -> ScriptHead:
        return self.parse(octets)[0]

    def test_cgi_05_line_ends(self) -> None:
        """LF, CRLF and a mix of both end lines; the body begins after the first empty one."""
        for octets in (b"A: 1\nB: 2\n\nbody\n", b"A: 1\r\nB: 2\r\n\r\nbody\n", b"A: 1\nB: 2\r\n\nbody\n"):
            head, body = self.parse(octets)
            self.assertEqual(head.headers, ((b"A", b"1"), (b"B", b"2")))
            self.assertEqual((head.status, body), (200, b"body\n"))

    def test_cgi_05_status(self) -> None:
        """Status takes a code, a reason if there is one, and needs no space after the colon."""
        for line, status, reason in (
            (b"Status: 404 Not Here", 404, "Not Here"),
            (b"Status:404", 404, None),
            (b"status: 404\tGone", 404, "Gone"),
            (b"Status: 404 ", 404, None),
        ):
            head = self.head(line + b"\nContent-Type: text/plain\n\n")
            self.assertEqual((head.status, head.reason), (status, reason))
            self.assertEqual(head.headers, ((b"Content-Type", b"text/plain"),))

    def test_cgi_05_status_line(self) -> None:
        """A first line as in HTTP is status and reason; then come headers. A Status field wins."""
        head, body = self.parse(b"HTTP/1.1 404 Nope\r\nContent-Type: text/html\r\n\r\nx")
        self.assertEqual((head.status, head.reason, body), (404, "Nope", b"x"))
        self.assertEqual(head.headers, ((b"Content-Type", b"text/html"),))
        self.assertEqual(self.head(b"HTTP/1.0 200\n\n").status, 200)
        self.assertEqual(self.head(b"HTTP/1.0 200 OK\nStatus: 201 Made\n\n").status, 201)

    def test_cgi_05_bad_status(self) -> None:
        """A status below 200, above 599 or not of three digits is a fault."""
        for octets in (
            b"Status: 100\n\n",
            b"Status: 600\n\n",
            b"Status: 20\n\n",
            b"Status: OK\n\n",
            b"HTTP/1.1 ok\n\n",
        ):
            self.assertRaises(BadOutputError, whole, octets)

    def test_cgi_05_local_redirect(self) -> None:
        """A Location with a path alone is a local redirect."""
        head = self.head(b"Location: /other?x=1\n\n")
        self.assertEqual((head.local, head.status), (b"/other?x=1", 302))

    def test_cgi_05_client_redirect(self) -> None:
        """Any other Location is the client's: 302, or the Status given, whatever the order."""
        for location in (b"http://example.com/", b"//example.com/x", b"/\\example.com", b"other.html", b"/x#part"):
            head = self.head(b"Location: " + location + b"\n\n")
            self.assertEqual((head.status, head.local, head.headers), (302, None, ((b"Location", location),)))
            self.assertTrue(head.typed)
        for octets in (
            b"Status: 307\nLocation: /x\n\n",
            b"Location: /x\nStatus: 307\n\n",
            b"HTTP/1.1 307 T\nLocation: /x\n\n",
        ):
            head = self.head(octets)
            self.assertEqual((head.status, head.local), (307, None))
        self.assertEqual(self.head(b"Location:\n\n").status, 200)

    def test_cgi_05_connection_fields(self) -> None:
        """Fields of the connection, those that Connection names, and the server's own are removed."""
        head = self.head(
            b"Connection: close, X-Hop\nKeep-Alive: 5\nTransfer-Encoding: chunked\nTE: trailers\nTrailer: X\n"
            b"Upgrade: h2c\nProxy-Connection: x\nX-Hop: 1\nDate: never\nServer: me\nX-Stays: 1\n\n"
        )
        self.assertEqual(head.headers, ((b"X-Stays", b"1"),))

    def test_cgi_05_length(self) -> None:
        """Content-Length is taken when all of them are one number, never of an answer without a body; 205 has 0."""
        for octets, length in (
            (b"Content-Length: 5\n", 5),
            (b"Content-Length: 5\nContent-Length: 5\n", 5),
            (b"Content-Length: 5\nContent-Length: 6\n", None),
            (b"Content-Length: -5\n", None),
            (b"Content-Length: +5\n", None),
            (b"Content-Length: 0x5\n", None),
            (b"Content-Length: \n", None),
            (b"Content-Length: " + b"9" * 19 + b"\n", None),
            (b"Status: 204\nContent-Length: 5\n", None),
            (b"Status: 205\nContent-Length: 5\n", 0),
            (b"Status: 205\n", 0),
        ):
            head = self.head(octets + b"\n")
            self.assertEqual((head.length, head.headers), (length, ()))

    def test_cgi_05_type(self) -> None:
        """Whether a type is missing is known, an empty one as well; none is made up."""
        self.assertTrue(self.head(b"Content-type:text/html\n\n").typed)
        self.assertFalse(self.head(b"X: 1\n\n").typed)
        self.assertTrue(self.head(b"Status: 204\n\n").typed)
        empty = self.head(b"Content-Type: \nLocation:\nX:\n\n")
        self.assertEqual((empty.headers, empty.typed, empty.status), (((b"X", b""),), False, 200))
        head, body = self.parse(b"\nbody")
        self.assertEqual((head.headers, head.typed, head.status, body), ((), False, 200, b"body"))
        self.assertEqual(self.parse(b"\r\nbody")[1], b"body")

    def test_cgi_05_folded(self) -> None:
        """A continued line is joined by one space."""
        self.assertEqual(self.head(b"A: one\n  two\n\tthree\n\n").headers, ((b"A", b"one two three"),))

    def test_cgi_05_faults(self) -> None:
        """No colon, a bad name, a control character or a bare CR is a fault."""
        for line in (b"hello", b"A B: 1", b": 1", b"A : 1", b"A: \0", b"A: x\ry", b"A: \x7f", b"\xff: 1", b" A: 1"):
            self.assertRaises(BadOutputError, whole, line + b"\n\n")

    def test_cgi_05_octets(self) -> None:
        """A value passes as it is, beyond ASCII too."""
        self.assertEqual(self.head("A: é\n\n".encode()).headers, ((b"A", "é".encode()),))

    def test_cgi_05_bounds(self) -> None:
        """A head that does not end, or ends too late, or has too many lines, is a fault."""
        self.assertRaises(BadOutputError, whole, b"A: " + b"x" * MAX_HEAD)
        self.assertRaises(BadOutputError, whole, b"A: " + b"x" * MAX_HEAD + b"\n\n")
        self.assertRaises(BadOutputError, whole, b"A: 1\n" * (MAX_FIELDS + 1) + b"\n")
        self.assertEqual(len(self.head(b"A: 1\n" * MAX_FIELDS + b"\n").headers), MAX_FIELDS)

    def test_cgi_05_incomplete(self) -> None:
        """Without the empty line there is no head."""
        parser = HeadParser()
        self.assertFalse(parser.started)
        self.assertIsNone(parser.feed(b"Content-Type: text/html\n"))
        self.assertTrue(parser.started)

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"A",
                    b":",
                    b" ",
                    b"\n",
                    b"\r",
                    b"\r\n",
                    b"Status",
                    b"404",
                    b"HTTP/1.1 ",
                    b"Location: /x",
                    b"\0",
                    b"\xff",
                ]
            )
        ).map(b"".join)
    )
    @example(b"A:\n\r\n")
    @settings(derandomize=True, deadline=None, max_examples=300)
    def test_cgi_05_splits(self, octets: bytes) -> None:
        """Any octets are a fault, incomplete or a head that can be sent; and the same in whatever pieces they come."""
        try:
            found = whole(octets)
        except BadOutputError:
            self.assertRaises(BadOutputError, pieces, octets)
            return
        self.assertEqual(pieces(octets), found)
        if found is not None:
            for name, value in found[0].headers:
                self.assertNotRegex(name + value, rb"[\r\n\0]")
