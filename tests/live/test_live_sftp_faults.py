"""Peers of a real sftp service that do not read."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.sftp_account import USER, Account
from tests.services.sftp.session import INIT, OPEN, READ, R, packet, text, u32, u64
from tests.waiting import wait_until


def _resident(pid: int) -> int:
    """Octets of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Client:
    """An SFTP session whose packets a test writes itself, through OpenSSH's ssh."""

    def __init__(self, account: Account) -> None:
        command = ["ssh", *account.options, "-s", f"{USER}@127.0.0.1", "sftp"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ask(packet(INIT, 3))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def send(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def answer(self) -> bytes:
        (length,) = struct.unpack(">I", self.process.stdout.read(4))
        return self.process.stdout.read(length)

    def ask(self, request: bytes) -> bytes:
        self.send(request)
        return self.answer()


class NotReadingTests(SynchronousTestCase):
    def test_file_abuse_33_34_pipelined_reads_unread(self) -> None:
        """Ten peers that each send 10,000 READs of 32 KiB and read no answer cost some memory and no more.

        Others are served meanwhile, and one of the ten that reads at last gets all of it.
        """
        with Account() as account:
            with (account.root / "big").open("wb") as file:
                file.truncate(10_000 * 32768)
            (account.root / "small").write_bytes(b"x")
            account.sftp("get small\n")
            before = _resident(account.daemon.pid)
            clients = []
            try:
                for _ in range(10):
                    client = Client(account)
                    clients.append(client)
                    client.ask(packet(OPEN, 1, text("big"), u32(R), u32(0)))
                    requests = b"".join(
                        packet(READ, number, text(u32(0)), u64(number * 32768), u32(32768)) for number in range(10_000)
                    )
                    threading.Thread(target=self._send, args=(client, requests), daemon=True).start()
                wait_until(lambda: _resident(account.daemon.pid) - before > 4 << 20, "nothing is read ahead")
                account.sftp("ls -l\nget small\n")
                assert _resident(account.daemon.pid) - before < 100 << 20
                for number in range(10_000):
                    head = clients[-1].answer()
                    assert struct.unpack(">BII", head[:9]) == (103, number, 32768)
            finally:
                for client in clients:
                    client.__exit__()

    @staticmethod
    def _send(client: Client, requests: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is killed at the end
            client.send(requests)
