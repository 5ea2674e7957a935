"""Packets: every cipher there and back, in any pieces; damaged and impossible ones."""

from __future__ import annotations

import itertools
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.ssh.algorithms import CIPHERS, MACS, WITH_TAG, Direction
from netsvc.services.sftp.ssh.numbers import DisconnectError, Reason
from netsvc.services.sftp.ssh.packets import MOST_BEFORE_LOGIN, Keys, PacketReader, PacketWriter, opener, sealer

KEYS = Keys(bytes(range(64)), bytes(range(64, 128)), bytes(range(128, 192)))
DIRECTIONS = [Direction(cipher, b"" if cipher in WITH_TAG else mac) for cipher, mac in itertools.product(CIPHERS, MACS)]
PAYLOADS = [b"\x05", b"\x5e" + b"a" * 15, b"\x5e" + os.urandom(1000), b"\x02" * 32000]


def pair(direction: Direction | None) -> tuple[PacketWriter, PacketReader]:
    """A writer, and a reader of what it writes; None is before the keys are there."""
    writer, reader = PacketWriter(), PacketReader()
    if direction is not None:
        writer.use(sealer(direction, KEYS))
        reader.use(opener(direction, KEYS))
    return writer, reader


def all_of(reader: PacketReader) -> list[bytes]:
    """The payloads that are there."""
    found = []
    while (packet := reader.following()) is not None:
        found.append(packet[1 : len(packet) - packet[0]])
    return found


class PacketTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """With every cipher and MAC a payload comes out as it went in: whole, octet by octet, with more behind it."""
        for direction in (None, *DIRECTIONS):
            writer, reader = pair(direction)
            for payload in PAYLOADS:
                writer.add(payload[:1], payload[1:])
            octets = writer.take()
            reader.feed(octets)
            self.assertEqual(all_of(reader), PAYLOADS)
            writer, reader = pair(direction)
            for payload in PAYLOADS[:3]:
                writer.add(payload[:1], memoryview(payload)[1:])
            found = []
            for one in writer.take():
                reader.feed(bytes((one,)))
                found += all_of(reader)
            self.assertEqual(found, PAYLOADS[:3])
            self.assertEqual(reader.sequence, 3)

    def test_padding(self) -> None:
        """What is sent has whole blocks, whatever its length: RFC 4253 6."""
        for direction in DIRECTIONS:
            block, more = 16, {b"": 16, MACS[0]: 32, MACS[1]: 64, MACS[2]: 32, MACS[3]: 64}[direction.mac]
            clear = 4 if direction.mac in {b"", *MACS[:2]} else 0
            for length in range(1, 40):
                writer, reader = pair(direction)
                writer.add(b"x" * length)
                octets = writer.take()
                self.assertEqual((len(octets) - more - clear) % block, 0)
                reader.feed(octets)
                packet = reader.following()
                assert packet is not None
                self.assertGreaterEqual(packet[0], 4)

    def test_damage(self) -> None:
        """One bit that fell over behind the length is found in any place of a packet, with every cipher."""
        for direction in DIRECTIONS:
            for at in (5, 16, 20, 40, -1):
                writer, reader = pair(direction)
                writer.add(b"a message of some length that is sent")
                octets = bytearray(writer.take())
                octets[at] ^= 1
                reader.feed(bytes(octets))
                with self.assertRaises(DisconnectError) as caught:
                    reader.following()
                self.assertEqual(caught.exception.reason, Reason.MAC_ERROR)

    def test_order(self) -> None:
        """A packet that is left out, or comes twice, is found."""
        for direction in DIRECTIONS:
            writer, reader = pair(direction)
            writer.add(b"first, which is lost")
            writer.take()
            writer.add(b"second")
            reader.feed(writer.take())
            with self.assertRaises(DisconnectError):
                reader.following()

    def test_file_abuse_35_lengths(self) -> None:
        """A length of 0, of 4 GiB, over the limit or off the block is refused when its four octets are there."""
        for length in (0, 1, 4, 13, MOST_BEFORE_LOGIN + 1, 0x7FFFFFFF, 0xFFFFFFFF):
            for direction in (None, *(one for one in DIRECTIONS if one.mac in {b"", *MACS[:2]})):
                _, reader = pair(direction)
                reader.feed(length.to_bytes(4, "big"))
                with self.assertRaises(DisconnectError) as caught:
                    reader.following()
                self.assertEqual(caught.exception.reason, Reason.PROTOCOL_ERROR)

    def test_padding_longer_than_the_packet(self) -> None:
        """A packet that is all padding, or has more than that, is refused."""
        for padding in (0, 3, 11, 12, 255):
            _, reader = pair(None)
            reader.feed(b"\0\0\0\x0c" + bytes((padding,)) + bytes(11))
            with self.assertRaises(DisconnectError):
                reader.following()

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.sampled_from([None, *DIRECTIONS]), st.integers(1, 300))
    def test_nonsense(self, data: bytes, direction: Direction | None, size: int) -> None:
        """Whatever comes, it is a packet, not all there, or refused."""
        _, reader = pair(direction)
        try:
            for at in range(0, len(data), size):
                reader.feed(data[at : at + size])
                all_of(reader)
        except DisconnectError:
            pass
