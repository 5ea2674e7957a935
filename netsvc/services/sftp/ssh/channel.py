"""SessionChannel: one channel of a connection, with a window in each direction (RFC 4254 5), and what answers on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from netsvc.services.sftp.ssh.numbers import DisconnectError, Message, Reason
from netsvc.services.sftp.ssh.octets import string, uint32

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from netsvc.services.sftp.ssh.connection import Connection

log = Logger()

WINDOW = 2 << 20  # octets that a peer may send before it is told to go on
GRANT = WINDOW // 8  # octets; it is told so when it has sent so many
LONGEST_DATA = 128 << 10  # octets of data in one message to us
ROOM = 1 << 20  # octets that are made at once; the transport says stop after the first write that does not go

_WIDEST = 0xFFFF_FFFF


class Answers(Protocol):
    """What stands behind a channel, such as an SftpServer."""

    def received(self, data: bytes) -> None:
        """The peer has sent something."""

    def room_grew(self) -> None:
        """There is room again after there was none."""

    def closed(self) -> object:
        """The peer has ended the channel, or is gone."""


Begin = Callable[[], Answers]  # begins to answer


class SessionChannel:
    """One channel.

    :param here: our number of it.
    :param there: the peer's number of it.
    :param window: octets that the peer takes before it says more.
    :param longest: octets of data in one message to the peer.
    """

    def __init__(self, connection: Connection, here: int, there: int, window: int, longest: int) -> None:
        self._connection = connection
        self._transport = connection.transport
        self.here = here
        self._there = uint32(there)
        self._data_head = bytes((Message.CHANNEL_DATA,)) + self._there
        self._window = window
        self._longest = longest
        self._waiting: deque[bytes] = deque()
        self._left = WINDOW
        self._taken = 0
        self._paused = False
        self._early: list[bytes] | None = None  # what arrived before there was somebody to answer
        self._answers: Answers | None = None
        self._asked = False  # for a subsystem or a command
        self._is_command = False
        self._wants_reply = False
        self._status: int | None = None  # how it ended
        self._close_sent = False
        self._gone = False

    # For what answers

    def write(self, data: bytes) -> None:
        """Send data; what the peer has no room for is kept."""
        if self._status is not None or self._close_sent or not data:
            return
        if self._waiting or not self._transport.flowing:
            self._waiting.append(data)
        else:
            self._send(data)

    def room(self) -> int:
        """Octets that can be sent now."""
        if self._waiting or self._close_sent or not self._transport.flowing:
            return 0
        return min(self._window, ROOM)

    def pause(self) -> None:
        """Let the peer send no more than it may already."""
        self._paused = True

    def resume(self) -> None:
        """Let the peer send again."""
        self._paused = False
        self._grant()

    def end(self, status: int) -> None:
        """Close the channel when all is sent.

        :param status: as a program's; 0 is success.
        """
        if self._status is None:
            self._status = status
            self._end_if_sent()

    # For the connection

    def room_grew(self) -> None:
        """The transport, or the peer, takes data again."""
        while self._waiting and self._window and self._transport.flowing:
            self._send(self._waiting.popleft())
        if self._waiting:
            return
        self._end_if_sent()
        if self._answers is not None and self._status is None and self.room():
            self._answers.room_grew()

    def adjust(self, octets: int) -> None:
        """The peer takes more."""
        if self._window + octets > _WIDEST:
            raise DisconnectError(Reason.PROTOCOL_ERROR, "a window of more than 4 GiB")
        self._window += octets
        self.room_grew()

    def data(self, data: bytes) -> None:
        """The peer has sent something."""
        self._count(len(data))
        if self._answers is not None and self._status is None:
            self._answers.received(data)
        elif self._early is not None:
            self._early.append(data)
            return  # nobody takes it yet
        self._grant()

    def discard(self, octets: int) -> None:
        """The peer has sent so much that nobody wants."""
        self._count(octets)
        self._grant()

    def ended_by_peer(self) -> None:
        """The peer sends no more: a subsystem is asked for nothing any more, a command has all it needs."""
        if self._answers is not None and not self._is_command:
            self._tell_closed()
            self.end(0)

    def closed_by_peer(self) -> None:
        """The peer has closed it."""
        self._waiting.clear()
        self._close()
        self.gone()

    def gone(self) -> None:
        """There is no channel any more."""
        self._early = None
        self._gone = self._close_sent = True
        self._waiting.clear()
        self._tell_closed()
        self._connection.forget(self)

    def request(self, kind: bytes, rest: bytes, *, wants_reply: bool) -> None:
        """The peer wants something of the channel: a subsystem or a command it may have, once."""
        wanted = None
        if kind in {b"subsystem", b"exec"} and not self._asked:
            wanted = self._connection.door(kind, rest, self)
        if wanted is None:
            if wants_reply:
                self._reply(Message.CHANNEL_FAILURE)
            return
        self._asked = True
        self._is_command = kind == b"exec"
        self._wants_reply = wants_reply
        self._early = []
        wanted.addCallbacks(self._opened, self._not_opened).addErrback(self._fault)

    # Within

    def _opened(self, begin: Begin) -> None:
        early, self._early = self._early or [], None
        if self._gone:
            return
        if self._wants_reply:
            self._reply(Message.CHANNEL_SUCCESS)
        self._answers = begin()
        for data in early:
            if self._answers is not None:
                self._answers.received(data)
        self._grant()

    def _not_opened(self, _: object) -> None:
        self._early = None
        if not self._gone:
            if self._wants_reply:
                self._reply(Message.CHANNEL_FAILURE)
            self._close()

    def _fault(self, failure: Failure) -> None:
        log.failure("a fault in an SSH channel", failure, event="sftp-fault")
        self._close()

    def _reply(self, number: Message) -> None:
        self._transport.sendPacket(number, self._there)

    def _send(self, data: bytes) -> None:
        whole = memoryview(data)
        now = min(len(data), self._window)
        longest = self._longest
        self._transport.send_data(
            self._data_head, [whole[at : min(at + longest, now)] for at in range(0, now, longest)]
        )
        self._window -= now
        if now < len(data):
            self._waiting.appendleft(data[now:])

    def _count(self, octets: int) -> None:
        self._left -= octets
        self._taken += octets
        if self._left < 0 or octets > LONGEST_DATA:
            raise DisconnectError(Reason.PROTOCOL_ERROR, "more data than the window has room for")

    def _grant(self) -> None:
        if self._taken >= GRANT and not self._paused and not self._close_sent:
            self._transport.sendPacket(Message.CHANNEL_WINDOW_ADJUST, self._there + uint32(self._taken))
            self._left += self._taken
            self._taken = 0

    def _end_if_sent(self) -> None:
        if self._status is None or self._waiting or self._close_sent:
            return
        told = self._there + string(b"exit-status") + b"\0" + uint32(self._status)
        self._transport.sendPacket(Message.CHANNEL_REQUEST, told)
        self._transport.sendPacket(Message.CHANNEL_EOF, self._there)
        self._close()

    def _close(self) -> None:
        if not self._close_sent:
            self._close_sent = True
            self._transport.sendPacket(Message.CHANNEL_CLOSE, self._there)

    def _tell_closed(self) -> None:
        answers, self._answers = self._answers, None
        if answers is not None:
            answers.closed()
