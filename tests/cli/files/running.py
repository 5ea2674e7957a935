"""Runs the command in this process, and servers that do as a test says."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.main import main


@frozen
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str


def run(*arguments: object) -> Ran:
    """Run ``netsvc`` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(one) for one in arguments])
    return Ran(status, out.getvalue(), err.getvalue())


class FilesCase(SynchronousTestCase):
    """Has a directory that goes away, and servers that do."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-files-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.here = self.directory / "here"
        self.here.mkdir()

    def server(self, *conversations: Callable[[socket.socket], None]) -> int:
        """Listen, and have one conversation after the other; the port."""
        listening = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            for converse in conversations:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer, contextlib.suppress(OSError):
                    converse(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def close() -> None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join(10)

        self.addCleanup(close)
        return int(listening.getsockname()[1])

    def names(self) -> list[str]:
        """What is in the directory of downloads, the hidden things as well."""
        return sorted(one.name for one in self.here.iterdir())


def head_of(peer: socket.socket) -> bytes:
    """Read the head of a request."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = peer.recv(65536)
        if not data:
            break
        got += data
    return got


def reset(peer: socket.socket) -> None:
    """End a connection with RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
