"""SFTP version 3 (draft-ietf-secsh-filexfer-02) without I/O: octets to requests, answers to octets, and the limits.

A packet is a length of four octets, a type, and for all but INIT and VERSION a request's number, which its answer
repeats. Requests are taken one at a time with :meth:`Packets.next`, so that what waits is octets, which are
bounded by the window that the peer was granted, not objects.

READ and WRITE carry nearly all traffic. A handle is always four octets here, so both begin alike, and
:func:`span` reads them with one struct.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from struct import Struct

from attrs import frozen

VERSION = 3
MAX_PACKET = 256 * 1024  # octets behind the length; what OpenSSH's server takes, and tells in limits@openssh.com
MAX_SPAN = MAX_PACKET - 1024  # octets of data in one READ or WRITE; as OpenSSH's server, which leaves room for headers
MAX_OFFSET = 2**63 - 1  # octets; what the kernel's off_t takes

# An extension with no request of its own, only announced: what is written has its name from CLOSE on, all at once, and
# durably. A client need not write to another name first, and rename; who may only upload could not.
PUBLISH_AT_CLOSE = "publish-at-close@netsvc"


class Type(IntEnum):
    """The types of packets, section 3 of the draft."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """The codes of STATUS, section 7 of the draft."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


# Flags of OPEN, section 6.3.
READ = 0x01
WRITE = 0x02
APPEND = 0x04
CREATE = 0x08
TRUNCATE = 0x10
EXCLUSIVE = 0x20

# Flags of attributes, section 5.
_SIZE = 0x01
_OWNER = 0x02
_PERMISSIONS = 0x04
_TIMES = 0x08
_EXTENDED = 0x80000000

_SPAN = Struct(">BII4sQI")  # READ and WRITE up to the data, with a handle of four octets
_NUMBER = Struct(">BI")
_ATTRIBUTES = Struct(">IQIII")  # size, permissions and times are told
_DATA = Struct(">IBII")
_STATUS = Struct(">IBII")
_HEAD = Struct(">IBI")
_U32 = Struct(">I")
_U64 = Struct(">Q")


class UnusableStreamError(Exception):
    """No packet can be found in what the peer sends any more; the text says why."""


class BadMessageError(Exception):
    """One request is not of its form; the text says how. The stream goes on behind it."""


class Packets:
    """Octets as they arrive, packets as they are wanted."""

    def __init__(self) -> None:
        self._data = memoryview(b"")
        self._position = 0
        self._later: list[bytes] = []
        self._have = 0
        self._need = 4

    @property
    def waiting(self) -> int:
        """Octets that no packet was made of yet."""
        return self._have

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._later.append(data)
        self._have += len(data)

    def next(self) -> memoryview | None:
        """The next packet without its length, or None: it is not here as a whole.

        :raises UnusableStreamError: a length of 0 or over MAX_PACKET.
        """
        if self._have < self._need:
            return None
        if len(self._data) - self._position < self._need:
            self._join()
        if self._need == 4:
            length = _U32.unpack_from(self._data, self._position)[0]
            if not 0 < length <= MAX_PACKET:
                raise UnusableStreamError(f"a packet of {length} octets; 1 to {MAX_PACKET} are allowed")
            self._need = 4 + length
            return self.next()
        start, end = self._position + 4, self._position + self._need
        self._position = end
        self._have -= self._need
        self._need = 4
        return self._data[start:end]

    def _join(self) -> None:
        """All in one piece. It happens once for each length and each packet, so octets are copied twice at most."""
        rest = self._data[self._position :]
        if not rest and len(self._later) == 1:
            self._data = memoryview(self._later[0])
        else:
            self._data = memoryview(b"".join([rest, *self._later]))
        self._position = 0
        self._later.clear()


class Fields:
    """The fields of one request, taken in their order."""

    def __init__(self, packet: memoryview) -> None:
        self._packet = packet
        self._position = 5  # behind type and number

    def u32(self) -> int:
        """Four octets.

        :raises BadMessageError: the packet ends before; so do all of these.
        """
        return self._number(_U32)

    def u64(self) -> int:
        """Eight octets."""
        return self._number(_U64)

    def _number(self, form: Struct) -> int:
        try:
            (value,) = form.unpack_from(self._packet, self._position)
        except struct.error:
            raise BadMessageError("the packet ends within a number") from None
        self._position += form.size
        return int(value)

    def string(self) -> bytes:
        """A string with its length in front."""
        length = self.u32()
        end = self._position + length
        if end > len(self._packet):
            raise BadMessageError("a string is longer than its packet")
        text = bytes(self._packet[self._position : end])
        self._position = end
        return text

    def attributes(self) -> Attributes:
        """What a peer wants a file to be, section 5."""
        flags = self.u32()
        size = self.u64() if flags & _SIZE else None
        if flags & _OWNER:
            self.u32()
            self.u32()
        if flags & _PERMISSIONS:
            self.u32()
        modified = None
        if flags & _TIMES:
            self.u32()  # the time of access
            modified = self.u32()
        if flags & _EXTENDED:
            for _ in range(self.u32()):
                self.string()
                self.string()
        return Attributes(size, modified, bool(flags & _OWNER), bool(flags & _PERMISSIONS))


