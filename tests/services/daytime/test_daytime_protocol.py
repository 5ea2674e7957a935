"""Facts about daytime."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.interfaces import IDatagramResponder
from netsvc.services.daytime import KIND
from netsvc.services.daytime.protocol import DaytimeFactory, DaytimeResponder
from netsvc.services.daytime.wire import formatter
from tests.net.turns import Loopback
from tests.services.small import PEER, connected, made

LINE = b"Thursday, January 1, 1970 00:00:00-UTC\r\n"


class DaytimeTests(SynchronousTestCase):
    factory = DaytimeFactory(formatter("rfc867", "UTC"), lambda: 0.0)

    def test_stream(self) -> None:
        """One line, then the end; input is ignored."""
        protocol, transport = connected(self.factory)
        protocol.dataReceived(b"trailing")
        self.assertEqual((transport.value(), transport.disconnecting), (LINE, True))

    def test_socket(self) -> None:
        """On a real socket the line and the end are there at once."""
        loopback = Loopback(self.factory.buildProtocol(None))
        self.addCleanup(loopback.close)
        self.assertTrue(loopback.transport.disconnected)
        self.assertEqual(loopback.read(), LINE)

    def test_datagram(self) -> None:
        """The same line for any datagram; silence rather than half a line. It asks for the bound of 64."""
        responder = DaytimeResponder(formatter("rfc867", "UTC"), lambda: 0.0)
        self.assertEqual(responder.answer(b"", PEER, 64), LINE)
        self.assertEqual(responder.answer(b"", PEER, len(LINE)), LINE)
        self.assertIsNone(responder.answer(b"", PEER, len(LINE) - 1))
        self.assertEqual(responder.greatest_answer, 64)
        self.assertTrue(verifyObject(IDatagramResponder, responder))

    def test_made(self) -> None:
        """The service tells the wall clock's time in the form and the zone of its options."""
        stream, datagram, _ = made(KIND, format="%Y %Z", timezone="UTC")
        _, transport = connected(stream)
        self.assertRegex(transport.value(), rb"^20\d\d UTC\r\n$")
        self.assertRegex(datagram.answer(b"", PEER, 64), rb"^20\d\d UTC\r\n$")
