"""Scripts whose names begin with nph-: they speak to the peer themselves. The scripts are real."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.nph import MAX_LINE, StatusLineParser
from netsvc.services.http.cgi.output import BadOutputError
from tests.services.http.cgi.rig import EngineCase, FakeExchange

OWN = b"HTTP/1.0 203 Own\r\nConnection: close\r\nX-Any: \x01\r\n\r\nbody"


class NphTest(EngineCase):
    """CGI line 5."""

    def nph(self, text: str, exchange: FakeExchange | None = None) -> FakeExchange:
        exchange = exchange or FakeExchange()
        engine = self.engine()
        engine.run(exchange, self.script("#!/bin/sh\n" + text, "nph-own"))
        self.spin(lambda: exchange.end and not engine._all)
        return exchange

    def test_cgi_05_nph(self) -> None:
        """What such a script prints goes to the peer octet by octet; the status is read for the log."""
        exchange = self.nph(
            "printf 'HTTP/1.0 203 '; sleep 0.05; printf 'Own\\r\\nConnection: close\\r\\nX-Any: \\001\\r\\n\\r\\nbody'"
        )
        self.assertTrue(exchange.taken_over)
        self.assertEqual((exchange.status, exchange.body, exchange.end), (203, OWN, "finished"))

    def test_cgi_05_nph_ends(self) -> None:
        """Its Content-Length and Transfer-Encoding are its own: all that it prints is sent."""
        exchange = self.nph("printf 'HTTP/1.1 200\\nContent-Length: 1\\nTransfer-Encoding: chunked\\n\\nmore'")
        self.assertTrue(exchange.body.endswith(b"\n\nmore"))
        self.assertEqual((exchange.status, exchange.end), (200, "finished"))

    def test_cgi_05_nph_http2(self) -> None:
        """Where the connection is shared, over HTTP/2, its head is read as any script's."""
        exchange = FakeExchange()
        exchange.can_be_taken_over = False
        self.nph("printf 'HTTP/1.0 203 Own\\r\\nConnection: close\\r\\nContent-Type: a/b\\r\\n\\r\\nx'", exchange)
        self.assertEqual((exchange.status, exchange.reason, exchange.body), (203, "Own", b"x"))
        self.assertEqual(exchange.headers, ((b"Content-Type", b"a/b"),))

    def test_cgi_05_nph_without_status_line(self) -> None:
        """One that prints no status line, or none at all, is 500: nothing of it reaches the peer."""
        for text in ("echo Content-Type: a/b; echo; echo x", "exit 0", "printf 'HTTP/1.0 2'"):
            exchange = self.nph(text)
            self.assertEqual((exchange.status, exchange.body, exchange.end), (500, b"", "refused"))

    def test_cgi_05_nph_crash(self) -> None:
        """One that crashes within its answer is cut."""
        exchange = self.nph("printf 'HTTP/1.0 200 OK\\r\\n\\r\\npart'; kill -9 $$")
        self.assertEqual((exchange.status, exchange.end), (200, "aborted"))


class StatusLineTest(SynchronousTestCase):
    """The first line."""

    def test_cgi_05_nph_splits(self) -> None:
        """However the octets are split, status and octets are the same."""
        for size in (1, 2, 7, len(OWN)):
            parser = StatusLineParser()
            found, at = None, 0
            while found is None:
                found = parser.feed(OWN[at : at + size])
                at += size
            self.assertEqual((found[0], found[1]), (203, OWN[: len(found[1])]))

    def test_cgi_05_nph_faults(self) -> None:
        """What is no status line of a final answer is none."""
        for line in (
            b"\n",
            b"HTTP/1.0\n",
            b"HTTP/1.0 99 x\n",
            b"HTTP/1.1 100 Continue\r\n",
            b"HTTP/1.0 200 \0\n",
            b"http/1.0 200\n",
        ):
            self.assertRaises(BadOutputError, StatusLineParser().feed, line)
        self.assertRaises(BadOutputError, StatusLineParser().feed, b"HTTP/1.0 200 " + b"x" * MAX_LINE)
