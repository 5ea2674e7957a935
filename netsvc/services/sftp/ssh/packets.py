"""SSH's binary packets: cut from a stream and opened, or sealed (RFC 4253 6, RFC 5647 in OpenSSH's form). No I/O.

    uint32 packet_length    of what follows, without the MAC
    byte   padding_length   4 at least
    ...    payload
    ...    padding          up to the cipher's block
    ...    MAC, or the tag of AES-GCM

With AES-GCM and with the MACs of the form "etm" the length itself is not encrypted, and does not count for the padding.
A length is looked at as soon as it is there, so that nobody is waited for who promises 4 GiB.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netsvc.services.sftp.ssh.algorithms import WITH_TAG, Direction
from netsvc.services.sftp.ssh.numbers import DisconnectError, Reason

MOST_BEFORE_LOGIN = 35_000  # octets of a packet, RFC 4253 6.1
MOST = 256 << 10  # octets of a packet, as OpenSSH has it; RFC 4253 6.1 wants less to be enough

_BLOCK = 16  # octets, of AES
_CLEAR_BLOCK = 8  # octets, RFC 4253 6
_TAG = 16  # octets
_LEAST = 5  # octets behind the length: padding of 4, its length
_HEAD = struct.Struct(">LB")
_UINT32 = struct.Struct(">L")
_NONCE = struct.Struct(">4sQ")
_WRAP = 1 << 32

Buffer = bytes | bytearray | memoryview


@frozen
class Keys:
    """The keys of one direction, longer than any cipher wants them.

    :param vector: the first initialization vector.
    """

    vector: bytes
    cipher: bytes
    mac: bytes


class Sealer(Protocol):
    """Makes packets."""

    def seal(self, sequence: int, head: bytes, body: Buffer) -> tuple[bytes, ...]:
        """The packet whose payload is head and body, in pieces."""
        ...


class Opener(Protocol):
    """Opens packets.

    :ivar looks_at: octets that must be there before a packet's length is known.
    :ivar more: octets behind the packet, its MAC or tag.
    :ivar unit: octets; the length is a multiple of it, less `rest`.
    """

    looks_at: int
    more: int
    unit: int
    rest: int

    def length(self, first: memoryview) -> int:
        """The packet's length, of its first `looks_at` octets; called once for each packet."""
        ...

    def open(self, sequence: int, packet: memoryview) -> bytes:
        """What was sealed, from the padding's length on, of the whole packet.

        :raises DisconnectError: it is not what the peer sealed.
        """
        ...


def _padding(length: int, block: int) -> int:
    """How many octets of padding bring a length to a multiple of the block."""
    padding = block - length % block
    return padding if padding >= 4 else padding + block


class ClearSealer:
    """Before the keys are there."""

    def seal(self, _: int, head: bytes, body: Buffer) -> tuple[bytes, ...]:
        length = len(head) + len(body)
        padding = _padding(length + 5, _CLEAR_BLOCK)
        return (_HEAD.pack(length + padding + 1, padding), head, bytes(body), os.urandom(padding))


class ClearOpener:
    """Before the keys are there."""

    looks_at, more, unit, rest = 4, 0, _CLEAR_BLOCK, 4

    def length(self, first: memoryview) -> int:
        return int(_UINT32.unpack(first)[0])

    def open(self, _: int, packet: memoryview) -> bytes:
        return bytes(packet[4:])


