"""The daemon's ends of a script's pipes, on the reactor: what it prints comes in, what it reads goes out.

Two habits of the reactor shape this module. epoll reports a pipe whose writer left as a hang-up, and the reactor
then calls connectionLost instead of doRead: what is still in the pipe is read there. And a descriptor that was
closed and opened anew within one turn can be handed the event of its predecessor: a hang-up is believed only when
read or write says so too.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

BLOCK = 1 << 16  # octets a read: the capacity of a pipe on Linux, pipe(7)
HIGH_WATER = 1 << 16  # octets waiting for a script before the peer is asked to pause


def readable_octets(descriptor: int) -> int:
    """How many octets a pipe holds now."""
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))
    return int(count)


@implementer(IReadDescriptor)
class OutputPipe:
    """Reads what a script prints.

    :param descriptor: the reading end; this object sets it non-blocking and closes it.
    :param received: called with octets, never empty; `at_end` tells then whether they are the last.
    :param ended: called once, when there will be no more; not after close().
    """

    def __init__(
        self, reactor: Any, descriptor: int, received: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._received = received
        self._ended = ended
        self._paused = False
        self._left: int | None = None  # octets to read yet, once the script has exited
        self.at_end = False  # what was read last is the last
        os.set_blocking(descriptor, False)
        reactor.addReader(self)

    @property
    def closed(self) -> bool:
        """Whether no more will be read."""
        return self._descriptor < 0

    def pause(self) -> None:
        """Read no more for now; the pipe fills and the script waits."""
        self._paused = True
        if not self.closed:
            self._reactor.removeReader(self)

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self.closed:
            return
        if self._left is not None:
            self._read_rest()
        else:
            self._reactor.addReader(self)

    def script_exited(self) -> None:
        """Read what is in the pipe now and end there, whoever else holds the other end."""
        if not self.closed:
            self._left = readable_octets(self._descriptor)
            if not self._paused:
                self._read_rest()

    def close(self) -> None:
        """Read no more, ever. The script gets SIGPIPE when it prints."""
        if not self.closed:
            self._reactor.removeReader(self)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def fileno(self) -> int:
        """As IFileDescriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """As ILoggingContext."""
        return "cgi"

    def doRead(self) -> None:
        """As IReadDescriptor."""
        self._read()

    def readConnectionLost(self, reason: Failure) -> None:
        """As IHalfCloseableDescriptor: on a Lane a hang-up is this."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """The reactor saw a hang-up."""
        while not self.closed and not self._paused:
            if not self._read() and not self.closed:
                # The other end is still open: the hang-up was meant for an earlier pipe of this number.
                self._reactor.addReader(self)
                return

    def _read_rest(self) -> None:
        while not self.closed and not self._paused and self._left:
            if not self._read():
                break
        if not self.closed and not self._paused:
            self._end()

    def _read(self) -> bool:
        """Read once; False when there was nothing to read."""
        if self.closed:
            return False
        try:
            data = os.read(self._descriptor, BLOCK if self._left is None else min(BLOCK, self._left))
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        if self._left is not None:
            self._left -= len(data)
            self.at_end = not self._left
        elif len(data) < BLOCK:
            data += self._read_on(len(data))
        self._received(data)
        if self.at_end and not self.closed and not self._paused:
            self._end()
        return True

    def _read_on(self, size: int) -> bytes:
        """What has come meanwhile; or the end, so that who gets a short output knows that it is all."""
        try:
            more = os.read(self._descriptor, BLOCK - size)
        except BlockingIOError:
            return b""
        self.at_end = not more
        return more

    def _end(self) -> None:
        self.close()
        self._ended()


@implementer(IWriteDescriptor)
class InputPipe:
    """Writes a request's body to a script.

    :param descriptor: the writing end; this object sets it non-blocking and closes it.
    :param flow: told True when more than HIGH_WATER octets wait, False when none do.
    :param moved: called when the script has taken octets.
    """

    def __init__(self, reactor: Any, descriptor: int, flow: Callable[[bool], None], moved: Callable[[], None]) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._flow = flow
        self._moved = moved
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._full = False
        self._finished = False
        os.set_blocking(descriptor, False)

    @property
    def closed(self) -> bool:
        """Whether the script reads no more: what is written now is dropped."""
        return self._descriptor < 0

    @property
    def waiting(self) -> bool:
        """Whether octets wait for the script to read them."""
        return bool(self._waiting)

    @property
    def backed_up(self) -> bool:
        """Whether so much waits that the peer has to pause."""
        return self._full

    def write(self, data: bytes) -> None:
        """Pass octets on, at once where that is possible."""
        if self.closed or not data:
            return
        idle = not self._waiting
        self._waiting.append(data)
        self._size += len(data)
        if idle:
            self._pass_on()
        if not self.closed and self._size > HIGH_WATER and not self._full:
            self._full = True
            self._flow(True)

    def finish(self) -> None:
        """The body is whole: the script sees the end of file when it has read it."""
        self._finished = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Drop what waits. The script sees the end of file."""
        if self.closed:
            return
        self._reactor.removeWriter(self)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        self._waiting.clear()
        self._size = 0
        self._drained()

    def fileno(self) -> int:
        """As IFileDescriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """As ILoggingContext."""
        return "cgi"

    def doWrite(self) -> None:
        """As IWriteDescriptor."""
        self._pass_on()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """The reactor saw a hang-up."""
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and not self.closed:
            try:
                sent = os.write(self._descriptor, self._waiting[0])
            except BlockingIOError:
                self._reactor.addWriter(self)
                return
            except OSError:  # EPIPE: the script does not want the rest
                self.close()
                return
            self._moved()
            self._size -= sent
            if sent < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][sent:]
            else:
                self._waiting.popleft()
        if self.closed:
            return
        self._reactor.removeWriter(self)
        self._drained()
        if self._finished and not self._waiting:  # who was told may have written on, to the end, within that call
            self.close()

    def _drained(self) -> None:
        if self._full:
            self._full = False
            self._flow(False)
