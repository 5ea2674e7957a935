"""Facts about time."""

from __future__ import annotations

import calendar
import struct
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.interfaces import IDatagramResponder
from netsvc.services.time import KIND
from netsvc.services.time.protocol import TimeFactory, TimeResponder
from netsvc.services.time.wire import encode
from tests.net.turns import Loopback
from tests.services.small import PEER, connected, made


class EncodeTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """The times that RFC 868 gives as examples have the numbers that it gives."""
        for date, number in (
            ((1970, 1, 1), 2_208_988_800),
            ((1976, 1, 1), 2_398_291_200),
            ((1980, 1, 1), 2_524_521_600),
            ((1983, 5, 1), 2_629_584_000),
        ):
            self.assertEqual(encode(calendar.timegm((*date, 0, 0, 0))), struct.pack("!I", number))

    def test_wrap(self) -> None:
        """After 2036-02-07 06:28:15 UTC it begins again at 0."""
        last = calendar.timegm((2036, 2, 7, 6, 28, 15))
        self.assertEqual(encode(last + 0.9), b"\xff\xff\xff\xff")
        self.assertEqual(encode(last + 1), b"\0\0\0\0")

    @settings(derandomize=True, deadline=None)
    @given(st.floats(-1e11, 1e12))
    def test_any(self, seconds: float) -> None:
        """Any time has four octets; the second begun counts."""
        self.assertEqual(len(encode(seconds)), 4)


class TimeTests(SynchronousTestCase):
    def test_stream(self) -> None:
        """The four octets, then the end; input is not waited for and not answered."""
        protocol, transport = connected(TimeFactory(lambda: 0.0))
        protocol.dataReceived(b"trailing")
        self.assertEqual((transport.value(), transport.disconnecting), (b"\x83\xaa\x7e\x80", True))

    def test_socket(self) -> None:
        """On a real socket the octets and the end are there at once."""
        loopback = Loopback(TimeFactory(lambda: 1.0).buildProtocol(None))
        self.addCleanup(loopback.close)
        self.assertTrue(loopback.transport.disconnected)
        self.assertEqual(loopback.read(), b"\x83\xaa\x7e\x81")

    def test_datagram(self) -> None:
        """The same four octets for any datagram, if so many are allowed; it asks for the bound of 64."""
        responder = TimeResponder(lambda: 0.0)
        self.assertEqual(responder.answer(b"", PEER, 64), b"\x83\xaa\x7e\x80")
        self.assertIsNone(responder.answer(b"", PEER, 3))
        self.assertEqual(responder.greatest_answer, 64)
        self.assertTrue(verifyObject(IDatagramResponder, responder))

    def test_clock(self) -> None:
        """The service tells the wall clock's time."""
        stream, datagram, _ = made(KIND)
        _, transport = connected(stream)
        for answer in (transport.value(), datagram.answer(b"", PEER, 64)):
            (count,) = struct.unpack("!I", answer)
            self.assertLessEqual(abs(count - 2_208_988_800 - time.time()), 2)
