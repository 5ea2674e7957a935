"""Resumable uploads against a real twistd: tus as tuspy speaks it, the IETF's draft over curl, cuts and crashes."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed

from tests.live import parts
from tests.live.daemon import Daemon
from tests.ports import free_port
from tests.runtime.certificates import make_certificate
from tests.shared import SharedCase
from tests.waiting import wait_until

MIB = 1 << 20
BOUND = 180.0  # seconds
TUS = {"Tus-Resumable": "1.0.0"}
DRAFT = ("-H", "Upload-Draft-Interop-Version: 8")


class UploadCase(SharedCase):
    """One daemon, which takes files in the clear and over TLS."""

    place: ClassVar[Path]
    daemon: ClassVar[Daemon]
    data: ClassVar[bytes]
    port: ClassVar[int]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-resume-"))
        (cls.place / "in").mkdir()
        cls.data = hashlib.shake_256(b"resume").digest(9 * MIB + 1)
        (cls.place / "source").write_bytes(cls.data)
        cls.certificate, key = make_certificate(cls.place, "netsvc.test")
        cls.port = free_port()
        cls.daemon = Daemon(
            f"[http]\nlisten = tcp:{cls.port}:interface=127.0.0.1\n"
            f"    tls:0:interface=127.0.0.1:privateKey={key}:certKey={cls.certificate}\n"
            f"docroot = {cls.place}/in\nupload = yes\nupload_anonymous = yes\n"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place, ignore_errors=True)

    @property
    def root(self) -> Path:
        """Where files arrive."""
        return self.place / "in"

    def parts(self) -> list[Path]:
        """The partial files there."""
        return list(self.root.glob(".netsvc-*.part"))

    def ask(self, method: str, url: str, **fields: str) -> http.client.HTTPResponse:
        """The answer to a request without a body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=BOUND)) as connection:
            connection.request(method, url, headers={key.replace("_", "-"): value for key, value in fields.items()})
            answer = connection.getresponse()
            answer.read()
            return answer

    def cut_after(self, url: str, offset: int, octets: int) -> None:
        """Send so much of a PATCH that would bring all of the rest; when it has arrived, reset the connection."""
        before = sum(parts.sizes(self.root))
        with socket.create_connection(("127.0.0.1", self.port)) as peer:
            self.send_some(peer, url, offset, octets)
            wait_until(lambda: sum(parts.sizes(self.root)) >= before + octets)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def send_some(self, peer: socket.socket, url: str, offset: int, octets: int) -> None:
        """The head of a PATCH that would bring all of the rest, and so much of it."""
        head = (
            f"PATCH {url} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(self.data) - offset}\r\n\r\n"
        )
        peer.sendall(head.encode() + self.data[offset : offset + octets])


