"""An SSH client in memory that can misbehave, and what it talks to."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netsvc.config.values import Rate
from netsvc.net.passwords.users import UserFile
from netsvc.services.sftp.factory import Limits, SftpFactory
from netsvc.services.sftp.host_keys import HostKeys
from netsvc.services.sftp.login.key_files import KeyFiles
from netsvc.services.sftp.login.logins import Logins
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.ssh.algorithms import WITH_TAG, Direction
from netsvc.services.sftp.ssh.channel import Answers, Begin, SessionChannel
from netsvc.services.sftp.ssh.numbers import Message
from netsvc.services.sftp.ssh.octets import Octets, string, uint32
from netsvc.services.sftp.ssh.packets import Keys, PacketReader, PacketWriter, opener, sealer
from netsvc.services.sftp.ssh.transport import Transport
from tests.fakes import FakeRuntime

PEER = IPv4Address("TCP", "192.0.2.1", 40000)
VERSION = b"SSH-2.0-tester"
NOW = 1_700_000_000.0  # seconds since the epoch
PASSWORD = "correct horse"
HASHED = "$2b$04$0fiqBqwhfcgnqTGRMxpTzeN4n8.4xkGp/sgRkYPg8I58m2Fb63dh2"
KEX_REPLY = 31  # RFC 5656 4


@lru_cache
def host_keys() -> HostKeys:
    """The server's keys, made once for all tests."""
    with tempfile.TemporaryDirectory() as place:
        found = HostKeys(Path(place))
        found.open()
        found.make_missing()
        return found


@lru_cache
def user_key() -> ed25519.Ed25519PrivateKey:
    """The user's key."""
    return ed25519.Ed25519PrivateKey.generate()


def blob_of(key: ed25519.Ed25519PrivateKey) -> bytes:
    """What is sent of a key."""
    return string(b"ssh-ed25519") + string(key.public_key().public_bytes_raw())


def line_of(key: Any) -> str:
    """A key's line in an authorized_keys file."""
    found: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return found.decode()


class Echo:
    """Answers with what it is sent."""

    def __init__(self, channel: SessionChannel) -> None:
        self.channel = channel
        self.got = b""
        self.rooms = 0
        self.ends = 0

    def received(self, data: bytes) -> None:
        self.got += data
        if data.startswith(b"echo "):
            self.channel.write(data[5:])

    def room_grew(self) -> None:
        self.rooms += 1

    def closed(self) -> None:
        self.ends += 1


class FakeSession:
    """A Session whose answers are kept."""

    def __init__(self, made: list[Echo]) -> None:
        self.made = made

    def sftp(self, channel: SessionChannel) -> Deferred[Begin]:
        def begin() -> Answers:
            self.made.append(Echo(channel))
            return self.made[-1]

        return succeed(begin)

    def command(self, channel: SessionChannel, line: bytes) -> Deferred[Begin]:
        def begin() -> Answers:
            self.made.append(Echo(channel))
            channel.write(b"you said " + line)
            channel.end(3)
            return self.made[-1]

        return succeed(begin)


class Site:
    """A service: bob has a key and a password, in a directory of the test."""

    def __init__(
        self, place: Path, *, rekey_after: int = 1 << 30, failures: Rate | None = None, max_logins: int = 1000
    ) -> None:
        self.runtime = FakeRuntime()
        self.clock = self.runtime.reactor
        self.now = NOW
        self.made: list[Echo] = []
        (place / "keys").mkdir(mode=0o700)
        (place / "keys" / "bob").write_text(line_of(user_key()) + "\n")
        (place / "keys" / "bob").chmod(0o600)
        (place / "passwords").write_text(f"bob:{HASHED}\nstranger:{HASHED}\n")
        self.logins = Logins(
            {"bob": User("bob"), "ann": User("ann")},
            passwords=UserFile(place / "passwords", self.clock.seconds, lambda: self.now),
            keys=KeyFiles(place / "keys" / "%u"),
            failures=failures,
            in_thread=self.runtime.in_thread,
            seconds=self.clock.seconds,
            now=lambda: self.now,
            metrics=self.runtime.metrics,
            service="sftp",
        )
        self.logins.open()
        limits = Limits(login_timeout=60.0, login_tries=6, max_logins=max_logins, rekey_after=rekey_after)
        self.factory = SftpFactory(self.runtime, host_keys(), self.logins, lambda _, __: FakeSession(self.made), limits)


