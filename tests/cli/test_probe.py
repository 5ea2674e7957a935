"""Facts about ``netsvc probe``, against small servers in threads on free ports."""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.server
import io
import json
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli import probe
from netsvc.cli.probes import checks, rounds
from netsvc.cli.probes.output import _time, table
from netsvc.cli.probes.rounds import Report, probe_all
from netsvc.cli.probes.target import SCHEMES, BadTargetError, parse_target

Talk = Callable[[socket.socket], object]

MONDAY = b"Monday\r\n"
QUOTE = b"Well begun.\r\n"


def line(number: int) -> bytes:
    """A line of chargen."""
    return (checks.PRINTING * 2)[number : number + 72] + b"\r\n"


class _Quiet:
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that leaves early is no news."""


class _Stream(_Quiet, socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Stream6(_Stream):
    address_family = socket.AF_INET6


class _Datagram(_Quiet, socketserver.UDPServer):
    pass


class _Web(_Quiet, http.server.ThreadingHTTPServer):
    daemon_threads = True


class ServerCase(SynchronousTestCase):
    """Starts servers, runs the command, stops the servers."""

    def start(self, server: Any) -> int:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self.addCleanup(stop)
        return int(server.server_address[1])

    def stream(self, talk: Talk, kind: type[_Stream] = _Stream, host: str = "127.0.0.1") -> int:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    talk(self.request)

        return self.start(kind((host, 0), Handler))

    def datagram(self, answer: Callable[[bytes], bytes | None]) -> int:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                found = answer(data)
                if found is not None:
                    sock.sendto(found, self.client_address)

        return self.start(_Datagram(("127.0.0.1", 0), Handler))

    def web(self, status: int, phrase: str) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status, phrase)
                self.send_header("X-Path", self.path)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        return self.start(_Web(("127.0.0.1", 0), Handler))

    def free_port(self) -> int:
        """A port on which nobody listens."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    def run_probe(self, *argv: str) -> tuple[int, str, str]:
        """Exit status, output, error output."""
        parser = argparse.ArgumentParser(prog="netsvc probe")
        probe.configure(parser)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = probe.run(parser.parse_args(argv))
            except SystemExit as end:
                status = int(end.code or 0)
        return status, out.getvalue(), err.getvalue()

    def report(self, url: str, *argv: str) -> dict[str, Any]:
        """The JSON object of one URL, probed once and quickly."""
        status, out, _ = self.run_probe(url, "--json", "-c1", "-i0s", "-t2", *argv)
        (found,) = json.loads(out)
        self.assertEqual(status, 0 if found["ok"] else 1)
        return dict(found)

    def said(self, url: str, *argv: str) -> str:
        """What a service said that is well."""
        found = self.report(url, *argv)
        self.assertIsNone(found["error"], url)
        return str(found["answer"])

    def fails(self, url: str, *argv: str) -> str:
        """Why a probe failed."""
        found = self.report(url, *argv)
        self.assertFalse(found["ok"], url)
        return str(found["error"])


def echo(sock: socket.socket) -> None:
    """Sends everything back."""
    while data := sock.recv(65536):
        sock.sendall(data)


def says(data: bytes) -> Talk:
    """Sends the data and closes."""
    return lambda sock: sock.sendall(data)


