"""PieceSender: a pull producer that takes pieces from an iterator as fast as the peer takes them, and no faster.

On a plain socket it writes by itself and holds at most one piece, because the transport would copy each piece
twice on its way to the same system call; elsewhere (TLS) it hands the transport one piece a turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from netsvc.net.plain import is_plain
from netsvc.services.filetransfer.offer import FileShrankError

TURN = 1 << 19  # octets to one peer in one turn of the reactor: some 1 ms, so that a fast peer holds nobody up


@implementer(IPullProducer)
class PieceSender:
    """Sends pieces to a transport. The protocol writes nothing until it is done.

    :param transport: the protocol's transport.
    :param pieces: octets, none of them empty; may raise OSError or FileShrankError.
    """

    def __init__(self, transport: Any, pieces: Iterator[bytes]) -> None:
        self._transport = transport
        self._pieces = pieces
        self._plain = is_plain(transport)
        self._rest = memoryview(b"")
        self._done: Deferred[None] = Deferred()

    def send(self) -> Deferred[None]:
        """Start. The Deferred fires when all is with the kernel or in the transport's buffer.

        It fails with what the iterator raised, or with ConnectionAbortedError when the peer left before the
        end. It is for the caller to cut the connection then.
        """
        self._transport.registerProducer(self, False)
        return self._done

    def resumeProducing(self) -> None:
        """The transport has sent all that it had."""
        if self._done.called:
            return
        try:
            more = self._write_at_once() if self._plain else self._hand_over()
        except (OSError, FileShrankError) as error:
            self._transport.unregisterProducer()
            self._done.errback(error)
            return
        if not more:
            self._transport.unregisterProducer()
            self._done.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone."""
        if not self._done.called:
            self._done.errback(ConnectionAbortedError("the peer left before the end"))

    def _hand_over(self) -> bool:
        """Give the transport one piece; whether there was one."""
        piece = next(self._pieces, b"")
        if piece:
            self._transport.write(piece)
        return bool(piece)

    def _write_at_once(self) -> bool:
        """Write to the socket until it is full or the turn is over; whether there is more to write."""
        descriptor = self._transport.fileno()
        budget = TURN
        while budget > 0:
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
                if not self._rest:
                    return False
            try:
                sent = os.write(descriptor, self._rest)
            except BlockingIOError:
                break
            self._rest = self._rest[sent:]
            budget -= sent
        self._transport.startWriting()  # the transport resumes a pull producer when it finds its own buffer empty
        return True
