"""How much a transport still owes its peer, and a producer that waits until it owes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer


def queued(transport: Any) -> int:
    """Octets written to a transport that the kernel has not taken.

    TLS transports pass the question on to the transport below them; transports of tests may have no queue.
    """
    buffered = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
    return buffered + int(getattr(transport, "_tempDataLen", 0))


@implementer(IPullProducer)
class Backlog:
    """Calls `drained` once the transport's queue is empty. The transport must have no other producer.

    :param drained: called at most once; not when the connection ends before.
    """

    def __init__(self, transport: Any, drained: Callable[[], None]) -> None:
        self._transport = transport
        self._drained: Callable[[], None] | None = drained

    def wait(self) -> None:
        """Begin to wait."""
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        drained = self._drained
        if drained is not None and not queued(self._transport):
            self._drained = None
            self._transport.unregisterProducer()
            drained()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._drained = None
