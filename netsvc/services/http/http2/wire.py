"""Cuts what an HTTP/2 peer sends into frames, and keeps h2 to what a server of many needs. No I/O, no Twisted.

A frame's length is judged by its first octets, before any of it is kept; a head that is spread over frames is bounded
in octets and in frames. What passes is given to h2 one whole frame at a time, so that events are acted upon in order.

    frame = length (24) type (8) flags (8) R stream (31) payload      RFC 9113 4.1
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings

from netsvc.services.http.http2.fields import NO_TABLE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = 9  # octets
MAX_FRAME = 1 << 14  # octets of payload; the least that may be offered, and what is, RFC 9113 4.2
MAX_CONTINUATIONS = 32  # frames of one head; 16 KiB each carry far more than any limit lets pass
FIRST_WINDOW = 65535  # octets, RFC 9113 6.9.2

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

_FRAME_HEAD = struct.Struct(">HBBBL")
_SETTING = struct.Struct(">HL")


class Frame(NamedTuple):
    """One frame.

    :param octets: all of it, head included.
    """

    kind: int
    flags: int
    stream: int
    octets: bytes


class FrameError(Exception):
    """The peer breaks the framing: the connection ends.

    :param code: an error code of RFC 9113 7.
    :param reason: one phrase for the log.
    :param told: h2 has written a GOAWAY already.
    """

    def __init__(self, code: int, reason: str, *, told: bool = False) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.told = told


def frame_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The head of a frame."""
    return _FRAME_HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def goaway(last: int, code: int) -> bytes:
    """A GOAWAY frame (RFC 9113 6.8)."""
    return frame_head(8, GOAWAY, 0, 0) + struct.pack(">LL", last, code)


class FrameReader:
    """Octets in, whole frames out, the same however they were cut.

    :param most: octets that the encoded fields of one message may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = b""
        self._at = 0
        self._preface = True
        self._settled = False  # SETTINGS came first
        self._head_of = 0  # the stream whose head is not complete
        self._head_octets = 0
        self._head_frames = 0

    @property
    def in_head(self) -> bool:
        """Whether a frame of a head, or the first of the connection, has begun and its end has not come."""
        if self._preface or not self._settled or self._head_of:
            return True
        rest = len(self._buffer) - self._at
        return bool(rest) and not (rest > 3 and self._buffer[self._at + 3] == DATA)

    def begun_body(self) -> tuple[int, int]:
        """(stream, octets so far) of a DATA frame that is not whole; (0, 0) when there is none."""
        rest = len(self._buffer) - self._at
        if rest <= FRAME_HEAD or self._buffer[self._at + 3] != DATA:
            return 0, 0
        return _FRAME_HEAD.unpack_from(self._buffer, self._at)[4] & 0x7FFFFFFF, rest - FRAME_HEAD

    def receive(self, data: bytes) -> None:
        """Add what came."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next(self) -> Frame | None:
        """The next whole frame.

        :raises FrameError: the connection is broken; nothing more is to be read.
        """
        buffer, at = self._buffer, self._at
        if self._preface:
            begin = buffer[: len(PREFACE)]
            if not PREFACE.startswith(begin):
                raise FrameError(ErrorCodes.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(begin) < len(PREFACE):
                return None
            self._preface = False
            at = self._at = len(PREFACE)
        if len(buffer) - at < FRAME_HEAD:
            return None
        high, low, kind, flags, stream = _FRAME_HEAD.unpack_from(buffer, at)
        length = high << 8 | low
        stream &= 0x7FFFFFFF
        self._check(length, kind, flags, stream)
        end = at + FRAME_HEAD + length
        if len(buffer) < end:
            return None
        self._at = end
        self._count(length, kind, flags, stream)
        return Frame(kind, flags, stream, buffer[at:end])

    def _check(self, length: int, kind: int, flags: int, stream: int) -> None:
        if length > MAX_FRAME:
            raise FrameError(ErrorCodes.FRAME_SIZE_ERROR, "a frame is too long")
        if not self._settled and (kind != SETTINGS or flags & 1):
            raise FrameError(ErrorCodes.PROTOCOL_ERROR, "SETTINGS do not come first")
        if self._head_of:
            if kind != CONTINUATION or stream != self._head_of:
                raise FrameError(ErrorCodes.PROTOCOL_ERROR, "a frame within a head")
            if self._head_frames >= MAX_CONTINUATIONS or self._head_octets + length > self._most:
                raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, "a head has too many frames")
        elif kind == CONTINUATION:
            raise FrameError(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION of nothing")
        elif kind == PRIORITY and (not stream or length != 5):  # RFC 9113 6.3
            code = ErrorCodes.FRAME_SIZE_ERROR if stream else ErrorCodes.PROTOCOL_ERROR
            raise FrameError(code, "malformed PRIORITY")
        elif kind == GOAWAY and (stream or length < 8):  # RFC 9113 6.8
            code = ErrorCodes.PROTOCOL_ERROR if stream else ErrorCodes.FRAME_SIZE_ERROR
            raise FrameError(code, "malformed GOAWAY")
        elif kind == HEADERS and length > self._most:
            raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, "a head is too long")

    def _count(self, length: int, kind: int, flags: int, stream: int) -> None:
        self._settled = True
        if kind in (HEADERS, CONTINUATION):
            if flags & END_HEADERS:
                self._head_of = self._head_octets = self._head_frames = 0
            else:
                self._head_of = stream
                self._head_octets += length
                self._head_frames += 1


