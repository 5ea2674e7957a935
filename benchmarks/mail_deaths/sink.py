"""The peer to whom the daemon delivers: answers by plan, once wrong and then right, and keeps book of what it took."""

from __future__ import annotations

import re
import socketserver
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

from attrs import frozen

from benchmarks.mail_deaths.script import SENDER, Message
from benchmarks.processes import LOOPBACK
from netsvc.cli.torture.content import digest, mark_of
from netsvc.cli.torture.peer import Over, Peer
from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import Way

PATIENCE = 30.0  # seconds for the daemon's next octet
SLOW = 0.2  # seconds

_REPORTED = re.compile(rb"(?mi)^Final-Recipient: rfc822; *(\S+)")


@frozen
class Copy:
    """A message that was taken.

    :param name: which it says it is; "" when it is a bounce.
    :param reported: recipients of whom it tells, when it is a bounce.
    """

    name: str
    digest: str
    recipients: tuple[str, ...]
    reported: tuple[str, ...]
    problems: tuple[str, ...]


class Sink:
    """Two ports, of which each is a place of its own to the daemon; a context manager."""

    way = Way()
    password = ""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.dots = {one.name: one.dot for one in messages}
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._copies: list[Copy] = []
        self._flaws: list[str] = []
        self._servers = [_listen(self), _listen(self)]
        self.ports: tuple[int, ...] = tuple(one.server_address[1] for one in self._servers)

    def __enter__(self) -> Sink:
        for one in self._servers:
            threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._servers:
            one.shutdown()
            one.server_close()

    @property
    def copies(self) -> tuple[Copy, ...]:
        """What was taken."""
        with self._lock:
            return tuple(self._copies)

    @property
    def flaws(self) -> tuple[str, ...]:
        """What the daemon did that no client may do."""
        with self._lock:
            return tuple(self._flaws)

    # What the connections use

    def first(self, what: str) -> bool:
        with self._lock:
            fresh = what not in self._said
            self._said.add(what)
            return fresh

    def taken(self, content: bytes, recipients: tuple[str, ...], problems: list[str]) -> None:
        is_bounce = any(one.startswith(SENDER) for one in recipients)
        reported = tuple(one.decode() for one in _REPORTED.findall(content)) if is_bounce else ()
        name = "" if is_bounce else mark_of(content)
        copy = Copy(name, digest(content), recipients, reported, tuple(problems))
        with self._lock:
            self._copies.append(copy)

    def flaw(self, text: str) -> None:
        with self._lock:
            self._flaws.append(text)

    def context(self, kind: str) -> NoReturn:
        raise LookupError(kind)  # there is no TLS here


class _Planned(Server):
    """One connection."""

    scene: Sink

    def rcpt(self, address: str) -> str:
        match address.partition("-")[0]:
            case "never":
                return "550 5.1.1 nobody of that name"
            case "later" if self.scene.first(address):
                return "450 4.2.1 later"
            case "slow":
                time.sleep(SLOW)
        return super().rcpt(address)

    def dot(self, content: bytes) -> None:
        name = mark_of(content)
        is_bounce = any(one.startswith(SENDER) for one in self.recipients)
        plan = "take" if is_bounce else self.scene.dots.get(name, "take")
        if plan == "take" or not self.scene.first(f"dot {name} {self.recipients[0].rpartition('@')[2]}"):
            super().dot(content)
        elif plan == "defer":
            self.say("451 4.3.0 later")
        else:
            if plan == "cut":
                self.keep(content)
            raise Over


class _Listening(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


def _listen(sink: Sink) -> _Listening:
    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            peer = Peer(self.request, PATIENCE)
            scene: Any = sink
            with suppress(Over):
                _Planned(peer, scene, 0).run()

    return _Listening((LOOPBACK, 0), Connection)
