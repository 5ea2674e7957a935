"""A TCP proxy whose wires can be cut, and made slow: a network that goes and comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

BLOCK = 1 << 14  # octets


class CutProxy:
    """Passes connections on to a port of this machine; a context manager.

    :param target: the port.
    :ivar port: where it listens.
    :ivar rate: octets a second from the peers to the target, of each connection; None for any.
    :ivar returned: octets from the target to the peers.
    :ivar most: behind so many of them a peer is sent an end, and no connection is let through; None for any.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)  # or the kernel takes all at once
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self.port: int = self._listener.getsockname()[1]
        self.rate: float | None = None
        self.passed = 0  # octets from the peers to the target
        self.returned = 0
        self.most: int | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> CutProxy:
        self._start(self._accept)
        return self

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        self.cut()
        for one in self._threads:
            one.join()

    def cut(self) -> None:
        """Break every connection with a reset, and each that comes."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_cut:
                    peer.close()
                    continue
                try:
                    target = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # nobody listens there at this moment
                    peer.close()
                    continue
                self._open |= {peer, target}
            self._start(self._serve, peer, target)

    def _serve(self, peer: socket.socket, target: socket.socket) -> None:
        back = threading.Thread(target=self._pass, args=(target, peer, False), daemon=True)
        back.start()
        self._pass(peer, target, True)
        back.join()
        with self._lock:
            self._open -= {peer, target}
            peer.close()
            target.close()

    def _pass(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK):
                sink.sendall(data)
                if slow:
                    self.passed += len(data)
                    if self.rate:
                        time.sleep(len(data) / self.rate)
                else:
                    self.returned += len(data)
                    if self.most is not None and self.returned > self.most:
                        with self._lock:
                            self._is_cut = True
                        break
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
