"""SIGTERM in the middle of an upload: what was received is there when the daemon runs again."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live import parts
from tests.live.daemon import Daemon
from tests.live.sftp_account import USER, Account
from tests.ports import free_port
from tests.services.sftp.session import CREAT, INIT, OPEN, TRUNC, WRITE, W, packet, text, u32, u64
from tests.waiting import wait_until

MIB = 1 << 20
PIECE = 32768  # octets
DATA = hashlib.shake_256(b"stop").digest(64 * MIB)
DRAIN = "drain_timeout = 0s\n"
TUS = {"Tus-Resumable": "1.0.0"}


class SftpWriter:
    """Writes a file without end through OpenSSH's ssh, and counts what the server has acknowledged.

    :ivar acknowledged: octets of the file from its beginning.
    """

    def __init__(self, account: Account, name: str) -> None:
        self.acknowledged = 0
        command = ["ssh", *account.options, "-s", f"{USER}@127.0.0.1", "sftp"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._send(packet(INIT, 3) + packet(OPEN, 1, text(name), u32(W | CREAT | TRUNC), u32(0)))
        self._answer()
        self._handle = self._answer()[5:]
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._write, self._count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> SftpWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def close_handle(self) -> None:
        """Ask for the file to be published."""
        self._send(packet(4, 3, self._handle))

    def _write(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for offset in range(0, len(DATA), PIECE):
                self._send(packet(WRITE, 2, self._handle, u64(offset), text(DATA[offset : offset + PIECE])))

    def _count(self) -> None:
        with contextlib.suppress(struct.error):
            while self._answer()[:9] == struct.pack(">BII", 101, 2, 0):
                self.acknowledged += PIECE

    def _send(self, data: bytes) -> None:
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def _answer(self) -> bytes:
        (length,) = struct.unpack(">I", self._process.stdout.read(4))
        return self._process.stdout.read(length)

    def join(self) -> None:
        """Wait until the connection has ended."""
        for thread in self._threads:
            thread.join()


class SftpStopTests(SynchronousTestCase):
    def test_file_abuse_49_sftp_stopped_in_an_upload(self) -> None:
        """All that was acknowledged is in the part that sftp's reput goes on from; so in every one of four uploads."""
        with Account(more=DRAIN) as account:
            (account.here / "whole").write_bytes(DATA)
            with contextlib.ExitStack() as open_ones:
                writers = [open_ones.enter_context(SftpWriter(account, f"f{number}")) for number in range(4)]
                wait_until(lambda: all(one.acknowledged > MIB for one in writers))
                account.restart()
                for one in writers:
                    one.join()
            for number, one in enumerate(writers):
                size = int(account.sftp(f"ls -l f{number}\n").splitlines()[-1].split()[4])
                self.assertGreaterEqual(size, one.acknowledged)

                account.sftp(f"reput whole f{number}\n")
                self.assertEqual((account.root / f"f{number}").read_bytes(), DATA)


class HttpStopTests(SynchronousTestCase):
    def test_file_abuse_49_tus_stopped_in_an_upload(self) -> None:
        """What the disk had of a part that was cut, and what was acknowledged before, is told and gone on from."""
        place = Path(tempfile.mkdtemp(prefix="netsvc-stop-"))
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        root = place / "in"
        root.mkdir()
        port = free_port()
        ini = (
            f"[http]\nlisten = tcp:{port}:interface=127.0.0.1\ndocroot = {root}\nupload = yes\nupload_anonymous = yes\n"
        )
        with Daemon(ini + DRAIN) as daemon, contextlib.ExitStack() as open_ones:
            urls = [self.ask(port, "POST", "/", **self.creation(number)).getheader("Location") for number in range(4)]
            for url in urls:
                peer = open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
                head = f"PATCH {url} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
                head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(DATA)}\r\n\r\n"
                threading.Thread(target=self.send, args=(peer, head.encode() + DATA[:-1]), daemon=True).start()
            paths = wait_until(lambda: len(found := list(root.glob(".*.part"))) == len(urls) and found)
            wait_until(lambda: all(one.stat().st_size > MIB for one in paths))
            daemon.stop()
            on_disk = sorted(one.stat().st_size for one in paths)
            daemon.lines.clear()
            daemon.__enter__()
            offsets = [int(self.ask(port, "HEAD", url, **TUS).getheader("Upload-Offset")) for url in urls]
            self.assertEqual(sorted(offsets), on_disk)
            for number, (url, offset) in enumerate(zip(urls, offsets, strict=True)):
                fields = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream", **TUS}
                self.assertEqual(self.ask(port, "PATCH", url, DATA[offset:], **fields).status, 204)
                self.assertEqual((root / f"f{number}").read_bytes(), DATA)

    def creation(self, number: int) -> dict[str, str]:
        name = base64.b64encode(f"f{number}".encode()).decode()
        return {"Upload-Length": str(len(DATA)), "Upload-Metadata": f"filename {name}", "Content-Length": "0", **TUS}

    def ask(self, port: int, method: str, url: str, body: bytes = b"", **fields: str) -> http.client.HTTPResponse:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=180)) as connection:
            connection.request(method, url, body, fields)
            answer = connection.getresponse()
            answer.read()
            return answer

    @staticmethod
    def send(peer: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):
            peer.sendall(data)


class FileTransferStopTests(SynchronousTestCase):
    def test_stopped_in_a_receipt(self) -> None:
        """A file that is cut by the stop leaves nothing; one that was there as a whole is stored."""
        place = Path(tempfile.mkdtemp(prefix="netsvc-stop-"))
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        whole = json.dumps({"filename": "whole", "filedata": base64.b64encode(DATA[: 4 * MIB]).decode()}).encode()
        ini = f"[filetransfer]\nlisten = tcp:0:interface=127.0.0.1\nreceive = yes\nstore = {place}\n"
        with Daemon(ini + "drain_timeout = 1s\n") as daemon, contextlib.ExitStack() as open_ones:
            peers = [
                open_ones.enter_context(socket.create_connection(("127.0.0.1", daemon.port("filetransfer"))))
                for _ in range(4)
            ]
            for number, peer in enumerate(peers[1:]):
                peer.sendall(whole[: len(whole) - 100].replace(b"whole", b"cut-%d" % number))
            peers[0].sendall(whole)
            wait_until(lambda: self.have_come(place))
            daemon.stop()
            self.assertEqual([one.name for one in place.iterdir()], ["whole"])
            self.assertEqual((place / "whole").read_bytes(), DATA[: 4 * MIB])

    @staticmethod
    def have_come(place: Path) -> bool:
        """Whether the whole file is there, published or not yet, and much of each of the three that are cut."""
        sizes = parts.sizes(place)
        is_published = (place / "whole").exists()  # looked for behind the parts: it is one of both
        cut = [size for size in sizes if MIB < size < 4 * MIB]
        return len(cut) == 3 and (is_published or 4 * MIB in sizes)
