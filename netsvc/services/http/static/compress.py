"""Compresses files with gzip: small ones as a whole, others in blocks between other work, with flat memory.

Only files are compressed, never what a script says: an answer that holds a secret beside what the peer has sent would
tell the secret by its length (BREACH), and a file holds nothing of the request.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from netsvc.net.sendfile import FileShrankError

BLOCK = 1 << 16  # octets compressed at a time: about a millisecond
_GZIP = 31  # window bits of zlib that ask for a gzip wrapper (RFC 1952) and the largest window


def gzipped(data: bytes, level: int) -> bytes:
    """Data in the coding gzip; the same octets each time: the header has no time."""
    packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    return packer.compress(data) + packer.flush()


@implementer(IPushProducer)
class GzipSender:
    """Sends an open file, compressed, through an exchange whose answer has begun.

    :param exchange: takes the octets.
    :param clock: IReactorTime: one block is compressed a turn.
    :param descriptor: an open file; the caller keeps and closes it.
    :param length: octets of the file to send; what was appended meanwhile is not.
    """

    def __init__(self, exchange: Any, clock: Any, descriptor: int, length: int, level: int) -> None:
        self._exchange = exchange
        self._clock = clock
        self._descriptor = descriptor
        self._left = length
        self._offset = 0
        self._packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        self._call: Any = None
        self._paused = False
        self._done: Deferred[None] = Deferred()

    def send(self) -> Deferred[None]:
        """Start; the Deferred fires when all of it is with the exchange."""
        self._exchange.register_producer(self, True)
        self._go_on()
        return self._done

    def pauseProducing(self) -> None:
        """The peer does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The peer reads again."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._end(ConnectionAbortedError("the peer left before the file was sent"))

    def _go_on(self) -> None:
        if self._call is None and not self._paused and not self._done.called:
            self._call = self._clock.callLater(0, self._block)

    def _block(self) -> None:
        self._call = None
        if self._paused:
            return
        try:
            data = os.pread(self._descriptor, min(BLOCK, self._left), self._offset) if self._left else b""
            if not data and self._left:
                raise FileShrankError("the file shrank while it was sent")
        except (OSError, FileShrankError) as error:
            self._exchange.unregister_producer()
            self._end(error)
            return
        self._offset += len(data)
        self._left -= len(data)
        packed = self._packer.compress(data)
        if not self._left:
            packed += self._packer.flush()
        if packed:
            self._exchange.write(packed)
        if self._done.called:
            return  # the write has met the end of the connection
        if self._left:
            self._go_on()
        else:
            self._exchange.unregister_producer()
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if not self._done.called:
            if error is None:
                self._done.callback(None)
            else:
                self._done.errback(error)
