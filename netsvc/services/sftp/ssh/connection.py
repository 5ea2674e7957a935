"""Connection: what a peer may do when it has logged in (RFC 4254): open channels, and nothing else.

No forwarding of ports, sockets, agents or displays, no terminal, no environment: whatever asks for one is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from netsvc.services.sftp.ssh.channel import LONGEST_DATA, WINDOW, Begin, SessionChannel
from netsvc.services.sftp.ssh.numbers import DisconnectError, Message, OpenFailure, Reason
from netsvc.services.sftp.ssh.octets import MalformedError, Octets, string, uint32

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from netsvc.services.sftp.ssh.transport import Transport

MOST_CHANNELS = 10  # as OpenSSH's MaxSessions
SMALLEST = 256  # octets in one message to a peer; fewer would be all headers
LARGEST = 128 << 10  # octets in one message to a peer, whatever it takes

_DATA = struct.Struct(">LL")


class Session(Protocol):
    """What somebody who has logged in gets."""

    def sftp(self, channel: SessionChannel) -> Deferred[Begin]:
        """The subsystem. Fails when there is none."""

    def command(self, channel: SessionChannel, line: bytes) -> Deferred[Begin]:
        """What answers a command. Fails when nothing does."""


class Connection:
    """The channels of one peer.

    :ivar transport: the peer.
    """

    def __init__(self, transport: Transport, session: Session) -> None:
        self.transport = transport
        self._session = session
        self._channels: dict[int, SessionChannel] = {}
        self._no_more = False
        self._draining = False
        self._does: dict[int, Callable[[Octets], None]] = {
            Message.GLOBAL_REQUEST: self._global_request,
            Message.CHANNEL_OPEN: self._open,
            Message.CHANNEL_WINDOW_ADJUST: self._adjust,
            Message.CHANNEL_EXTENDED_DATA: self._extended_data,
            Message.CHANNEL_EOF: lambda octets: self._channel(octets).ended_by_peer(),
            Message.CHANNEL_CLOSE: lambda octets: self._channel(octets).closed_by_peer(),
            Message.CHANNEL_REQUEST: self._request,
        }

    def data(self, packet: bytes, at: int, end: int) -> None:
        """CHANNEL_DATA, without a copy more than is needed.

        :param at: where it begins, behind the message's number.
        :param end: where it ends.
        """
        if end - at < _DATA.size:
            raise MalformedError("data without a channel")
        number, length = _DATA.unpack_from(packet, at)
        at += _DATA.size
        if length != end - at:
            raise MalformedError("data of another length")
        self._numbered(number).data(packet[at:end])

    def message(self, number: int, payload: bytes) -> bool:
        """Do what a message says; False when it is not known."""
        does = self._does.get(number)
        if does is None:
            return False
        does(Octets(payload))
        return True

    def door(self, kind: bytes, rest: bytes, channel: SessionChannel) -> Deferred[Begin] | None:
        """What a channel's request is answered by; None for nothing."""
        name = Octets(rest).string()
        if kind == b"exec":
            return self._session.command(channel, name)
        return self._session.sftp(channel) if name == b"sftp" else None

    def forget(self, channel: SessionChannel) -> None:
        """A channel is no more."""
        self._channels.pop(channel.here, None)
        if self._draining and not self._channels:
            self.drain()

    def drain(self) -> None:
        """End when nothing is open any more."""
        self._draining = True
        if not self._channels:
            self.transport.disconnect(Reason.BY_APPLICATION, "the service stops")

    def room_grew(self) -> None:
        """The transport takes data again."""
        for channel in tuple(self._channels.values()):
            channel.room_grew()

    def connection_lost(self) -> None:
        """The peer is gone."""
        for channel in tuple(self._channels.values()):
            channel.gone()

    def _numbered(self, number: int) -> SessionChannel:
        channel = self._channels.get(number)
        if channel is None:
            raise DisconnectError(Reason.PROTOCOL_ERROR, f"channel {number} is not open")
        return channel

    def _channel(self, octets: Octets) -> SessionChannel:
        return self._numbered(octets.uint32())

    def _global_request(self, octets: Octets) -> None:
        kind, wants_reply = octets.string(), octets.boolean()
        if kind == b"no-more-sessions@openssh.com":
            self._no_more = True
        if wants_reply:
            self.transport.sendPacket(Message.REQUEST_FAILURE, b"")

    def _open(self, octets: Octets) -> None:
        kind, there, window, longest = octets.string(), octets.uint32(), octets.uint32(), octets.uint32()
        if kind != b"session":
            refusal, text = OpenFailure.ADMINISTRATIVELY_PROHIBITED, b"only files are served here"
        elif self._no_more or self._draining:
            refusal, text = OpenFailure.ADMINISTRATIVELY_PROHIBITED, b"no more sessions"
        elif len(self._channels) >= MOST_CHANNELS:
            refusal, text = OpenFailure.RESOURCE_SHORTAGE, b"too many channels"
        elif longest < SMALLEST:
            refusal, text = OpenFailure.CONNECT_FAILED, b"too short messages"
        else:
            here = next(number for number in range(MOST_CHANNELS) if number not in self._channels)
            self._channels[here] = SessionChannel(self, here, there, window, min(longest, LARGEST))
            confirmed = uint32(there) + uint32(here) + uint32(WINDOW) + uint32(LONGEST_DATA)
            self.transport.sendPacket(Message.CHANNEL_OPEN_CONFIRMATION, confirmed)
            return
        told = uint32(there) + uint32(refusal) + string(text) + string(b"")
        self.transport.sendPacket(Message.CHANNEL_OPEN_FAILURE, told)

    def _adjust(self, octets: Octets) -> None:
        self._channel(octets).adjust(octets.uint32())

    def _extended_data(self, octets: Octets) -> None:
        channel = self._channel(octets)
        octets.uint32()
        channel.discard(len(octets.string()))

    def _request(self, octets: Octets) -> None:
        channel = self._channel(octets)
        kind, wants_reply = octets.string(), octets.boolean()
        channel.request(kind, octets.rest(), wants_reply=wants_reply)
