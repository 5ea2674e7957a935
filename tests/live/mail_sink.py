"""A server that takes mail and keeps account of it: what came, from whom, and what was on its way at the same time."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from typing import Any

from aiosmtpd.controller import Controller
from attrs import define

from tests.ports import free_port


def digest(body: bytes) -> str:
    """What a message is known by: the SHA-256 of its body."""
    return hashlib.sha256(body).hexdigest()


@define
class Transaction:
    """One message that came, whole, to its final dot.

    :param began: monotonic seconds.
    :param ended: when it was answered, or its connection was gone; None until then.
    :param taken: it was answered with 250.
    """

    digest: str
    peer: str
    began: float
    ended: float | None = None
    taken: bool = False


class Sink:
    """Listens on a port of 127.0.0.1. A body that begins with ``hold`` is not answered before :meth:`let_go`.

    :param pause: seconds that each answer takes.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause
        self._free = asyncio.Event()
        self._lock = threading.Lock()
        self._transactions: list[Transaction] = []
        self.port = free_port()  # aiosmtpd connects to itself and so must be told one
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=120.0)
        self._controller.start()
        self.stop = self._controller.stop

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Called by aiosmtpd; cancelled when the connection is gone."""
        body = envelope.original_content.partition(b"\r\n\r\n")[2]
        one = Transaction(digest(body), session.host_name, time.monotonic())
        with self._lock:
            self._transactions.append(one)
        try:
            await asyncio.sleep(self._pause)
            if body.startswith(b"hold"):
                await self._free.wait()
            one.taken = True
            return "250 2.0.0 taken"
        finally:
            one.ended = time.monotonic()

    def let_go(self) -> None:
        """Answer what was held."""
        self._controller.loop.call_soon_threadsafe(self._free.set)

    def transactions(self) -> list[Transaction]:
        """All that came so far."""
        with self._lock:
            return list(self._transactions)

    def count(self) -> int:
        """How many were answered."""
        return sum(one.taken for one in self.transactions())

    def at_once(self) -> list[str]:
        """Messages of which two were on their way at the same time."""
        found = []
        last: dict[str, float] = {}
        for one in sorted(self.transactions(), key=lambda one: one.began):
            if last.get(one.digest, 0.0) > one.began:
                found.append(one.digest)
            last[one.digest] = max(last.get(one.digest, 0.0), time.monotonic() if one.ended is None else one.ended)
        return found
