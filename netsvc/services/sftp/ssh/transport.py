"""Transport: one SSH connection. conch's key exchange; versions, packets, rules and logins' deadline of our own.

conch's own packet layer is passed by: it copies what has arrived with each packet, knows neither AES-GCM nor MACs over
what is encrypted, takes any message at any time, and logs each packet.

Strict key exchange is done with every client that knows it: nothing but the key exchange's own messages may come in the
first one, and packets are counted from 0 after each (OpenSSH's PROTOCOL, 1.9; CVE-2023-48795).
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.conch.ssh.transport import SSHServerTransport
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from netsvc.net.fast_write import fast_write
from netsvc.services.sftp.ssh import algorithms, packets
from netsvc.services.sftp.ssh.algorithms import Chosen
from netsvc.services.sftp.ssh.numbers import DisconnectError, Message, Reason
from netsvc.services.sftp.ssh.octets import MalformedError, Octets, string, uint32
from netsvc.services.sftp.ssh.version import VersionReader

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from netsvc.services.sftp.factory import SftpFactory
    from netsvc.services.sftp.ssh.connection import Connection
    from netsvc.services.sftp.ssh.userauth import Userauth

log = Logger()

VERSION = b"SSH-2.0-netsvc"
MOST_OWED = 1 << 20  # octets of answers that wait, because a peer asks and does not read
WHILE_HOLDING = frozenset({Message.DISCONNECT, Message.UNIMPLEMENTED, *range(20, 50)})  # RFC 4253 7.1
BATCH = 256 << 10  # octets of data that are written at once, though more may come of what has arrived
ROUND_A_PACKET = 64  # octets that a small answer costs beside its own
FAREWELL = 10.0  # seconds that a peer has to take our last words; else a login's deadline is what a slow reader likes


@implementer(IPushProducer)
class Transport(SSHServerTransport):
    """One peer.

    :param factory: what all connections share.
    :param host: the peer's address for logs and limits; None on a UNIX socket.
    :ivar user: who has logged in; None before.
    """

    factory: SftpFactory  # type: ignore[assignment]
    transport: Any
    ourVersionString = VERSION

    def __init__(self, factory: SftpFactory, host: str | None) -> None:
        self.factory = factory
        self.host = host
        self.user: str | None = None
        self.received = 0  # octets
        self._userauth: Userauth | None = None
        self._connection: Connection | None = None
        self._began = factory.reactor.seconds()
        self._version = VersionReader()
        self._reader = packets.PacketReader()
        self._writer = packets.PacketWriter()
        self._batching = False
        self._full = False  # the peer reads slower than we write
        self._ended = False
        self._deadline: IDelayedCall | None = None  # of the login; then of the farewell
        self._has_place = False  # among those who may log in
        # The key exchange.
        self._holding = False  # from our KEXINIT to our NEWKEYS
        self._held: deque[tuple[int, bytes]] = deque()
        self._owed = 0
        self._chosen: Chosen | None = None  # from the peer's KEXINIT to its NEWKEYS
        self._init_wanted = False
        self._next_opener: packets.Opener | None = None
        self._strict = False
        self._secured = False  # since the peer's first NEWKEYS
        self._rekey_at = 0  # octets in both directions

    # The connection itself

    def connectionMade(self) -> None:
        factory = self.factory
        self._deadline = factory.reactor.callLater(factory.login_timeout, self._overdue)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        factory.opened(self)
        self.transport.write(VERSION + b"\r\n")
        self._has_place = factory.take_login_place(self.host)
        if not self._has_place:
            self.disconnect(Reason.TOO_MANY_CONNECTIONS, "too many logins at once")
            return
        self.sendKexInit()
        self._flush()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002 - Twisted's
        self._ended = True
        self._no_deadline()
        self._leave_place()
        self.factory.closed(self)
        if self._userauth is not None:
            self._userauth.connection_lost()
        if self._connection is not None:
            self._connection.connection_lost()
        self.factory.count_octets(self.received, self._writer.made)
        if self.user is not None:
            log.info(
                "{user} at {peer} has left after {seconds:.1f} s: {received} octets in, {sent} out",
                event="sftp-end",
                user=self.user,
                peer=self.host or "local",
                seconds=self.factory.reactor.seconds() - self._began,
                received=self.received,
                sent=self._writer.made,
            )

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        if not self._holding:
            self._owed = 0
        self._room_grew()

    def stopProducing(self) -> None:
        self._full = True

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self.received += len(data)
        self._batching = True
        try:
            if self._version.line is None:
                data = self._version.feed(data)
                self.otherVersionString = self._version.line or b""
            self._reader.feed(data)
            following = self._reader.following
            while not self._ended and (packet := following()) is not None:
                if packet[1] == Message.CHANNEL_DATA and self._connection is not None and self._chosen is None:
                    self._connection.data(packet, 2, len(packet) - packet[0])
                else:
                    self._dispatch(packet[1], packet[2 : len(packet) - packet[0]])
            self._rekey_if_due()
        except DisconnectError as error:
            self.disconnect(error.reason, error.text)
        except (MalformedError, struct.error) as error:
            self.disconnect(Reason.PROTOCOL_ERROR, f"a malformed message: {error}")
        except Exception:  # noqa: BLE001 - it ends this connection only
            log.failure("a fault in an SSH connection", event="sftp-fault", peer=self.host or "local")
            self._ended = True
            self.transport.abortConnection()
        finally:
            self._batching = False
            self._flush()

    def _overdue(self) -> None:
        self._deadline = None
        self.disconnect(Reason.BY_APPLICATION, "no login in time")

    def _no_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _leave_place(self) -> None:
        """Somebody else may log in now."""
        if self._has_place:
            self._has_place = False
            self.factory.give_back_login_place(self.host)

    def disconnect(self, reason: Reason, text: str) -> None:
        """End the connection, and tell the peer and the log why."""
        if self._ended:
            return
        log.info(
            "{peer} is disconnected: {reason}",
            event="sftp-disconnected",
            peer=self.host or "local",
            user=self.user,
            reason=text,
        )
        self._ended = True
        self._writer.add(bytes((Message.DISCONNECT,)), uint32(reason) + string(text.encode()) + string(b""))
        self._flush()
        self._leave(unheard=reason is Reason.TOO_MANY_CONNECTIONS)

    def _leave(self, *, unheard: bool = False) -> None:
        """End the connection. What was written is still sent, to a peer who takes it soon.

        :param unheard: the peer is still sending its first octets. A close that leaves them unread would be a reset,
            and cost it our words: so its own end is awaited.
        """
        self._ended = True
        self._no_deadline()
        self._deadline = self.factory.reactor.callLater(FAREWELL, self.transport.abortConnection)
        self.transport.unregisterProducer()
        if unheard and hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """As conch's key exchange says it."""
        self.disconnect(Reason(reason), desc if isinstance(desc, str) else desc.decode("ascii", "replace"))

    def drain(self) -> None:
        """The service stops: end when nothing is open any more."""
        if self._connection is None:
            self.disconnect(Reason.BY_APPLICATION, "the service stops")
        else:
            self._connection.drain()

    # Packets out

    @property
    def flowing(self) -> bool:
        """Whether data may be sent now."""
        return not (self._full or self._holding or self._ended)

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """Send a message, or hold it until the key exchange is done."""
        if self._ended:
            return
        if self._full or self._holding:
            self._owed += len(payload) + ROUND_A_PACKET
            if self._owed > MOST_OWED:
                self.disconnect(Reason.PROTOCOL_ERROR, "too many answers wait to be read")
                return
        if self._holding and messageType not in WHILE_HOLDING:
            self._held.append((messageType, payload))
            return
        self._writer.add(bytes((messageType,)), payload)
        if not self._batching:
            self._flush()

    def send_data(self, head: bytes, pieces: list[memoryview]) -> None:
        """Send data of a channel; only while it is flowing.

        :param head: of each packet: the message's number and the channel.
        """
        add = self._writer.add
        for piece in pieces:
            add(head + uint32(len(piece)), piece)
        if not self._batching or self._writer.waiting >= BATCH:
            self._flush()  # and the transport says when it is full

    def _flush(self) -> None:
        made = self._writer.take()
        if made:
            fast_write(self.transport, made)

    # Packets in

    def _dispatch(self, number: int, payload: bytes) -> None:
        """Do what a message says, if it may come now."""
        if number == Message.DISCONNECT:
            self._leave()
            return
        if number <= Message.DEBUG:
            if self._strict and not self._secured:
                raise DisconnectError(Reason.PROTOCOL_ERROR, f"message {number} in the first key exchange")
            return
        if number == Message.KEXINIT:
            self.ssh_KEXINIT(payload)
        elif number == Message.KEX_INIT:
            self._key_exchange_init(payload)
        elif number == Message.NEWKEYS:
            self.ssh_NEWKEYS(payload)
        elif self._chosen is not None or not self._secured:
            raise DisconnectError(Reason.PROTOCOL_ERROR, f"message {number} in a key exchange")
        elif number == Message.SERVICE_REQUEST:
            self.ssh_SERVICE_REQUEST(payload)
        elif number == Message.EXT_INFO:
            return
        elif self._connection is not None and number >= Message.GLOBAL_REQUEST:
            if not self._connection.message(number, payload):
                self.unimplemented()
        elif self._userauth is not None and number == Message.USERAUTH_REQUEST:
            self._userauth.request(payload)
        else:
            self.unimplemented()

    def unimplemented(self) -> None:
        """Tell the peer that its last message is not known here."""
        self.sendPacket(Message.UNIMPLEMENTED, uint32((self._reader.sequence - 1) % (1 << 32)))

    # The key exchange

    def sendKexInit(self) -> None:
        """Begin a key exchange, or answer the peer's beginning."""
        self.ourKexInitPayload = algorithms.offer(self.factory.host_key_algorithms, first=self.sessionID is None)
        self._holding = True
        self._writer.add(self.ourKexInitPayload)

    def ssh_KEXINIT(self, packet: bytes) -> None:
        """The peer begins a key exchange, or answers our beginning."""
        if self._chosen is not None:
            raise DisconnectError(Reason.PROTOCOL_ERROR, "a key exchange in a key exchange")
        if self.sessionID is not None and self._connection is None:
            # Nobody needs one so early, and each costs us more than a peer: one connection would do for DHEat.
            raise DisconnectError(Reason.PROTOCOL_ERROR, "another key exchange before the login")
        chosen = algorithms.choose(packet, self.factory.host_key_algorithms)
        self.otherKexInitPayload = bytes((Message.KEXINIT,)) + packet
        if self.sessionID is None:
            self._strict = chosen.strict
            if self._strict and self._reader.sequence != 1:
                raise DisconnectError(Reason.PROTOCOL_ERROR, "a message before the key exchange")
        if not self._holding:
            self.sendKexInit()
        self._chosen = chosen
        self.kexAlg = chosen.key_exchange
        self.keyAlg = chosen.host_key
        self._init_wanted = True
        self.ignoreNextPacket = chosen.wrong_guess

    def _key_exchange_init(self, payload: bytes) -> None:
        if not self._init_wanted:
            raise DisconnectError(Reason.PROTOCOL_ERROR, "a key exchange that was not begun")
        if self.ignoreNextPacket:
            self.ignoreNextPacket = False
            return
        self._init_wanted = False
        try:
            self.ssh_KEX_DH_GEX_REQUEST_OLD(payload)
        except ValueError:  # a point that is none
            raise DisconnectError(Reason.KEY_EXCHANGE_FAILED, "a malformed key exchange") from None

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        """The secret is there: from here on we send with new keys, and receive with them after the peer's NEWKEYS."""
        chosen = self._chosen
        assert chosen is not None  # noqa: S101
        first = self.sessionID is None
        if first:
            self.sessionID = exchangeHash

        def keys(vector: bytes, cipher: bytes, mac: bytes) -> packets.Keys:
            return packets.Keys(*(self._getKey(letter, sharedSecret, exchangeHash) for letter in (vector, cipher, mac)))

        self._next_opener = packets.opener(chosen.received, keys(b"A", b"C", b"E"))
        self._writer.add(bytes((Message.NEWKEYS,)))
        self._writer.use(packets.sealer(chosen.sent, keys(b"B", b"D", b"F")))
        if self._strict:
            self._writer.sequence = 0
        if first and chosen.extensions:
            taken = string(b"server-sig-algs") + string(b",".join(algorithms.USER_KEYS))
            self._writer.add(bytes((Message.EXT_INFO,)), uint32(1) + taken)
        self._holding = False
        while self._held and not self._ended:
            self.sendPacket(*self._held.popleft())
        if not self._full:
            self._owed = 0
        self._rekey_at = self.received + self._writer.made + self.factory.rekey_after
        self._room_grew()

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        """The peer sends with the new keys from here on."""
        if self._next_opener is None or packet:
            raise DisconnectError(Reason.PROTOCOL_ERROR, "NEWKEYS out of place")
        self._reader.use(self._next_opener)
        if self._strict:
            self._reader.sequence = 0
        self._next_opener = None
        self._chosen = None
        self._secured = True

    def _rekey_if_due(self) -> None:
        """Begin a key exchange after many octets (RFC 4253 9); so many that no packet's number comes twice."""
        if self._connection is None or self._holding or self._chosen is not None or self._ended:
            return
        if self.received + self._writer.made >= self._rekey_at:
            self.sendKexInit()

    # Services

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        """The client asks for the login; nothing else can be asked for."""
        name = Octets(packet).string()
        if name != b"ssh-userauth" or self._userauth is not None:
            raise DisconnectError(Reason.SERVICE_NOT_AVAILABLE, "there is no such service")
        self._userauth = self.factory.userauth(self)
        self.sendPacket(Message.SERVICE_ACCEPT, string(name))

    def logged_in(self, user: str, connection: Connection) -> None:
        """Somebody has logged in: now channels may be opened."""
        self._no_deadline()
        self._leave_place()
        self.user = user
        self._reader.most = packets.MOST
        self.sendPacket(Message.USERAUTH_SUCCESS, b"")
        self._connection = connection

    def _room_grew(self) -> None:
        if self._connection is not None and self.flowing:
            self._connection.room_grew()
