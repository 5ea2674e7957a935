"""Which algorithms are offered, and which of them two sides use (RFC 4253 7.1, RFC 8308, strict key exchange). No I/O.

Left out, because they are broken or suspected to be: SHA-1, CBC, ssh-rsa, ssh-dss, and the curves of NIST for the key
exchange; a user's key may be on one, that is his choice. Compression is left out, because before the login it is a hole
and behind it rarely a gain.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from attrs import frozen

from netsvc.services.sftp.ssh.numbers import DisconnectError, Message, Reason
from netsvc.services.sftp.ssh.octets import Octets, name_list

KEY_EXCHANGES = (b"mlkem768x25519-sha256", b"curve25519-sha256", b"curve25519-sha256@libssh.org")
CIPHERS = (b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com", b"aes256-ctr", b"aes192-ctr", b"aes128-ctr")
# Those that authenticate what is encrypted come first; libssh2 before 1.11, so many a curl, knows only the others.
MACS = (b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-512-etm@openssh.com", b"hmac-sha2-256", b"hmac-sha2-512")
COMPRESSIONS = (b"none",)
USER_KEYS = (
    b"ssh-ed25519",
    b"sk-ssh-ed25519@openssh.com",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)
WITH_TAG = frozenset({b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com"})  # which need no MAC beside them

_EXTENSIONS_OF_SERVER = b"ext-info-s"
_EXTENSIONS_OF_CLIENT = b"ext-info-c"
_STRICT_SERVER = b"kex-strict-s-v00@openssh.com"
_STRICT_CLIENT = b"kex-strict-c-v00@openssh.com"
_COOKIE = 16  # octets


@frozen
class Direction:
    """What protects the packets of one direction.

    :param mac: empty where the cipher has a tag of its own.
    """

    cipher: bytes
    mac: bytes


@frozen
class Chosen:
    """What two sides agreed on.

    :param extensions: whether the client understands EXT_INFO.
    :param strict: whether the client asks for a strict key exchange.
    :param wrong_guess: whether the client has sent the first message of another key exchange, to be ignored.
    """

    key_exchange: bytes
    host_key: bytes
    received: Direction
    sent: Direction
    extensions: bool
    strict: bool
    wrong_guess: bool


def offer(host_keys: Sequence[bytes], *, first: bool) -> bytes:
    """Our KEXINIT, with its number.

    :param host_keys: algorithms that there are keys for.
    :param first: whether it begins the connection.
    """
    marks = (_EXTENSIONS_OF_SERVER, _STRICT_SERVER) if first else ()
    return b"".join(
        (
            bytes((Message.KEXINIT,)),
            secrets.token_bytes(_COOKIE),
            name_list(KEY_EXCHANGES + marks),
            name_list(tuple(host_keys)),
            name_list(CIPHERS) * 2,
            name_list(MACS) * 2,
            name_list(COMPRESSIONS) * 2,
            name_list(()) * 2,
            bytes(5),
        )
    )


def choose(theirs: bytes, host_keys: Sequence[bytes]) -> Chosen:
    """What the client's KEXINIT and ours agree on.

    :param theirs: without its number.
    :raises DisconnectError: on nothing.
    :raises MalformedError: it is none.
    """
    fields = Octets(theirs, _COOKIE)
    key_exchanges, keys = fields.names(), fields.names()
    ciphers = fields.names(), fields.names()
    macs = fields.names(), fields.names()
    compressions = fields.names(), fields.names()
    fields.names(), fields.names()  # languages
    guessed = fields.boolean()
    fields.uint32()
    fields.end()
    key_exchange = _first(key_exchanges, KEY_EXCHANGES, "key exchange")
    host_key = _first(keys, host_keys, "host key")
    found = []
    for of_ciphers, of_macs, of_compressions in zip(ciphers, macs, compressions, strict=True):
        cipher = _first(of_ciphers, CIPHERS, "cipher")
        found.append(Direction(cipher, b"" if cipher in WITH_TAG else _first(of_macs, MACS, "MAC")))
        _first(of_compressions, COMPRESSIONS, "compression")
    return Chosen(
        key_exchange=key_exchange,
        host_key=host_key,
        received=found[0],
        sent=found[1],
        extensions=_EXTENSIONS_OF_CLIENT in key_exchanges,
        strict=_STRICT_CLIENT in key_exchanges,
        wrong_guess=guessed and (key_exchanges[0] != KEY_EXCHANGES[0] or keys[0] != host_keys[0]),
    )


def _first(theirs: Sequence[bytes], ours: Sequence[bytes], what: str) -> bytes:
    """The first of theirs that is one of ours."""
    for name in theirs:
        if name in ours:
            return name
    raise DisconnectError(Reason.KEY_EXCHANGE_FAILED, f"no {what} in common")