class StaticEncoder:
    """Stands in for hpack's encoder: the static table only, see :mod:`.fields`."""

    def __init__(self) -> None:
        self.header_table_size = 0  # h2 sets it to what the peer allows; nothing is put there
        self._first = NO_TABLE

    def first(self) -> bytes:
        """What the next block of the connection begins with."""
        begin, self._first = self._first, b""
        return begin

    def encode(self, headers: Any) -> bytes:
        """As hpack.Encoder.encode, of fields that are encoded already: (b"", octets) each."""
        return self.first() + b"".join([octets for _, octets in headers])


def _nothing(*_: object) -> None:
    """Content-Length is judged where an error of it costs one stream, not here."""


class ServerConnection(H2Connection):
    """h2's view of one connection.

    Settings are sent by :meth:`open`, since the number of streams is enforced by who knows what their handlers do.

    :param streams: how many the peer is told it may have.
    :param window: octets of a stream's body that may be on their way.
    :param list_size: octets that all fields of a message may have, as RFC 9113 6.5.2 counts them.
    """

    MAX_CLOSED_STREAMS = 256

    def __init__(self, *, streams: int, window: int, list_size: int) -> None:
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,  # see head.py
                normalize_inbound_headers=False,
                validate_outbound_headers=False,  # see fields.py
                normalize_outbound_headers=False,
            )
        )
        offered = {
            SettingCodes.MAX_CONCURRENT_STREAMS: streams,
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.MAX_HEADER_LIST_SIZE: list_size,
        }
        self.local_settings = Settings(
            client=False,
            initial_values={
                **offered,
                SettingCodes.MAX_CONCURRENT_STREAMS: 2**31 - 1,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            },
        )
        self._offered = offered
        self.decoder.max_header_list_size = 2 * list_size  # between the two the answer is 431
        self.encoder: Any = StaticEncoder()

    def open(self, window: int) -> bytes:
        """The server's preface, with the window of the connection as a whole."""
        body = b"".join(_SETTING.pack(code, value) for code, value in self._offered.items())
        self.receive_data(PREFACE)  # which the reader has checked, or will
        self.increment_flow_control_window(window - FIRST_WINDOW)
        return frame_head(len(body), SETTINGS, 0, 0) + body + self.data_to_send()

    def _begin_new_stream(self, stream_id: int, allowed_ids: Any) -> Any:
        stream: Any = super()._begin_new_stream(stream_id, allowed_ids)
        stream._initialize_content_length = _nothing
        stream._track_content_length = _nothing
        return stream