class _GcmNonces:
    """The nonce of each packet: the first is derived, and counts up (RFC 5647 7.1)."""

    def __init__(self, vector: bytes) -> None:
        self._fixed, self._count = _NONCE.unpack(vector[:12])

    def following(self) -> bytes:
        nonce = _NONCE.pack(self._fixed, self._count)
        self._count = (self._count + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return nonce


class GcmSealer:
    """AES-GCM: the length is authenticated, all else encrypted as well."""

    def __init__(self, key_octets: int, keys: Keys) -> None:
        self._encrypt = AESGCM(keys.cipher[:key_octets]).encrypt
        self._nonces = _GcmNonces(keys.vector)

    def seal(self, _: int, head: bytes, body: Buffer) -> tuple[bytes, ...]:
        length = len(head) + len(body) + 1
        padding = _padding(length, _BLOCK)
        plain = b"".join((bytes((padding,)), head, body, os.urandom(padding)))
        written = _UINT32.pack(length + padding)
        return written, self._encrypt(self._nonces.following(), plain, written)


class GcmOpener:
    """AES-GCM: the length is authenticated, all else encrypted as well."""

    looks_at, more, unit, rest = 4, _TAG, _BLOCK, 0

    def __init__(self, key_octets: int, keys: Keys) -> None:
        self._decrypt = AESGCM(keys.cipher[:key_octets]).decrypt
        self._nonces = _GcmNonces(keys.vector)

    def length(self, first: memoryview) -> int:
        return int(_UINT32.unpack(first)[0])

    def open(self, _: int, packet: memoryview) -> bytes:
        try:
            return self._decrypt(self._nonces.following(), packet[4:], packet[:4])
        except InvalidTag:
            raise _damaged() from None


class _Mac:
    """An HMAC over the packet's number and its octets (RFC 4253 6.4)."""

    def __init__(self, name: bytes, keys: Keys) -> None:
        digest = hashlib.sha512 if b"512" in name else hashlib.sha256
        self.octets = digest().digest_size
        self._begun = hmac.new(keys.mac[: self.octets], digestmod=digest)

    def of(self, sequence: int, *parts: Buffer) -> bytes:
        made = self._begun.copy()
        made.update(_UINT32.pack(sequence))
        for part in parts:
            made.update(part)
        return made.digest()


def _ctr(key_octets: int, keys: Keys) -> Cipher[modes.CTR]:
    return Cipher(algorithms.AES(keys.cipher[:key_octets]), modes.CTR(keys.vector[:_BLOCK]))


class CtrSealer:
    """AES in counter mode; the MAC is over what was encrypted ("etm") or, in the older form, over what was not."""

    def __init__(self, key_octets: int, mac: bytes, keys: Keys) -> None:
        self._encrypt = _ctr(key_octets, keys).encryptor().update
        self._mac = _Mac(mac, keys).of
        self._behind = b"-etm@" in mac

    def seal(self, sequence: int, head: bytes, body: Buffer) -> tuple[bytes, ...]:
        length = len(head) + len(body) + 1
        padding = _padding(length if self._behind else length + 4, _BLOCK)
        written = _UINT32.pack(length + padding)
        parts = (bytes((padding,)), head, body, os.urandom(padding))
        if self._behind:
            sealed = self._encrypt(b"".join(parts))
            return written, sealed, self._mac(sequence, written, sealed)
        plain = b"".join((written, *parts))
        return self._encrypt(plain), self._mac(sequence, plain)


class CtrOpener:
    """AES in counter mode with a MAC over what is encrypted."""

    looks_at, unit, rest = 4, _BLOCK, 0

    def __init__(self, key_octets: int, mac: bytes, keys: Keys) -> None:
        self._decrypt = _ctr(key_octets, keys).decryptor().update
        self._mac = _Mac(mac, keys)
        self.more = self._mac.octets

    def length(self, first: memoryview) -> int:
        return int(_UINT32.unpack(first)[0])

    def open(self, sequence: int, packet: memoryview) -> bytes:
        if not hmac.compare_digest(self._mac.of(sequence, packet[: -self.more]), packet[-self.more :]):
            raise _damaged()
        return self._decrypt(packet[4 : -self.more])


class OlderCtrOpener:
    """AES in counter mode with a MAC over what is not encrypted: the first block is opened to know the length."""

    looks_at, unit, rest = _BLOCK, _BLOCK, 4

    def __init__(self, key_octets: int, mac: bytes, keys: Keys) -> None:
        self._decrypt = _ctr(key_octets, keys).decryptor().update
        self._mac = _Mac(mac, keys)
        self._first = b""
        self.more = self._mac.octets

    def length(self, first: memoryview) -> int:
        self._first = self._decrypt(first)
        return int(_UINT32.unpack_from(self._first)[0])

    def open(self, sequence: int, packet: memoryview) -> bytes:
        plain = self._first + self._decrypt(packet[_BLOCK : -self.more])
        if not hmac.compare_digest(self._mac.of(sequence, plain), packet[-self.more :]):
            raise _damaged()
        return plain[4:]


def _damaged() -> DisconnectError:
    return DisconnectError(Reason.MAC_ERROR, "a packet was damaged on its way")


def _key_octets(cipher: bytes) -> int:
    return int(cipher[3:6]) // 8  # aesNNN-...


def sealer(direction: Direction, keys: Keys) -> Sealer:
    """What makes packets in a direction."""
    octets = _key_octets(direction.cipher)
    return GcmSealer(octets, keys) if direction.cipher in WITH_TAG else CtrSealer(octets, direction.mac, keys)


def opener(direction: Direction, keys: Keys) -> Opener:
    """What opens packets of a direction."""
    octets = _key_octets(direction.cipher)
    if direction.cipher in WITH_TAG:
        return GcmOpener(octets, keys)
    made: Callable[[int, bytes, Keys], Any] = CtrOpener if b"-etm@" in direction.mac else OlderCtrOpener
    opens: Opener = made(octets, direction.mac, keys)
    return opens


class PacketReader:
    """Cuts packets from what arrives.

    :ivar most: octets of the longest packet that is taken.
    :ivar sequence: the number of the next packet.
    """

    def __init__(self) -> None:
        self.most = MOST_BEFORE_LOGIN
        self.sequence = 0
        self._buffer = bytearray()
        self._at = 0
        self._length = -1  # of the packet that begins at _at; -1 while it is not known
        self._opener: Opener = ClearOpener()

    def use(self, opens: Opener) -> None:
        """Open the packets from here on with other keys."""
        self._opener = opens

    def feed(self, data: bytes) -> None:
        """Take more of the stream."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def following(self) -> bytes | None:
        """The next packet from its padding's length on, or None: it is not all there.

        :raises DisconnectError: what comes is no packet.
        """
        opens, buffer, at = self._opener, self._buffer, self._at
        if self._length < 0:
            if len(buffer) - at < opens.looks_at:
                return None
            with memoryview(buffer) as view:
                length = opens.length(view[at : at + opens.looks_at])
            if not _LEAST <= length <= self.most or (length + opens.rest) % opens.unit:
                raise DisconnectError(Reason.PROTOCOL_ERROR, f"a packet of {length} octets")
            self._length = length
        end = at + 4 + self._length + opens.more
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            opened = opens.open(self.sequence, view[at:end])
        self._at = end
        self._length = -1
        self.sequence = (self.sequence + 1) % _WRAP
        padding = opened[0]
        if padding < 4 or padding + 2 > len(opened):
            raise DisconnectError(Reason.PROTOCOL_ERROR, "a packet without a payload")
        return opened


class PacketWriter:
    """Makes packets, and keeps them until they are taken all at once.

    :ivar sequence: the number of the next packet.
    :ivar made: octets that were taken so far, in all.
    :ivar waiting: octets that are there to be taken, but for what packets cost beside their payload.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.made = 0
        self.waiting = 0
        self._sealer: Sealer = ClearSealer()
        self._pieces: list[bytes] = []

    def use(self, seals: Sealer) -> None:
        """Make the packets from here on with other keys."""
        self._sealer = seals

    def add(self, head: bytes, body: Buffer = b"") -> None:
        """Make the packet whose payload is head and body."""
        self._pieces += self._sealer.seal(self.sequence, head, body)
        self.waiting += len(body)
        self.sequence = (self.sequence + 1) % _WRAP

    def take(self) -> bytes:
        """All packets that were made since the last time."""
        if not self._pieces:
            return b""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self.waiting = 0
        self.made += len(taken)
        return taken
