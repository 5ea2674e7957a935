"""PROXY protocol headers, whole, byte by byte, with trailing data, and wrong in every way."""

from __future__ import annotations

import ipaddress
import itertools
import socket
import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.proxy_header import (
    MAX_V1,
    MAX_V2_BODY,
    ProxyHeader,
    ProxyHeaderError,
    ProxyHeaderParser,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.1", 443)
CLIENT6, SERVER6 = ("2001:db8::1", 1), ("2001:db8::2", 65535)
any_case = settings(derandomize=True, deadline=None)


def v2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    """A version 2 header."""
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body) if length is None else length) + body


def addresses(family: int, *ends: tuple[str, int]) -> bytes:
    """The address block of a version 2 header."""
    return b"".join(socket.inet_pton(family, host) for host, _ in ends) + struct.pack(
        "!HH", *(port for _, port in ends)
    )


TCP4 = v2(1, 0x11, addresses(socket.AF_INET, CLIENT, SERVER))
TCP6 = v2(1, 0x21, addresses(socket.AF_INET6, CLIENT6, SERVER6))
GOOD = {
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n": (CLIENT, SERVER),
    b"PROXY TCP6 2001:db8::1 2001:DB8::2 1 65535\r\n": (CLIENT6, SERVER6),
    b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 56324 443\r\n": (CLIENT, SERVER),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": (("255.255.255.255", 65535),) * 2,
    b"PROXY UNKNOWN\r\n": (None, None),
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": (None, None),
    b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n": (None, None),
    TCP4: (CLIENT, SERVER),
    TCP6: (CLIENT6, SERVER6),
    v2(1, 0x21, addresses(socket.AF_INET6, ("::ffff:192.0.2.1", 56324), SERVER6)): (CLIENT, SERVER6),
    v2(1, 0x11, addresses(socket.AF_INET, CLIENT, SERVER) + b"\x04\x00\x03abc"): (CLIENT, SERVER),
    v2(1, 0x11, addresses(socket.AF_INET, CLIENT, SERVER) + bytes(MAX_V2_BODY - 12)): (CLIENT, SERVER),
    v2(0, 0x00, b""): (None, None),
    v2(0, 0x11, addresses(socket.AF_INET, CLIENT, SERVER)): (None, None),
    v2(0, 0xFF, b"whatever"): (None, None),
    v2(1, 0x00, b""): (None, None),
    v2(1, 0x00, b"tlvs"): (None, None),
    v2(1, 0x31, bytes(216)): (None, None),
    v2(1, 0x32, bytes(220)): (None, None),
}
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
BAD = (
    b"GET / HTTP/1.1\r\n",
    b"PROXY\r\n",
    b"PROXY  TCP4\r\n",
    b"proxy TCP4",
    b"\x16\x03\x01",
    b"\r\n\r\n\x00\r\nQUITX",
    b"PROXY TCP5 192.0.2.1 198.51.100.1 56324 443\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
    LINE.replace(b" 443", b" 443 "),
    LINE.replace(b" 443", b" 443 1"),
    LINE.replace(b" 443", b"  443"),
    LINE.replace(b" 443", b"\t443"),
    LINE.replace(b" 443", b" 0443"),
    LINE.replace(b" 443", b" 65536"),
    LINE.replace(b" 443", b" 999999"),
    LINE.replace(b" 443", b" -1"),
    LINE.replace(b" 443", b" +1"),
    LINE.replace(b" 443", "\u0660".encode()),
    LINE.replace(b"192.0.2.1", b"192.0.2.01"),
    LINE.replace(b"192.0.2.1", b"192.0.2.256"),
    LINE.replace(b"192.0.2.1", b"192.0.2"),
    LINE.replace(b"192.0.2.1", b"::1"),
    LINE.replace(b"192.0.2.1", b"peer.example"),
    LINE.replace(b"TCP4", b"TCP6"),
    b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
    LINE.replace(b"\r\n", b"\n"),
    LINE.replace(b"443\r", b"443\r\r"),
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN " + b"x" * MAX_V1,
    b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 15) + b"\r\n",
    v2(2, 0x11, bytes(12)),
    SIGNATURE + b"\x11",
    SIGNATURE + b"\x31\x11\x00\x0c",
    v2(1, 0x12, bytes(12)),
    v2(1, 0x22, bytes(36)),
    v2(1, 0x10, bytes(12)),
    v2(1, 0x41, bytes(12)),
    v2(1, 0x01, bytes(12)),
    v2(1, 0x11, bytes(11)),
    v2(1, 0x21, bytes(35)),
    v2(1, 0x31, bytes(215)),
    v2(1, 0x11, b"", MAX_V2_BODY + 1),
    v2(0, 0x00, b"", 0xFFFF),
)


class GoodTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """A header that arrives whole is read at once."""
        for octets, (source, destination) in GOOD.items():
            self.assertEqual(ProxyHeaderParser().feed(octets), ProxyHeader(source, destination, b""), octets)

    def test_trailing(self) -> None:
        """What follows a header is handed on untouched, even if it looks like one."""
        for octets, (source, destination) in GOOD.items():
            for rest in (b"x", b"\r\n", octets, SIGNATURE):
                self.assertEqual(ProxyHeaderParser().feed(octets + rest), ProxyHeader(source, destination, rest))

    def test_byte_by_byte(self) -> None:
        """A header that arrives octet by octet is read at its last octet, and not before."""
        for octets, (source, destination) in GOOD.items():
            parser = ProxyHeaderParser()
            for at in range(len(octets) - 1):
                self.assertIsNone(parser.feed(octets[at : at + 1]), octets)
            self.assertEqual(parser.feed(octets[-1:]), ProxyHeader(source, destination, b""))

    def test_nothing(self) -> None:
        """No octets decide nothing."""
        parser = ProxyHeaderParser()
        self.assertIsNone(parser.feed(b""))
        self.assertIsNotNone(parser.feed(LINE))

    @any_case
    @given(st.sampled_from(sorted(GOOD)), st.lists(st.integers(0, 300), max_size=6), st.binary(max_size=20))
    def test_any_split(self, octets: bytes, cuts: list[int], rest: bytes) -> None:
        """A header cut anywhere is read the same."""
        parser = ProxyHeaderParser()
        whole = octets + rest
        places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
        for start, end in itertools.pairwise(places):
            header = parser.feed(whole[start:end])
            if header is not None:
                source, destination = GOOD[octets]
                self.assertEqual(header, ProxyHeader(source, destination, whole[len(octets) : end]))
                return
        self.fail("the header was not read")

    @any_case
    @given(st.ip_addresses(), st.integers(0, 65535))
    def test_any_address(self, host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
        """Any address and port come out of either version as they went in."""
        mapped = getattr(host, "ipv4_mapped", None) or host
        packed = host.packed * 2 + struct.pack("!HH", port, port)
        line = f"PROXY TCP{host.version} {host} {host} {port} {port}\r\n".encode()
        if b"%" in line:
            return
        for octets in (line, v2(1, 0x11 if host.version == 4 else 0x21, packed)):
            self.assertEqual(
                ProxyHeaderParser().feed(octets), ProxyHeader((str(mapped), port), (str(mapped), port), b"")
            )


class BadTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """A wrong header is refused."""
        for octets in BAD:
            with self.assertRaises(ProxyHeaderError, msg=repr(octets)):
                ProxyHeaderParser().feed(octets)

    def test_byte_by_byte(self) -> None:
        """A wrong header is refused octet by octet too, at its last octet at the latest."""
        for octets in BAD:
            parser = ProxyHeaderParser()
            with self.assertRaises(ProxyHeaderError, msg=repr(octets)):
                for at in range(len(octets)):
                    self.assertIsNone(parser.feed(octets[at : at + 1]))

    def test_early(self) -> None:
        """What cannot become a header is refused at the first octet that shows it."""
        for start in (b"G", b"PX", b"\n", SIGNATURE[:5] + b"x", SIGNATURE + b"\x22"):
            self.assertRaises(ProxyHeaderError, ProxyHeaderParser().feed, start)

    def test_endless(self) -> None:
        """A line without an end is refused at its 107th octet."""
        parser = ProxyHeaderParser()
        self.assertIsNone(parser.feed(b"PROXY UNKNOWN".ljust(MAX_V1 - 1)))
        self.assertRaises(ProxyHeaderError, parser.feed, b" ")

    def test_text_has_nothing_of_the_peer(self) -> None:
        """The error's text does not repeat what the peer sent."""
        for octets in (b"secret\x1b[2J", LINE.replace(b"192.0.2.1", b"10.9.8.777")):
            with self.assertRaises(ProxyHeaderError) as caught:
                ProxyHeaderParser().feed(octets)
            self.assertNotIn("secret", str(caught.exception))
            self.assertNotIn("777", str(caught.exception))

    @any_case
    @given(st.binary(max_size=600))
    @example(SIGNATURE + b"\x21\x11\xff")
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are refused, waited for, or read; nothing else is raised."""
        for start in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21", SIGNATURE + b"\x21\x11"):
            parser = ProxyHeaderParser()
            try:
                header = parser.feed(start + octets)
            except ProxyHeaderError:
                continue
            if header is not None:
                self.assertTrue((start + octets).endswith(header.rest))

    @any_case
    @given(st.binary(max_size=300), st.data())
    def test_split_says_the_same(self, octets: bytes, data: st.DataObject) -> None:
        """Octets after a good start are judged the same in one piece and in two."""
        start = data.draw(st.sampled_from([b"", b"PROXY TCP6 ", SIGNATURE + b"\x21\x11\x00\x0c"]))
        whole = start + octets
        cut = data.draw(st.integers(0, len(whole)))

        def judged(*pieces: bytes) -> object:
            parser = ProxyHeaderParser()
            for index, piece in enumerate(pieces):
                try:
                    header = parser.feed(piece)
                except ProxyHeaderError:
                    return "refused"
                if header is not None:
                    return header.source, header.destination, header.rest + b"".join(pieces[index + 1 :])
            return "waiting"

        self.assertEqual(judged(whole[:cut], whole[cut:]), judged(whole))
