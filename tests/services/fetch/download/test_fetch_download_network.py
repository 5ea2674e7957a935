"""Where a download goes: redirects, addresses, credentials; its connections, deadlines and rate."""

from __future__ import annotations

from netsvc.services.fetch.download import DownloadError, Permanent, Terms, Transient
from tests.services.fetch.download.net import Downloads, reply


class RedirectTests(Downloads):
    """Answers that lead elsewhere."""

    def test_redirects_are_followed_and_bounded(self) -> None:
        """Relative and absolute, each kind; one more than allowed ends it. The name is that of the URL asked for."""
        self.begin(max_redirects=3)
        for count, good in ((3, True), (4, False)):
            started = self.start("http://example.com/0", directory=())
            wire = self.wire()
            for number in range(count):
                self.assertIn(f"GET /{number} ", wire.requests()[0])
                status = (301, 302, 307, 308)[number]
                wire.answer(reply(b"moved", f"{status} Moved", f"Location: {number + 1}"))
            if good:
                wire.answer(reply(b"x"))
                done = self.successResultOf(started)
                self.assertEqual((done.names, done.url), (("0",), "http://example.com/3"))
                wire.close()
            else:
                self.assertIn("redirects", self.failure(started, Permanent).reason)

    def test_redirects_that_are_not_followed(self) -> None:
        """To another scheme, to several places, to no host."""
        for fields in (
            ("Location: file:///etc/passwd",),
            ("Location: ftp://example.com/",),
            ("Location: http://[x/",),
            ("Location: http://a/", "Location: http://b/"),
            ("Location: http://a\x80:99999/",),
        ):
            self.begin()
            started = self.start()
            self.wire().answer(reply(b"", "302 Found", *fields))
            self.failure(started, Permanent)
            self.assertEqual(len(self.net.tcpClients), 1)
            self.net.tcpClients.clear()

    def test_credentials_stay_with_their_origin(self) -> None:
        """User and password, and the fields of the terms, go to the URL's own origin only: another port is another."""
        self.begin(headers=(("X-Token", "secret"),))
        started = self.start("http://user:pass%20word@example.com/a.bin")
        wire = self.wire()
        (request,) = wire.requests()
        self.assertIn("\r\nAuthorization: Basic dXNlcjpwYXNzIHdvcmQ=", request)
        self.assertIn("\r\nX-Token: secret", request)
        self.assertNotIn("user", request.splitlines()[0] + request.splitlines()[1])
        wire.answer(reply(b"", "302 Found", "Location: /b"))
        self.assertIn("Authorization", wire.requests()[0])
        wire.answer(reply(b"", "302 Found", "Location: http://example.com:8080/b"))
        wire = self.wire()
        (request,) = wire.requests()
        self.assertNotIn("Authorization", request)
        self.assertNotIn("X-Token", request)
        wire.answer(reply(b"x"))
        self.assertNotIn("user", repr(self.successResultOf(started)))

    def test_fields_of_the_terms_are_lines(self) -> None:
        """A field that would end its line makes no terms."""
        for terms in ({"user_agent": "a\r\nb"}, {"headers": (("a", "b\nc: d"),)}):
            with self.assertRaises(ValueError):
                Terms(**terms)  # type: ignore[arg-type]

    def test_page_of_an_error_may_break_off(self) -> None:
        """What the answer is stays what it is."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"<htm", "404 Not Found", length=100))
        wire.close()
        self.assertEqual(self.failure(started, Permanent).status, 404)

    def test_password_is_in_no_error(self) -> None:
        """Neither a failure nor what was wanted says it."""
        started = self.start("http://user:hunter2@example.com/a.bin")
        self.wire().answer(reply(b"", "404 Not Found"))
        self.assertNotIn("hunter2", repr(self.failure(started)))
        started = self.start("gopher://user:hunter2@example.com/a.bin")
        self.assertNotIn("hunter2", repr(self.failure(started, Permanent)))


class AddressTests(Downloads):
    """Private addresses."""

    def test_private_addresses_are_not_connected_to(self) -> None:
        """By name and by number; of several the public ones are used."""
        for number, host in enumerate(("127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "evil")):
            self.net.names = {"evil": ["10.1.2.3", "fd00::1"], host.strip("[]"): [host.strip("[]")]} | (
                {"evil": ["10.1.2.3", "fd00::1"]} if host == "evil" else {}
            )
            started = self.start(f"http://{host}/{number}")
            self.assertIn("public", self.failure(started, Permanent).reason)
        self.assertEqual(self.net.tcpClients, [])
        self.net.names = {"both": ["10.1.2.3", "8.8.8.8"]}
        self.start("http://both/x")
        self.assertEqual([one[0] for one in self.net.tcpClients], ["8.8.8.8"])
        self.wire().answer(reply(b""))

    def test_redirect_to_a_private_address_is_refused(self) -> None:
        """A public peer cannot send us inside."""
        self.net.names = {"inside": ["192.168.1.1"]}
        started = self.start()
        self.wire().answer(reply(b"", "302 Found", "Location: http://inside/admin"))
        self.assertIn("public", self.failure(started, Permanent).reason)
        self.assertEqual(len(self.net.tcpClients), 1)

    def test_private_addresses_may_be_allowed(self) -> None:
        """With private_addresses they are connected to."""
        self.begin(private_addresses=True)
        self.net.names = {"inside": ["192.168.1.1"]}
        started = self.start("http://inside/a.bin")
        self.wire().answer(reply(b"x"))
        self.successResultOf(started)


class ConnectionTests(Downloads):
    """Which connections there are."""

    def test_connection_is_kept_for_a_while(self) -> None:
        """The next download uses it; after keep_alive it is closed; Connection: close is believed."""
        for _ in range(3):
            started = self.start()
            wire = self.wire() if not self.net.tcpClients[1:] and not hasattr(self, "wire_") else self.wire_
            self.wire_ = wire
            wire.answer(reply(b"x"))
            self.successResultOf(started)
        self.assertEqual(len(self.net.tcpClients), 1)
        self.net.advance(Terms().keep_alive - 1)
        self.assertTrue(wire.is_open)
        self.net.advance(2)
        self.assertFalse(wire.is_open)
        self.assertEqual(self.net.getDelayedCalls(), [])
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"x", "200 OK", "Connection: Foo, Close"))
        self.successResultOf(started)
        self.assertFalse(wire.is_open)

    def test_kept_connection_that_was_closed_is_replaced_unseen(self) -> None:
        """It ends before the first octet of the answer: asked again on a new one, once."""
        started = self.start()
        first = self.wire()
        first.answer(reply(b"x"))
        self.successResultOf(started)
        started = self.start()
        first.close()
        wire = self.wire()
        self.assertEqual(len(wire.requests()), 1)
        wire.close()
        self.assertIn("before the answer", self.failure(started, Transient).reason)

    def test_unasked_octets_end_a_kept_connection(self) -> None:
        """What comes while nothing was asked is never anybody's answer."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"x"))
        self.successResultOf(started)
        wire.answer(reply(b"evil"))
        self.assertFalse(wire.is_open)

    def test_places_overall_and_by_host(self) -> None:
        """So many at once and to one host; the others wait in turn, host by host."""
        self.begin(max_connections=3, max_connections_per_host=2)
        started = [self.start(f"http://{host}/{n}", names=(f"{host}{n}",)) for host in ("a", "b") for n in range(3)]
        self.assertEqual([self.net.names.get("a"), len(self.net.tcpClients)], [None, 3])
        wires = [self.wire(n) for n in range(3)]
        wires[0].answer(reply(b"x"))
        self.assertEqual([one.split()[1] for one in wires[0].requests()], ["/0", "/2"])
        wires[0].answer(reply(b"x"))
        for _ in range(8):
            for number in range(len(wires), len(self.net.tcpClients)):
                wires.append(self.wire(number))
            for wire in wires:
                if wire.is_open and wire.requests():
                    wire.answer(reply(b"x"))
        for one in started:
            self.successResultOf(one)
        self.assertEqual(len(self.files()), 6)

    def test_close_ends_who_waits(self) -> None:
        """Downloads that wait for a place end, too, and no timer stays."""
        self.begin(max_connections=1)
        started = [self.start(names=(str(n),)) for n in range(3)]
        self.wire()
        self.successResultOf(self.downloader.close())
        for one in started:
            self.assertIn("stopped", self.failure(one, Transient).reason)
        self.assertEqual(self.net.getDelayedCalls(), [])


