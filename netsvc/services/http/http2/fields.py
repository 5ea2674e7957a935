"""Header fields of answers as HPACK (RFC 7541), with the static table only. No I/O, no Twisted.

Nothing is added to a dynamic table: what is encoded once is right on every connection, so that whole heads are kept
ready, and a secret in an answer cannot be guessed by what compresses well (RFC 7541 7.1). nginx does the same.

    literal without indexing:  0000 iiii (name by index) | 0000 0000 name value   6.2.2
    literal never indexed:     0001 iiii                 | 0001 0000 name value   6.2.3
    indexed:                   1iii iiii                                          6.1
    string:                    H=0, length with a 7-bit prefix, octets            5.2
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from hpack.table import HeaderTable

NO_TABLE = b"\x20"  # dynamic table size update to 0 (RFC 7541 6.3); opens the first block of a connection

_NAMES: dict[bytes, int] = {}
_WHOLE: dict[tuple[bytes, bytes], bytes] = {}
for _number, (_known, _value) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _NAMES.setdefault(_known, _number)
    if _value:
        _WHOLE[_known, _value] = bytes((0x80 | _number,))

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OF_A_CONNECTION = frozenset(  # RFC 9113 8.2.2
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_SECRET = frozenset((b"set-cookie", b"authorization", b"proxy-authorization", b"www-authenticate"))


def _integer(value: int, bits: int, first: int) -> bytes:
    """An integer with a prefix of so many bits, in an octet whose other bits are given (RFC 7541 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    octets = bytearray((first | most,))
    value -= most
    while value >= 0x80:
        octets.append(0x80 | (value & 0x7F))
        value >>= 7
    octets.append(value)
    return bytes(octets)


@lru_cache(maxsize=512)
def _name(name: bytes) -> bytes:
    """How a literal field begins: the representation and the name, checked; b"" for one that is left out."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a header field cannot be sent: {name!r}")
    lower = name.lower()
    if lower in _OF_A_CONNECTION:
        return b""
    first = 0x10 if lower in _SECRET else 0
    index = _NAMES.get(lower)
    if index is not None:
        return _integer(index, 4, first)
    return bytes((first,)) + _integer(len(lower), 7, 0) + lower


def field(name: bytes, value: bytes) -> bytes:
    """One field; b"" for one that says something of an HTTP/1 connection.

    :raises ValueError: a name or value that HTTP does not allow.
    """
    if _BAD_IN_VALUE.search(value):
        raise ValueError(f"a header field cannot be sent: {name!r}")
    begin = _name(name)
    if not begin:
        return b""
    value = value.strip(b" \t")  # RFC 9113 8.2.1
    length = len(value)
    return begin + (bytes((length,)) if length < 0x7F else _integer(length, 7, 0)) + value


def fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Several fields.

    :raises ValueError: see :func:`field`.
    """
    return b"".join([field(name, value) for name, value in headers])


def status_field(status: int) -> bytes:
    """The pseudo-field of an answer."""
    digits = b"%d" % status
    known = _WHOLE.get((b":status", digits))
    return known or _integer(_NAMES[b":status"], 4, 0) + b"\x03" + digits