class EchoTests(ServerCase):
    def test_stream(self) -> None:
        """Every round over one connection is counted and timed."""
        port = self.stream(echo)
        status, out, _ = self.run_probe(f"echo://127.0.0.1:{port}", "--json", "-c20", "-i0s", "-s1000")
        (found,) = json.loads(out)
        self.assertEqual((status, found["sent"], found["received"], found["loss"]), (0, 20, 20, 0))
        self.assertLessEqual(found["min"], found["median"])
        self.assertLessEqual(found["median"], found["p99"])
        self.assertEqual(found["answer"], "1000 octets came back")

    def test_ipv6_and_names(self) -> None:
        """IPv6 addresses in brackets and host names are reached."""
        port = self.stream(echo, _Stream6, "::1")
        self.assertEqual(self.said(f"echo://[::1]:{port}"), "64 octets came back")
        port = self.stream(echo)
        self.assertEqual(self.said(f"echo://localhost:{port}"), "64 octets came back")

    def test_wrong_octets(self) -> None:
        """Other octets, and an early end, are failures; the rest of the rounds is not tried on a broken stream."""

        def other(sock: socket.socket) -> None:
            sock.sendall(bytes(len(sock.recv(65536))))

        self.assertEqual(self.fails(f"echo://127.0.0.1:{self.stream(other)}"), "other octets came back")
        port = self.stream(lambda sock: sock.sendall(sock.recv(65536)[:10]))
        self.assertEqual(self.fails(f"echo://127.0.0.1:{port}", "-c5"), "closed after 10 of 64 octets")

    def test_datagram(self) -> None:
        """Over UDP as well."""
        port = self.datagram(lambda data: data)
        self.assertEqual(self.said(f"echo+udp://127.0.0.1:{port}"), "64 octets came back")

    def test_datagram_loss(self) -> None:
        """A lost datagram is a lost round; later rounds go on, and a late answer is not taken for theirs."""
        held: list[bytes] = []

        def lossy(data: bytes) -> bytes | None:
            held.append(data)
            if len(held) == 2:
                return None
            return held[1] if len(held) == 3 else data

        port = self.datagram(lossy)
        status, out, _ = self.run_probe(f"echo+udp://127.0.0.1:{port}", "--json", "-c4", "-i0s", "-t0.4")
        (found,) = json.loads(out)
        self.assertEqual((status, found["sent"], found["received"], found["loss"]), (1, 4, 2, 0.5))
        self.assertEqual(found["error"], "timed out")

    def test_nobody(self) -> None:
        """A port on which nobody listens is refused, over TCP and UDP."""
        port = self.free_port()
        self.assertEqual(self.fails(f"echo://127.0.0.1:{port}"), "connection refused")
        self.assertEqual(self.fails(f"echo+udp://127.0.0.1:{port}"), "connection refused")