class DeadlineTests(Downloads):
    """What takes too long."""

    terms = Terms(
        connect_timeout=5, first_byte_timeout=7, idle_timeout=10, total_timeout=100, lowest_speed=10, speed_window=20
    )

    def reason(self, started: object) -> str:
        """Why it failed, with no timer left."""
        error: DownloadError = self.failure(started, Transient)  # type: ignore[arg-type]
        self.assertEqual(self.net.getDelayedCalls(), [])
        return error.reason

    def test_connecting(self) -> None:
        """Nobody answers."""
        started = self.start()
        self.net.advance(4.9)
        self.assertNoResult(started)
        self.net.advance(0.2)
        self.assertIn("connecting", self.reason(started))

    def test_first_byte_counts_until_the_head_is_whole(self) -> None:
        """A head that comes by drips is late all the same."""
        started = self.start()
        wire = self.wire()
        for octet in b"HTTP/1.1 200 OK":
            wire.answer(bytes([octet]))
            self.net.advance(0.5)
        self.assertIn("answer took longer than 7 s", self.reason(started))

    def test_idle(self) -> None:
        """Nothing comes in the middle of the body."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"x" * 1000, length=2000))
        self.net.advance(9.9)
        self.assertNoResult(started)
        self.net.advance(0.2)
        self.assertIn("nothing came for 10 s", self.reason(started))
        self.assertFalse(wire.is_open)

    def test_file_abuse_32_slow_origin(self) -> None:
        """One octet every 9 s is never idle, and slower than the lowest speed."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"", length=2000))
        for _ in range(3):
            self.net.advance(8.9)
            wire.answer(b"x")
        self.assertIn("slower than 10 octets/s for 20 s", self.reason(started))

    def test_total(self) -> None:
        """Fast enough, and too long."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"", length=1 << 20))
        for _ in range(25):
            self.net.advance(4)
            wire.answer(b"x" * 1000)
        self.assertIn("longer than 100 s", self.reason(started))

    def test_rate_is_limited_and_nobody_is_blamed(self) -> None:
        """Above the rate the peer is held back, which is neither idleness nor slowness."""
        self.begin(rate_limit=100, lowest_speed=1000, total_timeout=None)
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"x" * 5000, length=5001))
        self.assertEqual(wire.producerState, "paused")
        for _ in range(49):
            self.net.advance(1)
        self.assertEqual(wire.producerState, "paused")
        self.net.advance(1.1)
        self.assertEqual(wire.producerState, "producing")
        wire.answer(b"x")
        self.assertEqual(self.successResultOf(started).size, 5001)


class ProgressTests(Downloads):
    """What on_progress hears."""

    def test_progress(self) -> None:
        """Now and then, and the whole at the end."""
        from netsvc.services.fetch.download import Progress, Wanted

        heard: list[Progress] = []
        started = self.downloader.download(Wanted(url="http://example.com/a", names=("a",)), heard.append)
        wire = self.wire()
        wire.answer(reply(b"abc", length=9))
        wire.answer(b"def")
        self.net.advance(1)
        wire.answer(b"g")
        wire.answer(b"hi")
        self.successResultOf(started)
        self.assertEqual([one.received for one in heard], [3, 7, 9])
        self.assertEqual({one.size for one in heard}, {9})


class DocumentTests(Downloads):
    """Answers into memory."""

    def test_document(self) -> None:
        """Whole, bounded; errors as for files."""
        for octets, kind in (
            (reply(b"[1]"), None),
            (reply(b"[1, 2]"), Permanent),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[1, 2]\r\n0\r\n\r\n", Permanent),
            (reply(b"x", "200 OK", "Content-Encoding: br"), Permanent),
            (reply(b"", "503 Busy"), Transient),
            (reply(b"", "206 Part"), Permanent),
            (reply(b"[1]", length=None), Permanent),
        ):
            self.begin()
            started = self.downloader.read("http://u:p@example.com/feed", max_size=5)
            self.wire().answer(octets)
            if kind is None:
                found = self.successResultOf(started)
                self.assertEqual((found.content, found.url), (b"[1]", "http://example.com/feed"))
            else:
                self.failure(started, kind)
