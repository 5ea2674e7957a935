"""Octets become packets and fields whichever way they arrive, and what is of no form says so."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp import wire
from netsvc.services.sftp.wire import BadMessageError, Fields, Packets, UnusableStreamError
from tests.services.sftp.session import packet, text, u32, u64


def _cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The packets of a stream that arrives in pieces of these sizes, and the rest at once."""
    packets = Packets()
    found = []
    for size in [*sizes, len(stream)]:
        packets.feed(stream[:size])
        stream = stream[size:]
        while (one := packets.next()) is not None:
            found.append(bytes(one))
    assert packets.waiting == 0
    return found


class PacketsTests(SynchronousTestCase):
    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.lists(st.integers(0, 100), max_size=40))
    def test_any_split(self, bodies: list[bytes], sizes: list[int]) -> None:
        """However a stream is split, its packets are the same."""
        assert _cut(b"".join(u32(len(one)) + one for one in bodies), sizes) == bodies

    def test_byte_by_byte(self) -> None:
        """A stream that comes one octet at a time has its packets, and what follows them waits."""
        packets = Packets()
        found = []
        for octet in packet(5, 1, b"abc") + b"\0\0":
            packets.feed(bytes([octet]))
            one = packets.next()
            if one is not None:
                found.append(bytes(one))
        assert found == [b"\x05\0\0\0\x01abc"]
        assert packets.waiting == 2

    def test_longest(self) -> None:
        """A packet of 256 KiB is taken; in pieces of one octet it costs no more than its length in steps."""
        body = bytes(range(256)) * 1024
        assert _cut(u32(len(body)) + body, [1] * 5000) == [body]

    def test_file_abuse_35_packet_length(self) -> None:
        """A packet of length 0, one over 256 KiB, and one of 4 GiB end the stream when their length is read."""
        for length in (0, wire.MAX_PACKET + 1, 2**32 - 1):
            packets = Packets()
            packets.feed(u32(length))
            with self.assertRaises(UnusableStreamError):
                packets.next()

    def test_without_number(self) -> None:
        """A packet of less than five octets has no number, so nothing can answer it."""
        with self.assertRaises(UnusableStreamError):
            wire.number(memoryview(b"\x05\0\0\0"))


class FieldsTests(SynchronousTestCase):
    def test_fields(self) -> None:
        """Numbers and strings come in their order; what stands behind them is ignored."""
        fields = Fields(memoryview(packet(3, 9, text("name"), u32(7), u64(2**63), b"more")[4:]))
        assert (fields.string(), fields.u32(), fields.u64()) == (b"name", 7, 2**63)

    @given(st.binary(max_size=60))
    def test_anything(self, body: bytes) -> None:
        """Whatever a packet holds, its fields are read or it is a BadMessageError."""
        view = memoryview(packet(9, 1, body)[4:])
        for read in (lambda: Fields(view).attributes(), lambda: wire.span(view), lambda: Fields(view).string()):
            with contextlib.suppress(BadMessageError):
                read()

    def test_truncated(self) -> None:
        """A packet that ends within a field is a bad message, wherever it ends."""
        whole = packet(9, 1, text("name"), u32(0x8000000F), u64(5), u32(1) * 5, u32(1), text("a"), text("b"))[4:]
        for length in range(5, len(whole)):
            fields = Fields(memoryview(whole[:length]))
            with self.assertRaises(BadMessageError):
                fields.string()
                fields.attributes()
        fields = Fields(memoryview(whole))
        assert fields.string() == b"name"
        assert fields.attributes() == wire.Attributes(size=5, modified=1, owner=True, permissions=True)

    def test_span(self) -> None:
        """Handle, offset and length of a READ; a handle of another length is read, too."""
        for handle in (b"abcd", b"", b"abcdefgh"):
            view = memoryview(packet(5, 1, text(handle), u64(2**40), u32(32768))[4:])
            assert wire.span(view) == (handle, 2**40, 32768)


class AnswerTests(SynchronousTestCase):
    def test_status(self) -> None:
        """A STATUS has a code, a text and a language."""
        found = wire.status(7, wire.Status.FAILURE, "it is so")
        assert found == packet(101, 7, u32(4), text("it is so"), text("en"))
        assert wire.ok(8) == packet(101, 8, u32(0), text(""), text(""))

    def test_others(self) -> None:
        """HANDLE, DATA, ATTRS, NAME and EXTENDED_REPLY are of the draft's form."""
        assert wire.handle(1, b"abcd") == packet(102, 1, text("abcd"))
        assert wire.data_header(2, 3) + b"abc" == packet(103, 2, text("abc"))
        encoded = wire.attributes(5, 0o100644, 10**11)
        assert encoded == struct.pack(">IQIII", 0x0D, 5, 0o100644, 2**32 - 1, 2**32 - 1)
        assert wire.attrs(3, encoded) == packet(105, 3, encoded)
        entry = wire.name_entry(b"a", b"long a", wire.NO_ATTRIBUTES)
        assert wire.names(4, 1, entry) == packet(104, 4, u32(1), text("a"), text("long a"), u32(0))
        assert wire.extended_reply(5, 1, 2) == packet(201, 5, u64(1), u64(2))
        assert wire.version([("a", b"1")]) == packet(2, 3, text("a"), text("1"))
