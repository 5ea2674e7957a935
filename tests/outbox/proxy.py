"""Stands between a machine and its database, and can stop to forward: what is sent then waits, and may arrive late."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class Proxy:
    """Takes connections on a port of 127.0.0.1, for a PostgreSQL that listens in a directory."""

    def __init__(self, directory: Path) -> None:
        self._to = str(directory / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()
        self._open.set()
        self._closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def conninfo(self) -> str:
        """How the database is reached through it."""
        return f"host=127.0.0.1 port={self._listener.getsockname()[1]} dbname=postgres user=netsvc"

    def hold(self) -> None:
        """Forward nothing any more; the connections stay."""
        self._open.clear()

    def go_on(self) -> None:
        """Forward again, what has come meanwhile first."""
        self._open.set()

    def close(self) -> None:
        """Break every connection, and take no more."""
        self._closed = True
        self._open.set()
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            self._sockets += (near, far)
            try:
                far.connect(self._to)
            except OSError:  # the server is away
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                self._open.wait()
                other.sendall(data)
        self._open.wait()
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)
