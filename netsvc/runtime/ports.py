"""Hands bound sockets to the reactor, without what Twisted's own ports do to them.

- Of a UNIX listener adoptStreamPort makes the file's mode 0666 whatever it was, and removes whatever stands at the path
  when the port closes. Mode and file stay the runtime's here.
- Out of descriptors, Twisted takes connections only to close them, with three lines in the log for each, or tries
  again and again at full speed. Here accepting pauses: peers wait in the kernel's queue until there is room.
- A UDP port reads up to 256 KiB before anybody else has a turn, which is 256 Ki datagrams of one octet, and endless
  ones of none. Here a turn ends after some datagrams.
- A UDP port on a wildcard address answers from whatever address the kernel picks, and a client that asked at another
  one does not know the answer for its own. Here the answer leaves from the address that was asked.

Each port has a duplicate of the socket, so that closing it leaves the original open. They read and set names that
Twisted keeps private; tests/runtime pins them.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, udp, unix

from netsvc.runtime.lane import Lane, LanePort

MAX_DATAGRAM = 65535  # octets, RFC 768: the length field has 16 bits
DATAGRAMS_A_TURN = 64  # about a millisecond's worth of answers
PAUSE = 0.5  # seconds without accepting when there are no descriptors

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # accept(2)

_IN_PKTINFO = struct.Struct("=i4s4s")  # interface, local address, destination in the header; ip(7)
_IN6_PKTINFO = struct.Struct("=16si")  # address, interface; ipv6(7)
_IP_PKTINFO = 8  # linux/in.h; the socket module has it since Python 3.14 only
_ANCILLARY = socket.CMSG_SPACE(max(_IN_PKTINFO.size, _IN6_PKTINFO.size))

Ancillary = list[tuple[int, int, bytes]]


class ListeningSocket(socket.socket):
    """A listening socket that, when there is no room for a connection, has accepting paused.

    :param no_room: called with the error, instead of raising it.
    """

    no_room: Callable[[OSError], None]

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self.no_room(error)
            raise BlockingIOError(errno.EAGAIN, "accepting pauses") from None


def adopt_stream_port(
    reactor: Any, bound: socket.socket, backlog: int, factory: Any, on_no_room: Callable[[OSError], None]
) -> Any:
    """Accept connections on a listening TCP or UNIX socket; an IListeningPort.

    :param reactor: the reactor, or a Lane on it.
    :param on_no_room: called each time accepting pauses.
    """
    port: Any
    if bound.family == socket.AF_UNIX:
        port = unix.Port._fromListeningDescriptor(reactor, bound.fileno(), factory)
        # A leading NUL is an abstract name (unix(7)), which has no file: Twisted then leaves files alone.
        port._bindPath = b"\0" + port._bindPath.lstrip(b"\0")
        port.backlog = backlog  # it calls listen(2) once more
    else:
        kind: Any = LanePort if isinstance(reactor, Lane) else tcp.Port
        port = kind._fromListeningDescriptor(reactor, bound.fileno(), bound.family, factory)

    def resume() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()

    def pause(error: OSError) -> None:
        port.stopReading()
        reactor.callLater(PAUSE, resume)
        on_no_room(error)

    listening = ListeningSocket(fileno=port._preexistingSocket.detach())
    listening.setblocking(False)
    listening.no_room = pause
    port._preexistingSocket = listening
    port.startListening()
    return port


class DatagramPort(udp.Port):
    """A UDP port that takes turns, and answers from the address that was asked."""

    _reply_from: Ancillary = []  # noqa: RUF012 - replaced, never changed

    def startListening(self) -> None:
        super().startListening()  # type: ignore[no-untyped-call]
        self._wild = ipaddress.ip_address(self.interface.partition("%")[0]).is_unspecified
        if self._wild and self.addressFamily == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif self._wild:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def doRead(self) -> None:
        for _ in range(DATAGRAMS_A_TURN):
            try:
                if self._wild:
                    data, ancillary, _flags, sender = self.socket.recvmsg(MAX_DATAGRAM, _ANCILLARY)
                    self._reply_from = reply_from(ancillary)
                else:
                    data, sender = self.socket.recvfrom(MAX_DATAGRAM)
            except OSError:  # nothing is there, or a router's complaint about something sent before
                return
            self.protocol.datagramReceived(data, sender)

    def write(self, datagram: bytes, addr: Any = None) -> None:
        """Send a datagram; during datagramReceived, from the address to which the request came.

        :raise OSError: it cannot be sent.
        """
        self.socket.sendmsg([datagram], self._reply_from, 0, addr)


def reply_from(ancillary: Ancillary) -> Ancillary:
    """What to send with an answer, from what came with its request; nothing where the kernel must choose."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, local, _ = _IN_PKTINFO.unpack_from(data)
            return [(level, kind, _IN_PKTINFO.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, _ = _IN6_PKTINFO.unpack_from(data)
            if not ipaddress.IPv6Address(address).is_multicast:
                return [(level, kind, _IN6_PKTINFO.pack(address, 0))]
    return []


def adopt_datagram_port(reactor: Any, bound: socket.socket, protocol: Any) -> Any:
    """Read datagrams from a bound socket; an IListeningPort."""
    port: Any = DatagramPort._fromListeningDescriptor(  # type: ignore[no-untyped-call]
        reactor, bound.fileno(), bound.family, protocol, MAX_DATAGRAM
    )
    port.startListening()
    return port