class SpeakerTests(ServerCase):
    def test_daytime(self) -> None:
        """The line is reported without its end; silence is a failure."""
        self.assertEqual(self.said(f"daytime://127.0.0.1:{self.stream(says(MONDAY))}"), "Monday")
        self.assertEqual(self.said(f"daytime+udp://127.0.0.1:{self.datagram(lambda _: MONDAY)}"), "Monday")
        self.assertEqual(self.fails(f"daytime://127.0.0.1:{self.stream(says(b''))}"), "it said nothing")
        self.assertEqual(self.fails(f"daytime://127.0.0.1:{self.stream(says(bytes(5000)))}"), "more than 4096 octets")

    def test_time(self) -> None:
        """The offset from this clock is told in seconds, to the nearest era; a second's fraction counts as none."""

        def now(ahead: int) -> bytes:
            return struct.pack("!I", (int(time.time()) + checks.EPOCH + ahead) % 2**32)

        port = self.stream(lambda sock: sock.sendall(now(0)))
        self.assertEqual(self.said(f"time://127.0.0.1:{port}"), "the same time as here, to its second")
        port = self.datagram(lambda _: now(3600))
        found = self.report(f"time+udp://127.0.0.1:{port}")
        self.assertLess(abs(found["offset"] - 3600), 1)
        self.assertRegex(found["answer"], r"^\+(3599|3600)\.\d s from this clock$")
        with mock.patch("time.time", return_value=2**32 - checks.EPOCH + 10.0):  # the era after 2036
            found = self.report(f"time://127.0.0.1:{self.stream(says(struct.pack('!I', 5)))}")
        self.assertLess(abs(found["offset"] + 5), 1)
        self.assertEqual(self.fails(f"time://127.0.0.1:{self.stream(says(b'12345'))}"), "5 octets; RFC 868 wants 4")

    def test_qotd(self) -> None:
        """A quote is told, one of 512 octets is too long; over UDP the request leaves room for any."""
        self.assertEqual(self.said(f"qotd://127.0.0.1:{self.stream(says(QUOTE))}"), "Well begun.")
        port = self.datagram(lambda data: b"x" * 511 if len(data) >= 511 else None)
        self.assertEqual(self.said(f"qotd+udp://127.0.0.1:{port}"), "x" * 511)
        self.assertIn("512 octets", self.fails(f"qotd://127.0.0.1:{self.stream(says(b'x' * 512))}"))

    def test_chargen(self) -> None:
        """Two lines that turn by one character are the pattern; anything else is not."""
        wanted = "148 octets of the pattern"
        self.assertEqual(self.said(f"chargen://127.0.0.1:{self.stream(says(line(5) + line(6) + line(7)))}"), wanted)
        for wrong in (line(5) * 2, b"x" * 148, line(0)[:-2] + b"\n\n" + line(1), b"\x80" + line(0)[1:] + line(1)):
            self.assertIn("RFC 864", self.fails(f"chargen://127.0.0.1:{self.stream(says(wrong))}"))
        self.assertEqual(
            self.said(f"chargen+udp://127.0.0.1:{self.datagram(lambda _: line(0))}"), "74 octets of the pattern"
        )
        for wrong in (bytes(10), line(0) * 7):
            self.assertIn("RFC 864", self.fails(f"chargen+udp://127.0.0.1:{self.datagram(lambda _, w=wrong: w)}"))

    def test_discard(self) -> None:
        """Silence and an end after ours are well, any answer is not; UDP silence is reported for what it is."""

        def silent(sock: socket.socket) -> None:
            while sock.recv(65536):
                pass

        self.assertEqual(self.said(f"discard://127.0.0.1:{self.stream(silent)}"), "took it and kept silent")
        self.assertEqual(self.fails(f"discard://127.0.0.1:{self.stream(echo)}"), "it answered")
        self.assertIn("silence", self.said(f"discard+udp://127.0.0.1:{self.datagram(lambda _: None)}"))
        self.assertEqual(self.fails(f"discard+udp://127.0.0.1:{self.datagram(lambda data: data)}"), "it answered")

    def test_greeter(self) -> None:
        """The welcome and the reply are told; a server that closes after the welcome is well too."""

        def greet(sock: socket.socket) -> None:
            sock.sendall(b"Welcome!")
            while data := sock.recv(1024):
                sock.sendall(b"Hello, " + data + b"!")

        self.assertEqual(self.said(f"greeter://127.0.0.1:{self.stream(greet)}"), "Welcome! / Hello, netsvc!")
        self.assertEqual(self.said(f"greeter://127.0.0.1:{self.stream(says(b'Thank you'))}"), "Thank you")
        self.assertEqual(self.fails(f"greeter://127.0.0.1:{self.stream(says(b''))}"), "it closed without a welcome")

        def mute(sock: socket.socket) -> None:
            sock.sendall(b"Welcome!")
            while sock.recv(1024):
                pass

        self.assertEqual(self.fails(f"greeter://127.0.0.1:{self.stream(mute)}", "-t0.2"), "timed out")

        def reset(sock: socket.socket) -> None:
            sock.sendall(b"Welcome!")
            sock.recv(1024)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        self.assertEqual(self.said(f"greeter://127.0.0.1:{self.stream(reset)}"), "Welcome!")

    def test_filetransfer(self) -> None:
        """The file's name and size are told; what is no such object is a failure."""
        answer = json.dumps({"filename": "汇总.xlsx", "filedata": base64.b64encode(bytes(1000)).decode()}).encode()
        found = self.report(f"filetransfer://127.0.0.1:{self.stream(says(answer))}")
        self.assertEqual((found["filename"], found["size"]), ("汇总.xlsx", 1000))
        for wrong in (b"", b"{", b"[]", b'{"filename": "x"}', b'{"filename": "x", "filedata": "?"}', answer[:-9]):
            self.assertIn("not a JSON object", self.fails(f"filetransfer://127.0.0.1:{self.stream(says(wrong))}"))

    def test_tcp(self) -> None:
        """Only a connection is asked for."""
        self.assertEqual(self.said(f"tcp://127.0.0.1:{self.stream(echo)}"), "connected")


