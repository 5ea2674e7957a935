"""The download engine against nginx, and against a server that cheats. Real sockets, real TLS."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.fetch_once import fetch
from tests.live.fetch_origin import Nginx, faulty, nginx, reset
from tests.runtime.certificates import make_certificate

MIB = 1 << 20


class Store(SynchronousTestCase):
    """Has a directory for the store and one for the origin."""

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.root, self.www, self.state = (self.base / one for one in ("root", "www", "state"))
        for one in (self.root, self.www, self.state):
            one.mkdir()

    def files(self) -> dict[str, bytes]:
        """What is published."""
        return {one.name: one.read_bytes() for one in self.root.iterdir() if one.is_file() and one.name[0] != "."}

    def parts(self) -> int:
        """Partial files."""
        return len(list(self.root.glob(".netsvc-*.part")))


class NginxTests(Store):
    """nginx is the origin."""

    def origin(self, more: str = "") -> Nginx:
        """One for this test."""
        running = nginx(self.www, self.state, more)
        found = running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)
        return found

    def test_many_small_files_at_once(self) -> None:
        """300 files over plain connections and 100 over TLS: each is what it was."""
        want = {str(n): os.urandom(n * 37) for n in range(400)}
        for name, octets in want.items():
            (self.www / name).write_bytes(octets)
        origin = self.origin()
        found = fetch(
            self.root,
            *({"url": f"{origin.url if n < 300 else origin.tls_url}/{n}", "directory": []} for n in range(400)),
            ca_file=str(origin.ca_file),
        )
        self.assertEqual(
            {one["names"][0]: one["sha256"] for one in found},
            {name: hashlib.sha256(octets).hexdigest() for name, octets in want.items()},
        )
        self.assertEqual(self.files(), want)

    def test_large_file_in_flat_memory(self) -> None:
        """200 MiB cost no more memory than 1 MiB does, within 16 MiB."""
        used = []
        for name, size in (("small", 1), ("large", 200)):
            with (self.www / name).open("wb") as file:
                for _ in range(size):
                    file.write(os.urandom(MIB))
        origin = self.origin()
        for name in ("small", "large"):
            (done,) = fetch(self.root, {"url": f"{origin.url}/{name}", "names": [name]})
            self.assertEqual(done["size"], (self.www / name).stat().st_size)
            used.append(done["rss"])
        self.assertLess(used[1] - used[0], 16 * MIB)

    def test_stopped_download_goes_on(self) -> None:
        """Stopped in the middle, then continued with a range, plain and over TLS."""
        octets = os.urandom(2 * MIB)
        (self.www / "a").write_bytes(octets)
        os.utime(self.www / "a", (1000, 1000))
        origin = self.origin()
        for base in (origin.url, origin.tls_url):
            want = {"url": f"{base}/slow/a", "names": ["a"]}
            ca = {"ca_file": str(origin.ca_file)}
            (stopped,) = fetch(self.root, want, stop_at=400_000, **ca)
            self.assertEqual((stopped["error"], bool(stopped["resume"])), ("Transient", True))
            self.assertEqual((self.files(), self.parts()), ({}, 1))
            want = {"url": f"{base}/slow/a", "names": ["a"], "sha256": hashlib.sha256(octets).hexdigest()}
            (done,) = fetch(self.root, want, **ca)
            self.assertGreaterEqual(done["resumed_from"], 400_000)
            self.assertEqual((self.files(), self.parts()), ({"a": octets}, 0))
            self.assertEqual((self.root / "a").stat().st_mtime, 1000)
            (self.root / "a").unlink()

    def test_file_abuse_27_45_source_changed_before_resume(self) -> None:
        """Nginx answers a stale If-Range with 200: the new file comes whole."""
        (self.www / "a").write_bytes(os.urandom(2 * MIB))
        origin = self.origin()
        (stopped,) = fetch(self.root, {"url": f"{origin.url}/slow/a", "names": ["a"]}, stop_at=400_000)
        self.assertTrue(stopped["resume"])
        octets = os.urandom(MIB)
        (self.www / "a").write_bytes(octets)
        os.utime(self.www / "a", (1000, 1000))
        (done,) = fetch(self.root, {"url": f"{origin.url}/slow/a", "names": ["a"]})
        self.assertEqual((done["resumed_from"], self.files()), (0, {"a": octets}))

    def test_mirror_keeps_what_is_unchanged(self) -> None:
        """With the validators of the first answer the second is 304; a changed file comes."""
        (self.www / "a").write_bytes(b"one")
        origin = self.origin()
        want: dict[str, Any] = {"url": f"{origin.url}/a", "names": ["a"]}
        (first,) = fetch(self.root, want)
        validators = {"etag": first["etag"], "last_modified": first["last_modified"]}
        (second,) = fetch(self.root, {**want, "validators": validators})
        self.assertEqual((second["from_cache"], second["sha256"]), (True, first["sha256"]))
        (self.www / "a").write_bytes(b"other")
        (third,) = fetch(self.root, {**want, "validators": validators})
        self.assertEqual((third["from_cache"], self.files()), (False, {"a": b"other"}))

    def test_errors_and_downgrades(self) -> None:
        """404, 503 with a wait, https to http, an unknown authority, a certificate for another name, private."""
        (self.www / "a").write_bytes(b"x")
        origin = self.origin()
        ca = {"ca_file": str(origin.ca_file)}
        for url, kind, words, terms in (
            (f"{origin.url}/none", "Permanent", "404", {}),
            (f"{origin.url}/busy", "Transient", "503", {}),
            (f"{origin.tls_url}/down", "Permanent", "from https to http", ca),
            (f"{origin.tls_url}/a", "Permanent", "certificate", {}),
            (f"{origin.tls_url}/a".replace("localhost", "127.0.0.1"), "Permanent", "other names", ca),
            (f"{origin.url}/a", "Permanent", "public", {"private_addresses": False}),
            (f"{origin.url}/a".replace("http:", "https:"), "Transient", "TLS", {}),
            ("http://localhost:1/a", "Transient", "refused", {}),
        ):
            (found,) = fetch(self.root, {"url": url, "names": ["a"]}, **terms)
            self.assertEqual(found.get("error"), kind, found)
            self.assertIn(words, found["reason"])
            self.assertEqual(found.get("retry_after"), 7 if "busy" in url else None)
        self.assertEqual((self.files(), self.parts()), ({}, 0))

    def test_rate_limit_holds(self) -> None:
        """1 MiB at 1 MiB/s takes a second, give or take."""
        import time

        (self.www / "a").write_bytes(bytes(MIB))
        origin = self.origin()
        begun = time.monotonic()
        (done,) = fetch(self.root, {"url": f"{origin.url}/a", "names": ["a"]}, rate_limit=MIB)
        self.assertGreater(time.monotonic() - begun, 0.8)
        self.assertEqual(done["size"], MIB)


class FaultTests(Store):
    """The origin cheats."""

    def one(self, script: Any, *, tls: bool = False, **terms: Any) -> dict[str, Any]:
        """What a download from it comes to."""
        pem = make_certificate(self.state, "localhost") if tls else None
        with faulty(script, pem) as port:
            if pem is not None:
                terms["ca_file"] = str(pem[0])
            want = {"url": f"http{'s' if tls else ''}://localhost:{port}/a", "names": ["a"]}
            (found,) = fetch(self.root, want, **terms)
        return found

    def test_file_abuse_47_tls_cut_without_close_notify(self) -> None:
        """A TLS connection that just ends is no end of a file; one that ends with close_notify is."""
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

        def cut(connection: socket.socket, _: bytes) -> None:
            connection.sendall(head + b"half")

        def in_order(connection: Any, _: bytes) -> None:
            connection.sendall(head + b"whole")
            connection.unwrap()

        found = self.one(cut, tls=True)
        self.assertEqual((found.get("error"), self.files()), ("Transient", {}), found)
        found = self.one(in_order, tls=True)
        self.assertEqual((found.get("size"), self.files()), (5, {"a": b"whole"}), found)

    def test_file_abuse_13_14_30_cut_in_the_middle(self) -> None:
        """FIN and RST in a large file of known length: kept with a strong validator, never published."""
        octets = os.urandom(MIB)

        def script(connection: socket.socket, request: bytes) -> None:
            first = int(request.partition(b"bytes=")[2].partition(b"-")[0]) if b"Range" in request else 0
            status = b"206 Part" if first else b"200 OK"
            span = b"Content-Range: bytes %d-%d/%d\r\n" % (first, MIB - 1, MIB) if first else b""
            connection.sendall(
                b'HTTP/1.1 %b\r\nETag: "1"\r\n%bContent-Length: %d\r\n\r\n' % (status, span, MIB - first)
            )
            connection.sendall(octets[first : first + 400_000])
            if first:
                return
            reset(connection)

        with faulty(script) as port:
            want = {"url": f"http://localhost:{port}/a", "names": ["a"]}
            for _ in range(20):
                (found,) = fetch(self.root, want)
                if "error" not in found:
                    break
                self.assertEqual((found["error"], self.files()), ("Transient", {}))
        self.assertEqual(self.files(), {"a": octets})

    def test_file_abuse_32_slow_origin(self) -> None:
        """One octet now and then is ended by the lowest speed, silence by the idle limit, a dripped head by its own."""
        import time

        def drip(connection: socket.socket, _: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)

        def head(connection: socket.socket, _: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 ")
            while True:
                connection.sendall(b"X")
                time.sleep(0.05)

        found = self.one(drip, lowest_speed=1000, speed_window=0.5)
        self.assertIn("slower than 1000", found["reason"])
        found = self.one(head, first_byte_timeout=0.5)
        self.assertIn("0.5 s", found["reason"])

    def test_file_abuse_31_lengths(self) -> None:
        """Negative, 2^63 and 2^64: nothing is allocated, nothing written."""
        for length in (b"-1", b"%d" % (1 << 63), b"%d" % (1 << 64)):

            def script(connection: socket.socket, _: bytes, length: bytes = length) -> None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nabc")

            self.assertEqual(self.one(script)["error"], "Permanent")
        self.assertEqual((self.files(), self.parts()), ({}, 0))
