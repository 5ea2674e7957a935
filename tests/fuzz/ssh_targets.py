"""Targets of what a stranger sends before he has logged in by SSH, and of what is read of users' keys."""

from __future__ import annotations

import contextlib

from netsvc.services.sftp.login import authorized_keys, public_keys
from netsvc.services.sftp.ssh.algorithms import CIPHERS, KEY_EXCHANGES, MACS, choose, offer
from netsvc.services.sftp.ssh.numbers import DisconnectError
from netsvc.services.sftp.ssh.octets import MalformedError
from netsvc.services.sftp.ssh.packets import MOST_BEFORE_LOGIN, PacketReader, PacketWriter
from netsvc.services.sftp.ssh.version import LONGEST, VersionReader
from tests.fuzz.terms import Target, check, pieces

_HOST_KEYS = (b"ssh-ed25519", b"rsa-sha2-512")
_NOW = 1_700_000_000.0  # seconds since the epoch


def _read(parts: list[bytes]) -> list[bytes]:
    """The version, the packets behind it, and the words that end it."""
    version, packets, found = VersionReader(), PacketReader(), []
    try:
        for part in parts:
            rest = part if version.line is not None else version.feed(part)
            packets.feed(rest)
            while (packet := packets.following()) is not None:
                found.append(packet)
    except DisconnectError as error:
        found.append(error.text.encode())
    return [version.line or b"", *found]


def packets(data: bytes) -> None:
    """A version and packets without keys: whole or in pieces the same is read, and nothing longer than allowed."""
    found = _read([data])
    check(_read(pieces(data)) == found, data)
    check(_read([data[at : at + 1] for at in range(len(data))]) == found, data)
    check(len(found[0]) < LONGEST and all(len(one) <= MOST_BEFORE_LOGIN for one in found))


def key_exchange(data: bytes) -> None:
    """A KEXINIT: what is agreed on is offered by both sides; or words."""
    try:
        chosen = choose(data, _HOST_KEYS)
    except (DisconnectError, MalformedError):
        return
    check(chosen.key_exchange in KEY_EXCHANGES and chosen.host_key in _HOST_KEYS, chosen)
    for one in (chosen.received, chosen.sent):
        check(one.cipher in CIPHERS and one.mac in (b"", *MACS) and one.cipher in data and one.mac in data, one)
        check(one.mac or b"gcm" in one.cipher, one)


def users_keys(data: bytes) -> None:
    """A file of keys, a key as it is sent, and a signature: nobody has made one for nothing."""
    found, faults = authorized_keys.parse(data)
    check(len(found) + len(faults) <= data.count(b"\n") + 1)
    for blob, one in found.items():
        check(public_keys.read(blob) == one.key)
        one.why_not("192.0.2.1", _NOW)
        check(one.why_not(None, _NOW) if one.sources else True, one)
        for algorithm in (one.key.kind, b"rsa-sha2-256"):
            check(not one.key.verify(algorithm, data, b"", touched=one.touched, verified=one.verified), one)
    with contextlib.suppress(ValueError):
        public_keys.read(data)


def _packet(payload: bytes) -> bytes:
    writer = PacketWriter()
    writer.add(payload)
    return writer.take()


_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMV3HeJDpjrASKGLWdop5"
_OFFER = offer(_HOST_KEYS, first=True)

SSH_TARGETS: dict[str, Target] = {
    "ssh-packets": Target(
        packets,
        (b"SSH-2.0-x\r\n" + _packet(b"\x02\0\0\0\0") + _packet(b"\x05abc"), b"SSH-2.0-OpenSSH_10.0\n\0\0\0\x0c\x04"),
    ),
    "ssh-key-exchange": Target(key_exchange, (_OFFER[1:],)),
    "ssh-users-keys": Target(
        users_keys,
        (
            _KEY + b" somebody\n",
            b'from="192.0.2.0/24,!192.0.2.9,fe80:*",expiry-time="20271231Z",restrict ' + _KEY + b"\n# no key\n",
            b'command="internal-sftp",no-touch-required,verify-required ' + _KEY,
            b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32)),
        ),
    ),
}