class WebTests(ServerCase):
    def test_status(self) -> None:
        """A status below 400 is well and told."""
        found = self.report(f"http://127.0.0.1:{self.web(200, 'OK')}/a?b=c")
        self.assertEqual((found["status"], found["answer"]), (200, "200 OK"))
        self.assertEqual(self.said(f"http://127.0.0.1:{self.web(302, 'Found')}"), "302 Found")
        self.assertEqual(self.fails(f"http://127.0.0.1:{self.web(404, 'Not Found')}"), "404 Not Found")

    def test_not_http(self) -> None:
        """Silence, nonsense and an end are told apart."""
        self.assertEqual(self.fails(f"http://127.0.0.1:{self.stream(says(b'nonsense'))}"), "not HTTP: BadStatusLine")
        self.assertEqual(self.fails(f"http://127.0.0.1:{self.free_port()}"), "connection refused")
        wait = threading.Event()
        self.addCleanup(wait.set)
        port = self.stream(lambda sock: wait.wait(60))
        self.assertEqual(self.fails(f"http://127.0.0.1:{port}", "-t0.2"), "timed out")

    def test_tls(self) -> None:
        """A certificate that nobody vouches for is a failure, but for --insecure; with --cafile it is believed."""
        import ssl

        folder = self.mktemp()
        certificate = f"{folder}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]  # noqa: RUF005
            + ["-keyout", certificate, "-out", f"{certificate}.crt"]
            + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.crt", certificate)

        def talk(sock: socket.socket) -> None:
            with context.wrap_socket(sock, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        port = self.stream(talk)
        self.assertIn("certificate", self.fails(f"https://localhost:{port}"))
        self.assertEqual(self.said(f"https://localhost:{port}", "--insecure"), "204 No Content")
        self.assertEqual(self.said(f"https://localhost:{port}", "--cafile", f"{certificate}.crt"), "204 No Content")
        self.assertTrue(self.fails(f"https://localhost:{port}", "--cafile", "/nonexistent"))


class TogetherTests(ServerCase):
    def test_black_hole(self) -> None:
        """A service that never answers holds up no other: all are probed at once, and one failure is status 1."""
        wait = threading.Event()
        self.addCleanup(wait.set)
        hole = self.stream(lambda sock: wait.wait(60))
        good = self.stream(echo)
        start = time.monotonic()
        urls = [f"daytime://127.0.0.1:{hole}"] * 5 + [f"echo://127.0.0.1:{good}"]
        status, out, _ = self.run_probe(*urls, "--json", "-c1", "-t3")
        self.assertLess(time.monotonic() - start, 5 * 3.0)
        self.assertEqual([one["ok"] for one in json.loads(out)], [False] * 5 + [True])
        self.assertEqual(status, 1)

    def test_a_thread_that_hangs(self) -> None:
        """A probe whose deadlines are ignored (a name server that hangs) is left behind and reported."""
        wait = threading.Event()
        self.addCleanup(wait.set)

        def hang(*_: object) -> None:
            wait.wait(30)
            raise checks.ProbeError("late")

        with mock.patch.dict(checks.CHECKS, {"tcp": hang}):
            (found,) = probe_all([parse_target("tcp://h:1")], checks.Settings(timeout=0.01), count=1, interval=0)
        self.assertEqual((found.ok, found.error, found.loss), (False, "no end in time", 1.0))

    def test_fault_of_ours(self) -> None:
        """An unforeseen error is reported as the failure of its own target."""
        with mock.patch.dict(rounds.CHECKS, {"tcp": lambda *_: 1 / 0}):
            self.assertEqual(self.fails("tcp://127.0.0.1:1"), "ZeroDivisionError: division by zero")

    def test_names(self) -> None:
        """A host that does not exist, or cannot, is a failure and no traceback."""
        with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-2, "Name or service not known")):
            self.assertEqual(self.fails("tcp://nowhere.invalid:1"), "name or service not known")
        self.assertEqual(self.fails(f"tcp://{'a' * 70}.invalid:1"), "not a host name")
        with mock.patch("socket.getaddrinfo", return_value=[]):
            self.assertEqual(self.fails("tcp://nowhere.invalid:1"), "no address")

    def test_broken_pipe(self) -> None:
        """An error while sending or ending is a phrase."""
        for name in ("sendall", "shutdown"):
            with mock.patch(f"socket.socket.{name}", side_effect=BrokenPipeError(32, "Broken pipe")):
                self.assertEqual(self.fails(f"discard://127.0.0.1:{self.stream(echo)}"), "broken pipe")

    def test_interval(self) -> None:
        """Between two rounds the interval is waited, not before the first nor after the last."""
        waited: list[float] = []
        target = parse_target(f"daytime://127.0.0.1:{self.stream(says(b'x'))}")
        (found,) = probe_all([target], checks.Settings(), count=3, interval=0.25, wait=waited.append)
        self.assertEqual((waited, found.sent), ([0.25, 0.25], 3))


class TargetTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Scheme, transport, host, port and path are taken apart; ports have the defaults of their services."""
        found = parse_target("echo+udp://[2001:db8::1]:9090")
        self.assertEqual((found.scheme, found.datagram, found.host, found.port), ("echo", True, "2001:db8::1", 9090))
        self.assertEqual(parse_target("daytime://example.com/").port, 13)
        self.assertEqual(parse_target("https://example.com").path, "/")
        self.assertEqual(parse_target("http://example.com:8000/a/b?c").path, "/a/b?c")

    def test_bad(self) -> None:
        """What cannot be probed is said in one line, and passwords are not repeated."""
        for url, why in (
            ("localhost:9090", "no scheme"),
            ("gopher://h:1", "no scheme"),
            ("http+udp://h:1", "no scheme"),
            ("echo://", "no host"),
            ("echo://:9090", "no host"),
            ("greeter://h", "needs a port"),
            ("tcp://h:0", "needs a port"),
            ("tcp://h:65536", "Port out of range"),
            ("tcp://h:x", "Port could not be cast"),
            ("tcp://[::1", "Invalid IPv6"),
            ("echo://h:1/path", "only http"),
            ("http://h:1/a b", "characters"),
            ("http://h\u202e:1/", "characters"),
        ):
            with self.assertRaisesRegex(BadTargetError, why):
                parse_target(url)
        with self.assertRaises(BadTargetError) as caught:
            parse_target("http://user:hunter2@h/")
        self.assertNotIn("hunter2", str(caught.exception))

    @settings(derandomize=True, deadline=None)
    @given(st.text(max_size=40) | st.tuples(st.sampled_from(SCHEMES), st.text(max_size=30)).map("://".join))
    def test_any(self, url: str) -> None:
        """Any text is a target or a BadTargetError, and a target's port is a port."""
        try:
            found = parse_target(url)
        except BadTargetError as error:
            self.assertEqual(len(str(error).splitlines()), 1)
        else:
            self.assertTrue(0 < found.port < 65536 and found.host)


class OutputTests(ServerCase):
    def test_table(self) -> None:
        """The table has 80 columns at most, a head, and two lines a service; what peers say cannot move the cursor."""
        port = self.stream(says(b"\x1b[2J\x1b]0;owned\x07" + b"x" * 200 + b"\r\nsecond\r\n"))
        long = f"http://127.0.0.1:{self.web(200, 'OK')}/{'a' * 100}"
        status, out, _ = self.run_probe(
            f"daytime://127.0.0.1:{port}", long, f"tcp://127.0.0.1:{self.free_port()}", "-c2", "-i1ms"
        )
        lines = out.splitlines()
        self.assertEqual(status, 1)
        self.assertEqual(len(lines), 7)
        self.assertTrue(all(len(one) <= 80 and one.isprintable() for one in lines))
        self.assertRegex(lines[0], r"^     SERVICE +LOSS +MIN +MEDIAN +P99$")
        self.assertRegex(lines[1], r"^ok   daytime://127\.0\.0\.1:\d+ +0%( +[\d.]+ (µs|ms)){3}$")
        self.assertIn("\\x1b[2J", lines[2])
        self.assertRegex(lines[3], r"^ok   http://.*… ")
        self.assertRegex(lines[5], r"^FAIL tcp://\S+ +100%( +-){3}$")
        self.assertEqual(lines[6], "     connection refused")

    def test_quantiles(self) -> None:
        """Minimum, median and p99 are of the nearest rank; times have three digits and a fitting unit."""
        report = Report(parse_target("tcp://h:1"), 100, [one / 1000 for one in range(100, 0, -1)])
        self.assertEqual([report.quantile(share) for share in (0, 0.5, 0.99, 1)], [0.001, 0.05, 0.099, 0.1])
        self.assertEqual([_time(one) for one in (None, 0.0000123, 0.01234, 1.234)], ["-", "12 µs", "12.3 ms", "1.23 s"])
        self.assertEqual(Report(parse_target("tcp://h:1")).loss, 1.0)
        self.assertEqual(len(table([report]).splitlines()), 2)  # it said nothing

    def test_usage(self) -> None:
        """Bad usage is status 2 with every bad URL named, and nothing is probed."""
        status, out, err = self.run_probe("nonsense", "gopher://h:1", "tcp://127.0.0.1:1")
        self.assertEqual((status, out), (2, ""))
        self.assertEqual(len(err.splitlines()), 2)
        for argv in (
            [],
            ["tcp://h:1", "-c0"],
            ["tcp://h:1", "-cx"],
            ["tcp://h:1", "-t", "soon"],
            ["tcp://h:1", "-t2h"],
            ["tcp://h:1", "-t0s"],
            ["tcp://h:1", "-s70000"],
        ):
            self.assertEqual(self.run_probe(*argv)[0], 2, argv)

    def test_no_twisted(self) -> None:
        """The command imports no Twisted."""
        code = "import sys; from netsvc.cli import probe; from netsvc.cli.probes import checks, output, rounds, target"
        code += "; print(sorted(name for name in sys.modules if name.split('.')[0] == 'twisted'))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "[]")

    def test_context(self) -> None:
        """A connection that was not made has no socket to offer."""
        from netsvc.cli.probes.sockets import Connection

        with self.assertRaises(RuntimeError):
            _ = Connection(parse_target("tcp://h:1"), 1).socket
