"""Where the adversary plays: a port on loopback for each fault, a thread for each connection, and a ledger."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping

from attrs import frozen

from netsvc.cli.torture.content import digest, mark_of
from netsvc.cli.torture.peer import Over, Peer
from netsvc.cli.torture.terms import Fault, Way

HOST = "127.0.0.1"
BACKLOG = 64


@frozen
class Taken:
    """A message of which the adversary took custody.

    :param mark: which message it says it is; "" for a stranger, such as a bounce.
    :param digest: of its body.
    :param problems: what of it SMTP forbids.
    """

    mark: str
    digest: str
    recipients: tuple[str, ...]
    problems: tuple[str, ...]


class FaultScene:
    """All connections of one fault.

    :ivar port: where it is played.
    """

    def __init__(self, fault: Fault, way: Way, password: str, contexts: Mapping[str, ssl.SSLContext]) -> None:
        self.fault = fault
        self.way = fault.way(way)
        self.password = password
        self._contexts = contexts
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._visits = 0
        self._taken: list[Taken] = []
        self._flaws: list[str] = []
        self._filler: socket.socket | None = None
        self.listener = socket.socket()
        buffer = fault.server.receive_buffer
        if buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.listener.bind((HOST, 0))
        self.port: int = self.listener.getsockname()[1]
        if fault.server.opening == "swallowed":
            # A queue of one connection that nobody accepts: the kernel then drops the requests of all others.
            self.listener.listen(0)
            self._filler = socket.create_connection((HOST, self.port))

    def open(self) -> None:
        """Begin to accept."""
        if self._filler is not None:
            self._filler.close()
            self._filler = None
        self.listener.listen(BACKLOG)
        self.listener.setblocking(False)

    def close(self) -> None:
        """Accept nothing more."""
        if self._filler is not None:
            self._filler.close()
        self.listener.close()

    def play(self, connection: socket.socket, patience: float) -> None:
        """Play to one client."""
        with self._lock:
            visit, self._visits = self._visits, self._visits + 1
        peer = Peer(connection, patience)
        try:
            self.fault.server(peer, self, visit).run()
        except Over:
            pass
        finally:
            peer.close()

    def first(self, what: str) -> bool:
        with self._lock:
            fresh = what not in self._said
            self._said.add(what)
            return fresh

    def taken(self, content: bytes, recipients: tuple[str, ...], problems: list[str]) -> None:
        one = Taken(mark_of(content), digest(content), recipients, tuple(problems))
        with self._lock:
            self._taken.append(one)

    def flaw(self, text: str) -> None:
        with self._lock:
            self._flaws.append(text)

    def context(self, kind: str) -> ssl.SSLContext:
        return self._contexts[kind]

    @property
    def ledger(self) -> tuple[Taken, ...]:
        """What was taken, in order."""
        with self._lock:
            return tuple(self._taken)

    @property
    def flaws(self) -> tuple[str, ...]:
        """What the client did that it must not do, in order."""
        with self._lock:
            return tuple(self._flaws)


class Stage:
    """All scenes; a context manager. Connections that are left at its end are cut.

    :param patience: seconds that a connection waits for its client at most.
    """

    def __init__(
        self,
        faults: Iterable[Fault],
        way: Way,
        *,
        password: str,
        contexts: Mapping[str, ssl.SSLContext],
        patience: float,
    ) -> None:
        self.scenes = {one.number: FaultScene(one, way, password, contexts) for one in faults}
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._closed: set[int] = set()
        self._over = False
        self._thread = threading.Thread(target=self._accept, name="torture", daemon=True)

    def __enter__(self) -> Stage:
        for number, scene in self.scenes.items():
            if scene.fault.server.opening == "open":
                self._open(scene)
            else:
                self._closed.add(number)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._wake.close()
        self._thread.join()
        for scene in self.scenes.values():
            scene.close()
        self._selector.close()
        self._woken.close()

    @property
    def closed(self) -> frozenset[int]:
        """The faults whose port is not open yet."""
        return frozenset(self._closed)

    def open(self, number: int) -> None:
        """Open a port that was closed."""
        self._closed.discard(number)
        self._open(self.scenes[number])

    def _open(self, scene: FaultScene) -> None:
        scene.open()
        self._selector.register(scene.listener, selectors.EVENT_READ, scene)

    def _accept(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._begin(key.data)

    def _begin(self, scene: FaultScene) -> None:
        try:
            connection, _ = scene.listener.accept()
        except OSError:  # the client has left already
            return
        threading.Thread(target=scene.play, args=(connection, self._patience), daemon=True).start()