class Client:
    """One connection to a Site, as far as a method has taken it.

    :param cipher: the only one that is offered; a mac likewise.
    :param change: changes the octets of our KEXINIT.
    """

    def __init__(
        self,
        site: Site,
        *,
        peer: IPv4Address = PEER,
        cipher: bytes = b"aes128-gcm@openssh.com",
        mac: bytes = b"hmac-sha2-256-etm@openssh.com",
        compression: bytes = b"none",
        strict: bool = True,
        key_exchange: bytes = b"curve25519-sha256",
        follows: bool = False,
        change: Callable[[bytes], bytes] = lambda octets: octets,
    ) -> None:
        self.site = site
        self.change = change
        self.hybrid = key_exchange.startswith(b"mlkem")
        self.direction = Direction(cipher, b"" if cipher in WITH_TAG else mac)
        marks = b",ext-info-c" + (b",kex-strict-c-v00@openssh.com" if strict else b"")
        self.strict = strict
        self.offer = b"".join(
            (
                bytes((Message.KEXINIT,)),
                bytes(16),
                string(key_exchange + marks),
                string(b"ssh-ed25519"),
                string(cipher) * 2,
                string(mac) * 2,
                string(compression) * 2,
                string(b"") * 2,
                bytes((follows,)),
                bytes(4),
            )
        )
        self.reader = PacketReader()
        self.reader.most = 1 << 20
        self.writer = PacketWriter()
        self.version: bytes | None = None
        self.session = b""
        self.transport = StringTransport(peerAddress=peer)
        self.server: Transport = site.factory.buildProtocol(peer)
        self.server.makeConnection(self.transport)

    # The wire

    def raw(self, data: bytes) -> None:
        """Send octets as they are."""
        self.server.dataReceived(data)

    def send(self, number: int, payload: bytes = b"") -> None:
        """Send a message."""
        self.writer.add(bytes((number,)), payload)
        self.raw(self.writer.take())

    def received(self) -> list[bytes]:
        """The messages that have come, with their numbers."""
        data = self.transport.value()
        self.transport.clear()
        if self.version is None:
            line, newline, data = data.partition(b"\r\n")
            assert newline
            self.version = line
        self.reader.feed(data)
        found = []
        while (packet := self.reader.following()) is not None:
            found.append(packet[1 : len(packet) - packet[0]])
            if found[-1][0] == Message.NEWKEYS:
                self.reader.use(self.next_opener)
                if self.strict:
                    self.reader.sequence = 0
            elif found[-1][0] == KEX_REPLY:
                self._replied(found[-1][1:])
        return found

    def lose(self) -> None:
        """The connection ends."""
        self.server.connectionLost(Failure(ConnectionDone()))

    @property
    def told(self) -> str:
        """The reason with which the server has disconnected; empty when it has not."""
        last = [one for one in self.received() if one[0] == Message.DISCONNECT]
        if not last:
            return ""
        assert self.transport.disconnecting
        fields = Octets(last[-1], 1)
        fields.uint32()
        return fields.string().decode()

    # The key exchange

    def exchange(self) -> list[bytes]:
        """All of a key exchange, the first or another; what came in it."""
        if self.version is None:
            self.raw(VERSION + b"\r\n")
        self.begin()
        return self.finish()

    def begin(self) -> None:
        """Send our KEXINIT."""
        self.send(self.offer[0], self.change(self.offer[1:]))

    def finish(self) -> list[bytes]:
        """From the server's KEXINIT on."""
        before = self.received()
        self.theirs = next(one for one in before if one[0] == Message.KEXINIT)
        self.ours = x25519.X25519PrivateKey.generate()
        self.public = self.ours.public_key().public_bytes_raw()
        if self.hybrid:
            self.kem = mlkem.MLKEM768PrivateKey.generate()
            self.public = self.kem.public_key().public_bytes_raw() + self.public
        self.send(Message.KEX_INIT, string(self.public))
        found = self.received()
        self.send(Message.NEWKEYS)
        self.writer.use(self.next_sealer)
        if self.strict:
            self.writer.sequence = 0
        return before + found

    def _replied(self, reply: bytes) -> None:
        fields = Octets(reply)
        host, theirs, signature = fields.string(), fields.string(), fields.string()
        fields.end()
        agreed = self.ours.exchange(x25519.X25519PublicKey.from_public_bytes(theirs[-32:]))
        if self.hybrid:  # draft-ietf-sshm-mlkem-hybrid-kex
            shared = string(hashlib.sha256(self.kem.decapsulate(theirs[:-32]) + agreed).digest())
        else:
            secret = int.from_bytes(agreed, "big")
            shared = string(secret.to_bytes(secret.bit_length() // 8 + 1, "big"))
        assert self.version is not None
        parts = (VERSION, self.version, self.offer, self.theirs, host, self.public, theirs)
        digest = hashlib.sha256(b"".join(map(string, parts)) + shared).digest()
        made = Octets(signature)
        assert made.string() == b"ssh-ed25519"
        public = Octets(host)
        public.string()
        ed25519.Ed25519PublicKey.from_public_bytes(public.string()).verify(made.string(), digest)
        self.session = self.session or digest

        def key(letter: bytes) -> bytes:
            found = hashlib.sha256(shared + digest + letter + self.session).digest()
            return found + hashlib.sha256(shared + digest + found).digest()

        self.next_sealer = sealer(self.direction, Keys(*map(key, (b"A", b"C", b"E"))))
        self.next_opener = opener(self.direction, Keys(*map(key, (b"B", b"D", b"F"))))

    # The login

    def ask(self) -> None:
        """Ask for the login."""
        self.send(Message.SERVICE_REQUEST, string(b"ssh-userauth"))
        assert self.received()[-1] == bytes((Message.SERVICE_ACCEPT,)) + string(b"ssh-userauth")

    def by(self, method: bytes, rest: bytes = b"", user: bytes = b"bob") -> None:
        """Try a method."""
        self.send(Message.USERAUTH_REQUEST, string(user) + string(b"ssh-connection") + string(method) + rest)

    def by_password(self, password: bytes = PASSWORD.encode(), user: bytes = b"bob") -> None:
        """Try a password."""
        self.by(b"password", b"\0" + string(password), user)

    def by_key(self, key: ed25519.Ed25519PrivateKey, user: bytes = b"bob", session: bytes | None = None) -> None:
        """Try a key with a signature."""
        rest = b"\1" + string(b"ssh-ed25519") + string(blob_of(key))
        request = string(user) + string(b"ssh-connection") + string(b"publickey") + rest
        signed = string(self.session if session is None else session) + bytes((Message.USERAUTH_REQUEST,)) + request
        made = string(b"ssh-ed25519") + string(key.sign(signed))
        self.send(Message.USERAUTH_REQUEST, request + string(made))

    def log_in(self) -> Client:
        """From the connection to the end of the login."""
        self.exchange()
        self.ask()
        self.by_key(user_key())
        assert self.received() == [bytes((Message.USERAUTH_SUCCESS,))]
        return self

    # Channels

    def open(self, kind: bytes = b"session", window: int = 1 << 20, longest: int = 1 << 15, there: int = 7) -> bytes:
        """Open a channel; the answer."""
        self.send(Message.CHANNEL_OPEN, string(kind) + struct.pack(">LLL", there, window, longest))
        found = self.received()
        return found[0]

    def request(self, kind: bytes, rest: bytes = b"", *, channel: int = 0, reply: bool = True) -> None:
        """Ask something of a channel."""
        self.send(Message.CHANNEL_REQUEST, uint32(channel) + string(kind) + bytes((reply,)) + rest)

    def data(self, data: bytes, channel: int = 0) -> None:
        """Send data on a channel."""
        self.send(Message.CHANNEL_DATA, uint32(channel) + string(data))

    def sftp(self, **opened: Any) -> Echo:
        """From the login to the subsystem; what answers there."""
        self.log_in()
        self.open(**opened)
        self.request(b"subsystem", string(b"sftp"))
        assert self.received() == [bytes((Message.CHANNEL_SUCCESS,)) + uint32(7)]
        return self.site.made[-1]


def data_of(messages: list[bytes]) -> bytes:
    """What stands in the data of messages."""
    return b"".join(Octets(one, 5).string() for one in messages if one[0] == Message.CHANNEL_DATA)
