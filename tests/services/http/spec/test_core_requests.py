"""Protocol core, lines 1 to 3: hosts, targets, versions, methods, lengths, and octets that have no place in a head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tests.services.http.http_rig import Rig, write
from tests.services.http.spec.feeding import FeedCase, get, head, mirror


class HostTests(FeedCase):
    route = staticmethod(mirror)

    def test_core_01_without_host(self) -> None:
        """HTTP/1.1 without Host is 400, in every form of the target; HTTP/1.0 may do without."""
        self.refused(get(host=None), 400)
        self.refused(get("http://a.example/", host=None), 400)
        self.refused(head("OPTIONS * HTTP/1.1"), 400)
        self.accepted(get(host=None, version="1.0"), keeps=False)

    def test_core_01_two_hosts(self) -> None:
        """Two Host fields are 400, equal or not, next to each other or not, in any case of the name."""
        for second in ("Host: a.example", "Host: b.example", "HOST: a.example", "host:"):
            self.refused(get("/", second), 400)
            self.refused(get("/", "X: y", second), 400)
            self.refused(get("/", second, version="1.0"), 400)
        self.refused(get("http://a.example/", "Host: a.example"), 400)

    def test_core_01_invalid_host(self) -> None:
        """An invalid Host is 400."""
        for host in (
            "",
            " ",
            "a b",
            "a/b",
            "user@a",
            "a:b",
            "a:-1",
            "a:65536",
            "a:0x50",
            "[::1",
            "::1",
            "[::g]",
            "[1.2.3.4]",
            "a,b",
            "a?b",
            "a#b",
            "http://a",
            "a\\b",
            "\xe9",
            "a;b",
            '"a"',
            "a%00",
            "[::1]]",
            "[fe80::1%25eth0]",
            "a:80:80",
        ):
            self.refused(get(host=host), 400)

    def test_core_01_absolute_form(self) -> None:
        """The absolute form is accepted and its authority overrides Host."""
        for target, body in (
            ("http://b.example/x?y", b"GET b.example /x?y "),
            ("HTTP://b.example:8080/", b"GET b.example:8080 /? "),
            ("https://[2001:db8::1]/x", b"GET [2001:db8::1] /x? "),
            ("http://b.example", b"GET b.example /? "),
            ("http://b.example?y", b"GET b.example /?y "),
            ("http://b.example//x", b"GET b.example //x? "),
        ):
            self.assertEqual(self.accepted(get(target)).body, body)

    def test_core_01_absolute_form_of_no_host(self) -> None:
        """An absolute form with userinfo, an empty or invalid authority, or another scheme is 400."""
        for target in ("http://u:p@b/", "http:///x", "http://", "ftp://b/", "file:///etc/passwd", "http:b", "//:x:"):
            if target != "//:x:":
                self.refused(get(target), 400)

    def test_core_01_options_asterisk(self) -> None:
        """OPTIONS * is answered; the asterisk belongs to no other method."""
        self.assertEqual(self.accepted(head("OPTIONS * HTTP/1.1", "Host: a")).body, b"OPTIONS a *? ")
        self.assertEqual(self.accepted(head("OPTIONS http://b HTTP/1.1", "Host: a")).body, b"OPTIONS b *? ")
        for method in ("GET", "POST", "DELETE"):
            self.refused(head(f"{method} * HTTP/1.1", "Host: a"), 400)
        self.refused(head("HEAD * HTTP/1.1", "Host: a"), 400, "HEAD")

    def test_core_01_options_asterisk_of_the_site(self) -> None:
        """The site answers OPTIONS * with Allow and no body."""
        (answer,) = Rig().ask(head("OPTIONS * HTTP/1.1", "Host: a"))
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertIn(b"GET", answer.headers[b"allow"])


class TargetTests(FeedCase):
    options: ClassVar[dict[str, Any]] = {"max_target": 300, "max_head": 1024, "max_headers": 10}

    def test_core_02_octets_of_the_target(self) -> None:
        """A fragment, a control character, a space, or an octet beyond ASCII in the target is 400."""
        for target in (
            "/a#b",
            "/#",
            "/a b",
            "/ ",
            " /",
            "/a\tb",
            "/a\x00",
            "/\x01",
            "/a\x7f",
            "/caf\xe9",
            "/a\x0bb",
            "#",
        ):
            self.refused(get(target), 400)

    def test_core_02_no_target(self) -> None:
        """A request line of two or four words, or of another form, is 400."""
        for line in (
            "GET",
            "GET ",
            "GET  HTTP/1.1",
            "GET /",
            "GET / HTTP/1.1 x",
            "GET / /b HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET\t/\tHTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET a HTTP/1.1",
            "GET ../x HTTP/1.1",
        ):
            self.refused(head(line, "Host: a"), 400)

    def test_core_02_versions(self) -> None:
        """A higher 1.x minor is 1.1, with all that belongs to it; other major versions are 505; the rest is 400."""
        for minor in range(1, 10):
            self.accepted(get(version=f"1.{minor}"))
        self.refused(get(host=None, version="1.7"), 400)
        for version in ("0.9", "2.0", "2.1", "3.0", "9.9"):
            self.refused(get(version=version), 505)
        for line in (
            "GET / HTTP/1",
            "GET / HTTP/1.",
            "GET / HTTP/.1",
            "GET / HTTP/1.1.1",
            "GET / HTTP/01.1",
            "GET / HTTP/1.11",
            "GET / http/1.1",
            "GET / HTTPS/1.1",
            "GET / HTTP 1.1",
            "GET / HTTP/1,1",
        ):
            self.refused(head(line, "Host: a"), 400)

    def test_core_02_unknown_methods(self) -> None:
        """An unknown method is 501; methods are told by case; what is no token is 400."""
        for method in ("FOO", "get", "Get", "PROPFIND", "MOVE", "X" * 31, "G-E_T", "PRI"):
            self.refused(head(f"{method} / HTTP/1.1", "Host: a"), 501)
        for method in ("", "G@T", "G(T", '"GET"', "G\x00T", "\xe9", "GET,", "GET:"):
            self.refused(head(f"{method} / HTTP/1.1", "Host: a"), 400)

    def test_core_02_not_allowed(self) -> None:
        """A known method that a place does not take is 405 with Allow, and the connection goes on."""
        root = Path(self.mktemp()).absolute()
        write(root, "a.txt", b"hello")
        rig = Rig(root=root, access_log=False)
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"):
            target = "a.txt:80" if method == "CONNECT" else "/a.txt"
            peer = rig.connect()
            peer.send(head(f"{method} {target} HTTP/1.1", "Host: a"))
            peer.send(get("/a.txt"))
            first, second = peer.answers()
            self.assertEqual((first.status, second.body), (405, b"hello"), method)
            self.assertEqual(first.headers[b"allow"], b"GET, HEAD, OPTIONS")
            self.check_error(first)

    def test_core_02_long_targets(self) -> None:
        """A target past its limit is 414 with an answer, whether its end has come or not; one at the limit is read."""
        self.accepted(get("/" + "a" * 299))
        for length in (300, 301, 330, 340, 5000, 100_000):
            for data in (get("/" + "a" * length), b"GET /" + b"a" * (length + 40)):
                peers = (self.feed([data]), self.feed([data[:200], data[200:], b"a" * 10]))
                for peer in peers:
                    self.assertEqual(peer.statuses, [414], length)
                    self.assertTrue(peer.transport.closed)
                    self.check_error(peer.answers()[0])

    def test_core_02_long_headers(self) -> None:
        """Fields past their limits are 431 with an answer, in octets and in number, ended or not."""
        self.accepted(get("/", *(f"X{at}: y" for at in range(9))))
        self.refused(get("/", *(f"X{at}: y" for at in range(10))), 431)
        self.refused(get("/", "X: " + "y" * 1100), 431)
        self.refused(get("/", "X" * 1100 + ": y"), 431)
        self.refused(get("/")[:-2] + b"X: " + b"y" * 1100, 431)
        self.refused(get("/")[:-2] + b"y" * 1100, 431)
        peer = self.feed([get("/")[:-2], *(b"X%d: y\r\n" % at for at in range(50))])
        self.assertEqual(peer.statuses, [431])

    def test_core_02_long_for_head(self) -> None:
        """HEAD gets the same without the page, whatever is wrong and however it came."""
        for status, data in (
            (400, b"HEAD / HTTP/1.1\r\nHost: a\n"),
            (400, b"HEAD / HTTP/1.1\r\nHost : a\r\n\r\n"),
            (505, b"HEAD / HTTP/2.0\r\nHost: a\r\n\r\n"),
            (431, b"HEAD / HTTP/1.1\r\n" + b"X: y\r\n" * 11),
        ):
            self.refused(data, status, "HEAD")
        self.refused(get("/").replace(b"GET", b"HEAD")[:-2] + b"X: " + b"y" * 1100 + b"\r\n\r\n", 431, "HEAD")


class OctetTests(FeedCase):
    def test_core_03_carriage_return(self) -> None:
        """CR without LF is 400 wherever it stands in a head."""
        for data in (
            b"GET / HTTP/1.1\rHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n",
            b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            self.refused(data, 400)

    def test_core_03_nul(self) -> None:
        """NUL is 400 wherever it stands in a head."""
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
        for at in range(len(data) - 3):
            self.refused(data[:at] + b"\0" + data[at:], 400)

    def test_core_03_field_names(self) -> None:
        """A bad token in a field's name, no name, and space before the colon are 400."""
        for field in (
            "X Y: z",
            "X(: z",
            "X): z",
            "X@: z",
            "X[: z",
            'X"Y: z',
            "X/Y: z",
            "X{: z",
            "X\\: z",
            "X,Y: z",
            "X;: z",
            "X=: z",
            "\xe9: z",
            "X\x7f: z",
            "X\x01: z",
            ": z",
            " : z",
            "X : z",
            "X\t: z",
            "X \t: z",
            "X",
            "X z",
            "X\x0b: z",
        ):
            self.refused(get("/", field), 400)
            self.refused(get("/", field, "Y: z"), 400)
            self.refused(head("GET / HTTP/1.1", field, "Host: a"), 400)
        self.accepted(get("/", "!#$%&'*+-.^_`|~0aZ: z"))

    def test_core_03_content_length_in_disguise(self) -> None:
        """Names that a proxy might take for Content-Length or Transfer-Encoding are 400, never a body."""
        for field in (
            "Content-Length : 5",
            "Content-Length\t: 5",
            " Content-Length: 5",
            "Transfer-Encoding : chunked",
            "Content-Length\x0b: 5",
            "\x0bTransfer-Encoding: chunked",
            "Content-Length\x00: 5",
        ):
            self.refused(get("/", field), 400)

    def test_core_03_obs_fold(self) -> None:
        """A folded line is 400: behind Host, behind another field, in front of all, with a space or a tab."""
        for fold in (" b", "\tb", "  ", " ", "\t", " Y: z"):
            self.refused(get("/", fold), 400)
            self.refused(get("/", "X: y", fold), 400)
            self.refused(get("/", "X:", fold), 400)
            self.refused(head("GET / HTTP/1.1", fold, "Host: a"), 400)

    def test_core_03_bare_lf(self) -> None:
        """One policy for bare LF, everywhere: 400, as soon as it comes, so that nobody hangs."""
        lines = [b"GET / HTTP/1.1", b"Host: a", b"X: y", b""]
        for wrong in range(len(lines)):
            data = b"".join(line + (b"\n" if at == wrong else b"\r\n") for at, line in enumerate(lines))
            self.refused(data, 400)
            upto = b"".join(line + (b"\n" if at == wrong else b"\r\n") for at, line in enumerate(lines[: wrong + 1]))
            self.refused(upto, 400)
        self.refused(b"\n".join(lines) + b"\n", 400)
        self.refused(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400)
        self.refused(b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400)

    def test_core_03_controls_in_values(self) -> None:
        """Control characters in a value are 400; a tab and octets beyond ASCII are its own affair."""
        for code in (*range(9), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0x7F):
            self.refused(get("/", f"X: y{chr(code)}z"), 400)
        for value in ("y\tz", "caf\xe9", "", " ", "\t y \t"):
            self.accepted(get("/", f"X: {value}"))

    def test_core_03_bad_octets_in_a_later_request(self) -> None:
        """The same rules hold for the second request of a connection; the first is answered."""
        for data in (b"GET / HTTP/1.1\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"\0"):
            for pieces in ([get("/one") + data], [get("/one"), data], [get("/one") + data[:7], data[7:]]):
                peer = self.feed([piece for piece in pieces if piece])
                self.assertEqual(peer.statuses, [200, 400])
                self.assertTrue(peer.transport.closed)
