"""The socket of a list does not pile up what nobody reads."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.unix_peer import UnixPeer
from netsvc.services.fetch.protocol import SocketFactory
from netsvc.services.fetch.wire import Request

REQUEST = b'{"v": 1, "command": "audit"}\n'


class SocketTests(SynchronousTestCase):
    def test_output_is_stuck(self) -> None:
        """While a peer takes no answers, as its transport says, no request of it is worked on; then all are."""
        clock, asked = Clock(), []

        async def answer(request: Request, _: UnixPeer) -> dict[str, Any]:
            asked.append(request.command)
            return {"ok": True}

        protocol = SocketFactory(answer, clock, lambda _: UnixPeer(0)).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        producer: Any = transport.producer
        self.assertTrue(transport.streaming)
        producer.pauseProducing()
        protocol.dataReceived(REQUEST * 3)
        clock.advance(0)
        self.assertEqual((asked, transport.value()), ([], b""))
        producer.resumeProducing()
        clock.pump([0] * 5)
        self.assertEqual((len(asked), transport.value().count(b"\n")), (3, 3))