class TusTests(UploadCase):
    """tuspy."""

    def client(self) -> Any:
        """A client."""
        return TusClient(f"http://127.0.0.1:{self.port}/")

    def uploader(self, name: str, **options: Any) -> Any:
        """What uploads the source under a name."""
        stream = (self.place / options.pop("source", "source")).open("rb")
        self.addCleanup(stream.close)  # which tuspy leaves to others
        return self.client().uploader(file_stream=stream, metadata={"filename": name}, **options)

    def path_of(self, uploader: Any) -> str:
        """The address of an upload, without the server's."""
        split = urlsplit(uploader.url)
        return f"{split.path}?{split.query}"

    def test_in_chunks(self) -> None:
        """A file comes in chunks, with checksums, and is there at once with the last."""
        uploader = self.uploader("chunks.bin", chunk_size=4 * MIB, upload_checksum=True)
        uploader.upload(stop_at=8 * MIB)
        self.assertFalse((self.root / "chunks.bin").exists())
        uploader.upload()
        self.assertEqual((self.root / "chunks.bin").read_bytes(), self.data)

    def test_empty_file(self) -> None:
        """A file of no octets is there with its creation."""
        (self.place / "empty").write_bytes(b"")
        self.uploader("empty.bin", source="empty").upload()
        self.assertEqual((self.root / "empty.bin").read_bytes(), b"")

    def test_resumed_after_a_cut(self) -> None:
        """After a reset in the middle of a PATCH another client goes on where it stands, and sends no octet twice."""
        uploader = self.uploader("cut.bin")
        uploader.set_url(uploader.create_url())
        self.cut_after(self.path_of(uploader), 0, 5 * MIB)
        resumed = self.uploader("cut.bin", url=uploader.url)
        self.assertEqual(resumed.offset, 5 * MIB)
        resumed.upload()
        self.assertEqual((self.root / "cut.bin").read_bytes(), self.data)
        self.assertEqual(self.parts(), [])

    def test_file_abuse_03_half_open_peer(self) -> None:
        """A connection that still stands, of a client that is gone, does not keep the next one waiting."""
        uploader = self.uploader("half.bin")
        uploader.set_url(uploader.create_url())
        with socket.create_connection(("127.0.0.1", self.port)) as stale:
            self.send_some(stale, self.path_of(uploader), 0, 3 * MIB)
            wait_until(lambda: sum(parts.sizes(self.root)) >= 3 * MIB)
            resumed = self.uploader("half.bin", url=uploader.url)
            self.assertEqual(resumed.offset, 3 * MIB)
            resumed.upload()
        self.assertEqual((self.root / "half.bin").read_bytes(), self.data)

    def test_wrong_checksum(self) -> None:
        """A chunk whose checksum is another's is refused, and the upload stands where it stood."""
        uploader = self.uploader("wrong.bin", chunk_size=MIB, upload_checksum=True)
        uploader.upload_chunk()

        class Other:
            """Digests to something else."""

            def __init__(self, _: bytes) -> None:
                pass

            def digest(self) -> bytes:
                return bytes(20)

        type(uploader).CHECKSUM_ALGORITHM_PAIR = ("sha1", Other)
        self.addCleanup(delattr, type(uploader), "CHECKSUM_ALGORITHM_PAIR")
        bad = self.uploader("wrong.bin", chunk_size=MIB, upload_checksum=True, url=uploader.url)
        error = self.assertRaises(TusUploadFailed, bad.upload_chunk)
        self.assertEqual((error.status_code, bad.get_offset()), (460, MIB))
        self.assertEqual(self.ask("DELETE", self.path_of(uploader), **TUS).status, 204)

    def test_delete(self) -> None:
        """An upload is taken back; the client that asks for it hears that it is gone."""
        uploader = self.uploader("gone.bin", chunk_size=MIB)
        uploader.upload_chunk()
        self.assertEqual(len(self.parts()), 1)
        self.assertEqual(self.ask("DELETE", self.path_of(uploader), **TUS).status, 204)
        self.assertEqual(self.parts(), [])
        self.assertEqual(self.ask("HEAD", self.path_of(uploader), **TUS).status, 404)

    def test_options(self) -> None:
        """A client may ask what the server can do."""
        self.assertIn("checksum", str(self.ask("OPTIONS", "/").getheader("Tus-Extension")))

    def test_file_abuse_49_restart_in_a_resume(self) -> None:
        """Killed in the middle of a chunk, the daemon still has what it had acknowledged; the client goes on there."""
        uploader = self.uploader("killed.bin", chunk_size=4 * MIB)
        uploader.upload_chunk()
        with socket.create_connection(("127.0.0.1", self.port)) as peer:
            self.send_some(peer, self.path_of(uploader), 4 * MIB, 2 * MIB)
            wait_until(lambda: sum(parts.sizes(self.root)) >= 6 * MIB)
            self.daemon.stop(signal.SIGKILL)
        self.assertFalse((self.root / "killed.bin").exists())
        self.daemon.lines.clear()
        self.daemon.start()
        self.daemon.wait_for(r"ready: \d+ services")
        resumed = self.uploader("killed.bin", chunk_size=4 * MIB, url=uploader.url)
        self.assertGreaterEqual(resumed.offset, 4 * MIB)
        resumed.upload()
        self.assertEqual((self.root / "killed.bin").read_bytes(), self.data)
        self.assertEqual(self.parts(), [])

    def test_memory(self) -> None:
        """The daemon's memory does not grow with what is uploaded."""
        self.uploader("small.bin").upload()
        before = self.daemon.resident()
        size = 192 * MIB
        answer = self.ask("POST", "/", Upload_Length=str(size), Upload_Metadata="filename YmlnLmJpbg==", **TUS)
        url = str(answer.getheader("Location"))
        block = memoryview(bytes(MIB))
        most = before
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=BOUND)) as connection:
            connection.putrequest("PATCH", url)
            fields = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", **TUS}
            for name, value in (*fields.items(), ("Content-Length", str(size))):
                connection.putheader(name, value)
            connection.endheaders()
            for at in range(size // MIB):
                connection.send(block)
                if at % 16 == 0:
                    most = max(most, self.daemon.resident())
            self.assertEqual(connection.getresponse().status, 204)
        self.assertEqual((self.root / "big.bin").stat().st_size, size)
        (self.root / "big.bin").unlink()
        self.assertLess(most - before, 24 * MIB)


class DraftTests(UploadCase):
    """The draft, with curl as the client that sends what it is told, over HTTP/1.1 and HTTP/2."""

    def curl(self, *arguments: str) -> str:
        """The heads of the answers that curl gets, interim ones too."""
        done = subprocess.run(
            ("curl", "-sS", "--cacert", str(self.certificate), "-D", "-", "-o", str(self.place / "body"), *arguments),
            check=True,
            stdout=subprocess.PIPE,
            timeout=BOUND,
        )
        return done.stdout.decode("latin-1").replace("\r\n", "\n").lower()

    def bases(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Both ways to the daemon: what the addresses begin with, and what curl is told."""
        tls = self.daemon.port("http", "tls")
        return (f"http://127.0.0.1:{self.port}", ("--http1.1",)), (f"https://localhost:{tls}", ("--http2",))

    def found(self, heads: str, pattern: str) -> str:
        """What a pattern finds in the heads."""
        match = re.search(pattern, heads, re.MULTILINE)
        assert match is not None, heads
        return match[1]

    def test_in_one_piece(self) -> None:
        """A PUT is answered with 104 and its upload's address, then with 201."""
        for base, way in self.bases():
            heads = self.curl(
                *way, *DRAFT, "-H", "Upload-Complete: ?1", "-T", str(self.place / "source"), f"{base}/{way[0][2:]}"
            )
            self.assertRegex(heads, r"(?ms)^http/\S+ 104.*^http/\S+ 201")
            interim = heads[heads.index("104") :].partition("\n\n")[0]
            self.assertIn("location: /", interim)
            self.assertIn(", max-age=", interim)
            self.assertIn("upload-draft-interop-version: 8", interim)
            self.assertEqual(heads.count("upload-complete: ?1"), 1)
            self.assertEqual((self.root / way[0][2:]).read_bytes(), self.data)

    def test_no_version_no_104(self) -> None:
        """A client of no draft gets no interim answer but 100."""
        for base, way in self.bases():
            heads = self.curl(*way, "-H", "Upload-Complete: ?1", "-T", str(self.place / "source"), f"{base}/plain")
            self.assertNotRegex(heads, r"(?m)^http/\S+ 104")

    def test_cut_off_and_continued(self) -> None:
        """An upload that was killed goes on at the offset that HEAD tells."""
        for base, way in self.bases():
            name = f"cut-{way[0][2:]}"
            headers = self.place / name
            curl = subprocess.Popen(
                [
                    *("curl", "-sS", "--cacert", str(self.certificate), *way, *DRAFT, "-H", "Upload-Complete: ?1"),
                    *("--limit-rate", "1m", "-D", str(headers), "-T", str(self.place / "source"), f"{base}/{name}"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_until(lambda: sum(parts.sizes(self.root)) >= MIB)
                # The daemon has said it by now, but who sends need not have read it.
                wait_until(lambda path=headers: "location: " in path.read_text().lower(), "its address does not come")  # type: ignore[misc]
            finally:
                curl.kill()
                curl.wait()
            url = base + self.found(headers.read_text().lower(), r"^location: (\S+)")
            heads = self.curl(*way, *DRAFT, "-I", url)
            offset = int(self.found(heads, r"^upload-offset: (\d+)"))
            self.assertEqual(self.found(heads, r"^upload-complete: (\S+)"), "?0")
            self.assertTrue(MIB <= offset < len(self.data), offset)
            rest = self.place / "rest"
            rest.write_bytes(self.data[offset:])
            part = ("-H", "Content-Type: application/partial-upload", "-H", "Upload-Complete: ?1")
            heads = self.curl(
                *way, *DRAFT, *part, "-H", f"Upload-Offset: {offset}", "-X", "PATCH", "-T", str(rest), url
            )
            self.assertRegex(heads, r"(?m)^http/\S+ 201")
            self.assertEqual((self.root / name).read_bytes(), self.data)
            self.assertEqual(self.parts(), [])
