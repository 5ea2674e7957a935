"""Protocol core, lines 6, 8 and 11: what persists, what every answer has, and how long anybody may take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import http_date
from tests.services.http.http_rig import NOW, Rig, Sink, hello, read_answers, request, wait, write
from tests.services.http.spec.feeding import NEXT, FeedCase, get, head, mirror, post


def streamed(exchange: Any) -> None:
    """A route that answers with an unknown length."""
    exchange.begin(200, ((b"Content-Type", b"text/plain"),))
    exchange.write(b"one ")
    exchange.write(b"two")
    exchange.finish()


class PersistenceTests(FeedCase):
    def test_core_06_keep_alive(self) -> None:
        """1.1 persists unless it is told otherwise; 1.0 closes unless it asks; the answer says which."""
        for version, fields, keeps in (
            ("1.1", (), True),
            ("1.1", ("Connection: keep-alive",), True),
            ("1.1", ("Connection: close",), False),
            ("1.1", ("Connection: CLOSE",), False),
            ("1.0", (), False),
            ("1.0", ("Connection: keep-alive",), True),
            ("1.0", ("Connection: Keep-Alive",), True),
            ("1.0", ("Connection: close",), False),
            ("1.5", (), True),
        ):
            found = self.accepted(get("/", *fields, version=version), keeps=keeps)
            said = found.headers.get(b"connection")
            self.assertEqual(said, b"close" if not keeps else b"keep-alive" if version == "1.0" else None)

    def test_core_06_connection_is_a_list(self) -> None:
        """Connection is a comma list over any number of fields; close wins; a word is the whole word."""
        for version, fields, keeps in (
            ("1.1", ("Connection: foo,close",), False),
            ("1.1", ("Connection: close , foo",), False),
            ("1.1", ("Connection: ,,\tclose,",), False),
            ("1.1", ("Connection: foo", "X: y", "Connection: close"), False),
            ("1.1", ("Connection: keep-alive, close",), False),
            ("1.1", ("Connection: closed, notclose, close-not",), True),
            ("1.1", ('Connection: "close"',), True),
            ("1.1", ("Connection:",), True),
            ("1.0", ("Connection: foo, keep-alive",), True),
            ("1.0", ("Connection: foo", "Connection: keep-alive"), True),
            ("1.0", ("Connection: keep-alive, close",), False),
            ("1.0", ("Connection: keep-alive", "Connection: close"), False),
        ):
            self.accepted(get("/", *fields, version=version), keeps=keeps)

    def test_core_06_unknown_length(self) -> None:
        """An answer of unknown length is chunked in 1.1 and keeps the connection; in 1.0 closing ends it."""
        for version, keeps in (("1.1", True), ("1.0", False)):
            peer = Rig(route=streamed, access_log=False).connect()
            peer.send(get("/", "Connection: keep-alive", version=version) + NEXT)
            answers = peer.answers()
            self.assertEqual([one.body for one in answers], [b"one two"] * (2 if keeps else 1))
            self.assertIs(peer.transport.closed, not keeps)

    def test_core_06_pipelined(self) -> None:
        """Pipelined requests of all kinds are answered in order, whatever way they were cut."""
        data, bodies = b"", []
        for at in range(30):
            if at % 3 == 0:
                data += get(f"/{at}")
                bodies.append(f"GET a.example /{at}? ".encode())
            elif at % 3 == 1:
                data += post("Content-Length: 2", body=b"%02d" % at)
                bodies.append(b"POST a.example /? %02d" % at)
            else:
                data += post("Transfer-Encoding: chunked", body=b"2\r\n%02d\r\n0\r\n\r\n" % at)
                bodies.append(b"POST a.example /? %02d" % at)
        for size in (1, 2, 7, 64, len(data)):
            peer = Rig(route=mirror, access_log=False).connect()
            for at in range(0, len(data), size):
                peer.send(data[at : at + size])
            self.assertEqual([one.body for one in peer.answers()], bodies)
            self.assertFalse(peer.transport.closed)

    def test_core_06_pipelined_answers_never_mix(self) -> None:
        """A later route cannot answer before an earlier one: it is not asked until that is done."""
        rig = Rig(route=wait, access_log=False)
        peer = rig.connect()
        peer.send(get("/1") + post("Content-Length: 1", body=b"x") + get("/3"))
        rig.exchanges[0].begin(200, (), None)
        rig.exchanges[0].write(b"a")
        self.assertEqual(len(rig.exchanges), 1)
        rig.exchanges[0].finish()
        self.assertEqual(len(rig.exchanges), 2)
        rig.exchanges[0].write(b"late")  # by a route that does not know that it is done
        rig.exchanges[0].finish()
        hello(rig.exchanges[1])
        hello(rig.exchanges[2])
        self.assertEqual([one.body for one in peer.answers()], [b"a", b"/", b"/3"])

    def test_core_06_after_close(self) -> None:
        """What a peer sends after it asked to close is not answered."""
        peer = self.feed([get("/", "Connection: close") + NEXT, NEXT])
        self.assertEqual(len(peer.answers()), 1)
        self.assertTrue(peer.transport.closed)

    def test_core_06_early_error_drains_or_closes(self) -> None:
        """After an early error a short body is drained and the next request answered; else the connection closes."""

        def refuse(exchange: Any) -> None:
            exchange.refuse(404) if exchange.head.method == "POST" else hello(exchange)

        for fields, body, drained in (
            (("Content-Length: 5",), b"hello", True),
            (("Content-Length: 60000",), b"x" * 60000, True),
            (("Content-Length: 70000",), b"x" * 70000, False),
            (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n", False),
        ):
            for pieces in ([post(*fields, body=body) + NEXT], [post(*fields), body, NEXT]):
                peer = Rig(route=refuse, access_log=False).connect()
                for piece in pieces:
                    peer.send(piece)
                statuses = peer.statuses
                self.assertEqual(statuses, [404, 200] if drained else [404], fields)
                self.assertIs(peer.transport.closed, not drained)
                self.assertEqual(peer.answers()[0].headers.get(b"connection") == b"close", not drained)

    def test_core_06_half_closed_peer_gets_all(self) -> None:
        """A peer that half-closes after its requests gets every answer whole: at once, late, streamed or long."""
        rig = Rig(route=wait, access_log=False)
        peer = rig.connect()
        peer.send(get("/1") + post("Content-Length: 2", body=b"ab") + get("/3", version="1.0"))
        peer.half_close()
        peer.wait(30.0)
        self.assertFalse(peer.transport.closed)
        rig.exchanges[0].begin(200, (), None)
        for _ in range(100):
            rig.exchanges[0].write(b"x" * 1000)
        peer.wait(30.0)
        rig.exchanges[0].finish()
        hello(rig.exchanges[1])
        peer.wait(30.0)
        self.assertFalse(peer.transport.closed)
        hello(rig.exchanges[2])
        self.assertEqual([len(one.body) for one in peer.answers()], [100_000, 1, 2])
        self.assertTrue(peer.transport.disconnecting)
        self.assertFalse(peer.transport.aborted)

    def test_core_06_half_closed_peer_gets_its_file(self) -> None:
        """A file too, small or large, for the first time or from memory."""
        root = Path(self.mktemp()).absolute()
        write(root, "small.txt", b"hello")
        write(root, "large.bin", b"x" * 300_000)
        rig = Rig(root=root, access_log=False)
        for name, length in (("small.txt", 5), ("small.txt", 5), ("large.bin", 300_000)):
            peer = rig.connect()
            peer.send(get(f"/{name}"))
            peer.half_close()
            self.assertEqual([len(one.body) for one in peer.answers()], [length])
            self.assertTrue(peer.transport.disconnecting)

    def test_core_06_half_close_in_the_middle(self) -> None:
        """A half-close within a request: nothing for half a head, 400 for half a body; earlier ones are answered."""
        for data, statuses in (
            (b"", []),
            (b"GET / HTTP/1.1\r\nHost", []),
            (get("/") + b"GET", [200]),
            (post("Content-Length: 5", body=b"he"), [400]),
            (get("/") + post("Content-Length: 5", body=b"he"), [200, 400]),
            (post("Transfer-Encoding: chunked", body=b"5\r\nhe"), [400]),
        ):
            peer = Rig(route=mirror, access_log=False).connect()
            if data:
                peer.send(data)
            peer.half_close()
            self.assertEqual(peer.statuses, statuses, data)
            self.assertTrue(peer.transport.closed)


class AnswerTests(SynchronousTestCase):
    def test_core_08_date(self) -> None:
        """Date is in every final answer, once, and moves with time: files, errors, redirects, refusals, 304, 204."""
        root = Path(self.mktemp()).absolute()
        write(root, "a.txt", b"hello")
        write(root, "d/x.txt", b"")
        rig = Rig(root=root, access_log=False)
        for round_ in range(2):
            for data in (
                get("/a.txt"),
                get("/none"),
                get("/d"),
                get("/d/"),
                head("OPTIONS * HTTP/1.1", "Host: a"),
                b"x\r\n\r\n",
                get("/a.txt", "If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT"),
                get("/a.txt", "Range: bytes=0-1"),
                get("/a.txt", "Range: bytes=99-"),
                get("/%00"),
                get("/../x"),
                head("FOO / HTTP/1.1", "Host: a"),
            ):
                peer = rig.connect()
                peer.send(data)
                (answer,) = peer.answers()
                self.assertIn(answer.headers[b"date"], (http_date(rig.clock.seconds()), http_date(NOW)), data)
                self.assertEqual(peer.received.count(b"\r\nDate: "), 1)
                peer.leave()
            keep = rig.connect()
            keep.wait(2.0 * (round_ + 1))
            keep.send(get("/a.txt"))
            self.assertNotEqual(keep.answers()[0].headers[b"date"], http_date(NOW))
            keep.leave()

    def test_core_08_no_length_without_body(self) -> None:
        """100, 204 and 304 have neither Content-Length nor Transfer-Encoding nor octets behind their head."""
        for status in (204, 304):
            for length in (None, 0, 5):

                def route(exchange: Any, status: int = status, length: int | None = length) -> None:
                    exchange.begin(status, (), length)
                    exchange.write(b"hello")
                    exchange.finish()

                peer = Rig(route=route, access_log=False).connect()
                peer.send(get("/") + get("/"))
                answers = peer.answers()
                self.assertEqual([one.status for one in answers], [status] * 2, (status, length))
                for one in answers:
                    self.assertNotIn(b"content-length", one.headers)
                    self.assertNotIn(b"transfer-encoding", one.headers)
                self.assertTrue(peer.received.endswith(b"\r\n\r\n"))

    def test_core_08_head_equals_get(self) -> None:
        """HEAD has GET's fields and no body: files, lists, redirects, errors, ranges aside, streams."""
        root = Path(self.mktemp()).absolute()
        write(root, "a.txt", b"hello")
        write(root, "d/x.txt", b"")
        for path, fields in (
            ("/a.txt", ()),
            ("/d", ()),
            ("/d/", ()),
            ("/none", ()),
            ("/%zz", ()),
            ("/a.txt", ("If-None-Match: *",)),
            ("/a.txt", ('If-Match: "x"',)),
        ):
            for options in ({}, {"listing": True}):
                rig = Rig(root=root, access_log=False, **options)
                found = {}
                for method in ("GET", "HEAD", "GET", "HEAD"):
                    peer = rig.connect()
                    peer.send(request(path, *fields, method=method))
                    (answer,) = read_answers(peer.received, [method])
                    found[method] = (answer.status, answer.headers)
                    self.assertTrue(method == "GET" or peer.received.endswith(b"\r\n\r\n"))
                self.assertEqual(found["GET"], found["HEAD"], path)
        for version in ("1.0", "1.1"):
            rig = Rig(route=streamed, access_log=False)
            one, other = (
                rig.ask(head(f"{method} / HTTP/{version}", "Host: a"), method)[0] for method in ("GET", "HEAD")
            )
            self.assertEqual({**one.headers, b"connection": b""}, {**other.headers, b"connection": b""})
            self.assertEqual(other.body, b"")

    def test_core_08_every_error_has_a_page(self) -> None:
        """Each status that the core refuses with has header fields and a small page that loads nothing."""
        for status in (
            400,
            401,
            403,
            404,
            405,
            406,
            408,
            412,
            413,
            414,
            416,
            417,
            421,
            429,
            431,
            500,
            501,
            502,
            503,
            504,
            505,
        ):
            rig = Rig(route=lambda exchange, status=status: exchange.refuse(status), access_log=False)
            answer = rig.get("/")
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.headers[b"content-type"], b"text/html; charset=utf-8")
            self.assertEqual(int(answer.headers[b"content-length"]), len(answer.body))
            self.assertIn(b"default-src 'none'", answer.headers[b"content-security-policy"])
            self.assertTrue(answer.body.startswith(b"<!doctype html>"))
            self.assertIn(str(status).encode(), answer.body)
            self.assertLess(len(answer.body), 4096)
            self.assertNotRegex(answer.body, rb"(?i)<script|src=|url\(|<link")