@frozen
class Attributes:
    """What SETSTAT asks for.

    :param size: octets, or None.
    :param modified: seconds since the epoch, or None.
    :param owner: whether an owner and a group were named.
    :param permissions: whether permissions were.
    """

    size: int | None
    modified: int | None
    owner: bool
    permissions: bool


def number(packet: memoryview) -> tuple[int, int]:
    """The type of a packet, and its request's number; for INIT, the version.

    :raises UnusableStreamError: it is too short to have a number, so that it cannot be answered.
    """
    if len(packet) < 5:
        raise UnusableStreamError("a packet without a number")
    kind, request = _NUMBER.unpack_from(packet)
    return kind, request


def span(packet: memoryview) -> tuple[bytes, int, int]:
    """Handle, offset and length of a READ or a WRITE; the data of a WRITE follow at :data:`SPAN_DATA`.

    :raises BadMessageError: the packet is too short.
    """
    try:
        _, _, handle_length, handle, offset, length = _SPAN.unpack_from(packet)
    except struct.error:
        handle_length = 0
    if handle_length != 4:  # none of ours: find out whether it is a bad handle or a bad packet
        fields = Fields(packet)
        return fields.string(), fields.u64(), fields.u32()
    return handle, offset, length


SPAN_DATA = _SPAN.size  # octets in front of a WRITE's data


# -- answers ----------------------------------------------------------------------------------------------------------


def _packet(kind: Type, request: int, body: bytes) -> bytes:
    return _HEAD.pack(5 + len(body), kind, request) + body


def _string(text: bytes) -> bytes:
    return _U32.pack(len(text)) + text


def version(extensions: Iterable[tuple[str, bytes]]) -> bytes:
    """The answer to INIT."""
    body = b"".join(_string(name.encode("ascii")) + _string(value) for name, value in extensions)
    return _packet(Type.VERSION, VERSION, body)


def status(request: int, code: Status, text: str = "") -> bytes:
    """A STATUS with a text for people, in English."""
    message = text.encode("utf-8", "replace")
    return _packet(Type.STATUS, request, _U32.pack(code) + _string(message) + _string(b"en"))


def ok(request: int) -> bytes:
    """The STATUS that all went well."""
    return _STATUS.pack(17, Type.STATUS, request, Status.OK) + b"\0\0\0\0\0\0\0\0"


def handle(request: int, value: bytes) -> bytes:
    """A HANDLE."""
    return _packet(Type.HANDLE, request, _string(value))


def data_header(request: int, length: int) -> bytes:
    """What stands before the octets of a DATA."""
    return _DATA.pack(9 + length, Type.DATA, request, length)


def attributes(size: int, permissions: int, modified: int) -> bytes:
    """The attributes of a file: size in octets, mode, time of change in seconds since the epoch (also of access)."""
    modified = min(max(modified, 0), 0xFFFFFFFF)
    return _ATTRIBUTES.pack(_SIZE | _PERMISSIONS | _TIMES, size, permissions, modified, modified)


NO_ATTRIBUTES = _U32.pack(0)


def attrs(request: int, encoded: bytes) -> bytes:
    """An ATTRS."""
    return _packet(Type.ATTRS, request, encoded)


def name_entry(name: bytes, long_name: bytes, encoded: bytes) -> bytes:
    """One entry of a NAME."""
    return b"".join((_U32.pack(len(name)), name, _U32.pack(len(long_name)), long_name, encoded))


def names(request: int, count: int, entries: bytes) -> bytes:
    """A NAME with so many entries."""
    return _packet(Type.NAME, request, _U32.pack(count) + entries)


def extended_reply(request: int, *numbers: int) -> bytes:
    """An EXTENDED_REPLY that holds numbers of eight octets: limits@openssh.com, statvfs@openssh.com."""
    return _packet(Type.EXTENDED_REPLY, request, b"".join(_U64.pack(one) for one in numbers))
