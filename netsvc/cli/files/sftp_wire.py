"""The client's half of SFTP version 3 (draft-ietf-secsh-filexfer-02) without I/O: requests out, answers in.

Requests are numbered; an answer is known by its number and may come in any order.
"""

from __future__ import annotations

import stat
from struct import Struct

from attrs import frozen

from netsvc.services.sftp.wire import VERSION, BadMessageError, Fields, Type, number

PIECE = 32 * 1024  # octets of data in one READ or WRITE that every server takes (section 3 of the draft)
LARGEST_PIECE = 128 * 1024  # where the server says in limits@openssh.com that it takes so many

_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 0x01, 0x02, 0x04, 0x08, 0x80000000
_U32 = Struct(">I")
_HEAD = Struct(">IBI")
_OFFSET = Struct(">Q")
_MOST_NAMES = 100_000  # in one NAME; the packet ends long before


@frozen
class Attributes:
    """What a server says of a file; what it does not say is None.

    :param size: octets.
    :param mode: as in stat(2).
    :param modified: seconds since the epoch.
    """

    size: int | None = None
    mode: int | None = None
    modified: int | None = None

    @property
    def directory(self) -> bool:
        """Whether it is one."""
        return self.mode is not None and stat.S_ISDIR(self.mode)


@frozen
class Greeting:
    """The answer to the first packet."""

    extensions: dict[str, bytes]


@frozen
class StatusAnswer:
    """How it went."""

    code: int
    text: str


@frozen
class Answer:
    """Anything else that a server answers.

    :param value: a handle or data (bytes), attributes, names, or the fields of an extended reply.
    """

    value: bytes | Attributes | list[tuple[bytes, Attributes]]


def _string(text: bytes) -> bytes:
    return _U32.pack(len(text)) + text


def hello() -> bytes:
    """The first packet."""
    return _U32.pack(5) + bytes((Type.INIT,)) + _U32.pack(VERSION)


def request(kind: Type, identity: int, *fields: bytes | int) -> bytes:
    """One request. Fields are strings, and numbers of four octets."""
    body = b"".join(_U32.pack(one) if isinstance(one, int) else _string(one) for one in fields)
    return _HEAD.pack(5 + len(body), kind, identity) + body


def open_request(identity: int, path: bytes, flags: int) -> bytes:
    """OPEN, with the attributes left to the server."""
    return request(Type.OPEN, identity, path, flags, 0)


def read_request(identity: int, handle: bytes, offset: int, length: int) -> bytes:
    """READ."""
    body = _string(handle) + _OFFSET.pack(offset) + _U32.pack(length)
    return _HEAD.pack(5 + len(body), Type.READ, identity) + body


def write_head(identity: int, handle: bytes, offset: int, length: int) -> bytes:
    """What stands before the octets of a WRITE."""
    body = _string(handle) + _OFFSET.pack(offset) + _U32.pack(length)
    return _HEAD.pack(5 + len(body) + length, Type.WRITE, identity) + body


def _attributes(fields: Fields) -> Attributes:
    flags = fields.u32()
    size = fields.u64() if flags & _SIZE else None
    if flags & _OWNER:
        fields.u32()
        fields.u32()
    mode = fields.u32() if flags & _PERMISSIONS else None
    modified = None
    if flags & _TIMES:
        fields.u32()  # of access
        modified = fields.u32()
    if flags & _EXTENDED:
        for _ in range(min(fields.u32(), _MOST_NAMES)):
            fields.string()
            fields.string()
    return Attributes(size, mode, modified)


def answer(packet: memoryview) -> tuple[int, Greeting | StatusAnswer | Answer]:
    """One packet of a server: (the number of the request, what it says).

    :raises BadMessageError: it is not of its form.
    """
    if packet[0] == Type.VERSION:
        return 0, _greeting(packet)
    kind, identity = number(packet)
    fields = Fields(packet)
    if kind == Type.STATUS:
        code = fields.u32()
        text = fields.string().decode("utf-8", "replace") if len(packet) > 9 else ""
        return identity, StatusAnswer(code, text)
    if kind in (Type.HANDLE, Type.DATA):
        return identity, Answer(fields.string())
    if kind == Type.ATTRS:
        return identity, Answer(_attributes(fields))
    if kind == Type.NAME:
        names = []
        for _ in range(min(fields.u32(), _MOST_NAMES)):
            name = fields.string()
            fields.string()  # the line that ls -l would print
            names.append((name, _attributes(fields)))
        return identity, Answer(names)
    if kind == Type.EXTENDED_REPLY:
        return identity, Answer(bytes(packet[5:]))
    raise BadMessageError(f"a packet of type {kind}")


def _greeting(packet: memoryview) -> Greeting:
    fields = Fields(packet)
    if len(packet) < 5 or _U32.unpack_from(packet, 1)[0] < VERSION:
        raise BadMessageError("a version before 3")
    found: dict[str, bytes] = {}
    left = len(packet) - 5
    while left > 0:
        name, value = fields.string(), fields.string()
        left -= 8 + len(name) + len(value)
        found[name.decode("latin-1")] = value
    return Greeting(found)


def largest_piece(limits: bytes) -> int:
    """Octets of data in one READ or WRITE, of the reply to limits@openssh.com."""
    if len(limits) < 24:
        return PIECE
    reads, writes = _OFFSET.unpack_from(limits, 8)[0], _OFFSET.unpack_from(limits, 16)[0]
    return max(PIECE, min(LARGEST_PIECE, reads or LARGEST_PIECE, writes or LARGEST_PIECE))