class TimeTests(SynchronousTestCase):
    def test_core_11_slow_head(self) -> None:
        """A head has its time as a whole, whatever is dripped, a line, fields; then 408 and the end."""
        for start, drip in ((b"", b"X"), (get("/")[:-2], b"X: y\r\n"), (b"\r\n", b"G")):
            rig = Rig(route=hello, access_log=False, head_timeout=10.0)
            peer = rig.connect()
            peer.send(start + drip)
            for _ in range(14):
                if not peer.transport.closed:
                    peer.send(drip)
                peer.wait(1.0)
            self.assertTrue(peer.transport.closed, drip)
            self.assertEqual(peer.statuses, [408], drip)

    def test_core_11_slow_head_of_a_later_request(self) -> None:
        """The second head of a connection has its time as well, counted from its first octet."""
        rig = Rig(route=hello, access_log=False, head_timeout=10.0, keepalive_timeout=60.0)
        peer = rig.connect()
        peer.send(get("/"))
        peer.wait(50.0)
        self.assertFalse(peer.transport.closed)
        for octet in b"GET / HTTP/1.1":
            if not peer.transport.closed:
                peer.send(bytes((octet,)))
            peer.wait(1.0)
        self.assertEqual(peer.statuses, [200, 408])

    def test_core_11_half_a_request_behind_an_answer(self) -> None:
        """What stands behind an answered request begins its time then; it does not last for ever."""
        rig = Rig(route=hello, access_log=False, head_timeout=10.0)
        peer = rig.connect()
        peer.send(get("/") + b"GET / HT")
        peer.wait(14.0)
        self.assertEqual(peer.statuses, [200, 408])

    def test_core_11_slow_body(self) -> None:
        """A body has to have its rate, by length or in chunks, read by a route or not."""
        for framing, drip in (("Content-Length: 100000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")):
            sink = Sink()
            rig = Rig(
                route=lambda exchange, sink=sink: exchange.receive_body(sink),
                access_log=False,
                body_timeout=10.0,
                body_rate=100,
            )
            peer = rig.connect()
            peer.send(post(framing))
            for _ in range(20):
                if not peer.transport.closed:
                    peer.send(drip)
                peer.wait(1.0)
            self.assertEqual((peer.statuses, sink.said), ([408], ["lost"]), framing)
            self.assertTrue(peer.transport.closed)

    def test_core_11_slow_reader(self) -> None:
        """A peer that takes nothing of a file is cut after its time; while it does, it is not."""
        root = Path(self.mktemp()).absolute()
        write(root, "large.bin", b"x" * 1_000_000)
        rig = Rig(root=root, access_log=False, send_timeout=10.0, send_rate=100)
        peer = rig.connect()
        peer.transport.blocked = True
        peer.send(get("/large.bin"))
        for _ in range(5):
            if len(peer.transport.dataBuffer) < 1000:
                peer.transport.producer.resumeProducing()
            peer.transport.dataBuffer = peer.transport.dataBuffer[1000:]
            peer.wait(4.0)
        self.assertFalse(peer.transport.aborted)
        peer.wait(25.0)
        self.assertTrue(peer.transport.aborted)

    def test_core_11_reader_of_many_answers(self) -> None:
        """A peer that pipelines and takes nothing is not read on, and is cut in its time; memory is bounded."""
        rig = Rig(route=lambda exchange: exchange.answer(200, (), b"x" * 10_000), access_log=False, send_timeout=10.0)
        peer = rig.connect()
        peer.transport.blocked = True
        for _ in range(300):
            if peer.transport.producerState == "producing":
                peer.send(get("/") * 20)
        self.assertLess(len(peer.transport.dataBuffer), 200_000)
        peer.wait(40.0)
        self.assertTrue(peer.transport.aborted)

    def test_core_11_idle(self) -> None:
        """An idle connection is kept its time and closed without a word; a new one has head_timeout."""
        for asked, seconds in ((False, 10.0), (True, 30.0)):
            rig = Rig(route=hello, access_log=False, head_timeout=10.0, keepalive_timeout=30.0)
            peer = rig.connect()
            if asked:
                peer.send(get("/"))
            before = peer.received
            peer.wait(seconds - 1.0)
            self.assertFalse(peer.transport.closed)
            peer.wait(4.0)
            self.assertTrue(peer.transport.closed)
            self.assertEqual(peer.received, before)

    def test_core_11_slow_route_is_waited_for(self) -> None:
        """While a route works no deadline of the peer's runs, also when it has half-closed."""
        for half in (False, True):
            rig = Rig(route=wait, access_log=False)
            peer = rig.connect()
            peer.send(get("/"))
            if half:
                peer.half_close()
            peer.wait(1000.0)
            hello(rig.exchanges[0])
            self.assertEqual(peer.statuses, [200])
