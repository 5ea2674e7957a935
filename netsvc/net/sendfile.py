"""FileSender: a pull producer that hands a file to the kernel, or reads it in blocks where it cannot.

sendfile(2) is used on plain TCP and UNIX transports only (see :mod:`netsvc.net.plain`). A file that shrinks
while it is sent ends the connection abruptly, so that the peer cannot take what came for the whole.
The protocol must write nothing until the Deferred fires.

While the kernel sends, the sender stands in for the transport's doWrite: that would ask the socket to take nothing,
stop writing and start again at every turn, which costs about what the sendfile does. What is written meanwhile waits.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from netsvc.net.near import shorten_send_buffer
from netsvc.net.plain import is_plain

SENDFILE_BLOCK = 1 << 20  # octets a turn: large enough to fill a socket buffer, small enough to stay fair
LARGE = 1 << 20  # octets; for less the send buffer is left as it is
READ_BLOCK = 1 << 16  # octets a turn when they pass through Python


class FileShrankError(Exception):
    """The file became shorter than what was promised to the peer."""


@implementer(IPullProducer)
class FileSender:
    """Sends octets [offset, offset + length) of an open file to a transport.

    :param transport: the protocol's transport; it needs no producer of its own meanwhile.
    :param descriptor: an open file; the caller keeps and closes it.
    :param offset: where to begin, octets.
    :param length: how much to send, octets.
    """

    def __init__(self, transport: Any, descriptor: int, offset: int, length: int) -> None:
        self._transport = transport
        self._descriptor = descriptor
        self._offset = offset
        self._left = length
        self._plain = is_plain(transport)
        self._stands_in = False
        self._done: Deferred[None] = Deferred()

    def send(self) -> Deferred[None]:
        """Start; the Deferred fires when all octets are with the kernel or the transport's buffer."""
        if self._plain and self._left >= LARGE:
            shorten_send_buffer(self._transport)
        self._transport.registerProducer(self, False)
        return self._done

    def resumeProducing(self) -> None:
        """Send the next block; the transport asks when the last has left."""
        if self._left <= 0:
            self._finish()
        elif self._plain and not self._buffered():
            self._send_from_kernel()
        elif not self._plain:
            self._send_through_python()
        else:
            self._transport.startWriting()  # headers are still queued: come again when they have left

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._fail(ConnectionAbortedError("the peer left before the file was sent"))

    def _buffered(self) -> bool:
        return bool(self._transport.dataBuffer or self._transport._tempDataBuffer)

    def _send_from_kernel(self) -> None:
        try:
            sent = os.sendfile(
                self._transport.fileno(), self._descriptor, self._offset, min(self._left, SENDFILE_BLOCK)
            )
        except BlockingIOError:
            self._stand_in()
            return
        except OSError as error:
            self._break(error)
            return
        if sent == 0:
            self._break(FileShrankError("the file shrank while it was sent"))
            return
        self._offset += sent
        self._left -= sent
        if self._left:
            self._stand_in()
        else:
            self._finish()

    def _stand_in(self) -> None:
        """Come again when the socket takes more."""
        if not self._stands_in:
            self._stands_in = True
            self._transport.doWrite = self._send_from_kernel
            self._transport.startWriting()

    def _step_back(self) -> None:
        if self._stands_in:
            self._stands_in = False
            del self._transport.doWrite  # the transport's own sends what was written meanwhile, and stops writing

    def _send_through_python(self) -> None:
        try:
            block = os.pread(self._descriptor, min(self._left, READ_BLOCK), self._offset)
        except OSError as error:
            self._break(error)
            return
        if not block:
            self._break(FileShrankError("the file shrank while it was sent"))
            return
        self._offset += len(block)
        self._left -= len(block)
        self._transport.write(block)
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        self._step_back()
        if not self._done.called:
            self._transport.unregisterProducer()
            self._done.callback(None)

    def _fail(self, error: Exception) -> None:
        self._step_back()
        if not self._done.called:
            self._done.errback(error)

    def _break(self, error: Exception) -> None:
        self._step_back()
        if not self._done.called:
            self._transport.unregisterProducer()
            self._transport.abortConnection()
            self._done.errback(error)
