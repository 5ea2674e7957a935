"""Connections of a socket that answers lines: one request at a time, deadlines, flow control, room, the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.config.listen import UnixAddress
from netsvc.errors import StartError
from netsvc.net.json_lines import MalformedError, Refusal, RequestReader, refused
from netsvc.net.request_socket import RequestFactory, RequestProtocol, own_socket
from netsvc.net.unix_peer import UnixPeer


def parse(line: bytes) -> str:
    """A request is its line; two are refused."""
    if line == b"bad":
        raise MalformedError("bad")
    if line == b"no":
        raise Refusal("5.7.1", "no")
    return line.decode()


class Long(RequestReader[str]):
    """Reads requests of a length and so many octets."""

    length = 0

    def __init__(self) -> None:
        super().__init__(parse, 10)

    @property
    def idle(self) -> bool:
        return not self.length and super().idle

    @property
    def announced(self) -> int:
        return self.length

    def next(self) -> str | None:
        self.length = self.length or int(super().next() or 0)
        octets = self.take(self.length) if self.length else None
        if octets is None:
            return None
        self.length = 0
        return octets.decode()


class Place:
    """Room for one request."""

    def __init__(self, granted: bool) -> None:
        self.granted = granted
        self.returned = 0

    def give_back(self) -> None:
        self.returned += 1


class SocketCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, UnixPeer]] = []
        self.refusals: list[str] = []
        self.held: Deferred[None] | None = None
        self.make()

    def make(self, reader: Callable[[], RequestReader[str]] = lambda: RequestReader(parse, 10), **values: Any) -> None:
        self.factory = RequestFactory(
            reader,
            self.answer,
            self.clock,
            deadline=5.0,
            refuse=self.refuse,
            peer=lambda _: UnixPeer(1000, 7),
            **values,
        )

    async def answer(self, request: str, peer: UnixPeer) -> dict[str, Any]:
        self.asked.append((request, peer))
        if self.held is not None:
            await self.held
        return {"ok": True, "said": request}

    def refuse(self, refusal: Refusal, peer: UnixPeer) -> dict[str, Any]:
        self.refusals.append(f"{peer} {refusal}")
        return refused(refusal)

    def connect(self, *pieces: bytes) -> tuple[RequestProtocol[str], StringTransport]:
        protocol, transport = self.factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        for piece in pieces:
            protocol.dataReceived(piece)
        return protocol, transport

    def said(self, transport: StringTransport) -> list[str]:
        """What was answered: what a request said, or the code of its refusal."""
        self.clock.advance(0)
        replies = [json.loads(line) for line in transport.value().splitlines()]
        return [one["said"] if one["ok"] else one["code"] for one in replies]


class Places(SynchronousTestCase):
    def test_own_socket(self) -> None:
        """A path of 107 octets is the longest; who set a longer one is told in which section."""
        path = Path("/" + "x" * 106)
        self.assertEqual(own_socket("sms", path, 0o600), UnixAddress(path=path, mode=0o600))
        with self.assertRaisesRegex(StartError, r"^\[sms\] the socket /x+ is longer than 107 octets; set socket$"):
            own_socket("sms", path.with_name("x" * 107), 0o600)


class Requests(SocketCase):
    def test_interfaces(self) -> None:
        """A connection goes on when its peer has closed one direction, and hears when its output is stuck."""
        protocol, _ = self.connect()
        for interface in (IHalfCloseableProtocol, IPushProducer):
            self.assertTrue(verifyObject(interface, protocol))

    def test_in_turn(self) -> None:
        """Requests are answered in their order, whole or octet by octet, as the peer that the kernel names."""
        data = b"a\nb\nno\nc\n"
        for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
            self.assertEqual(self.said(self.connect(*pieces)[1]), ["a", "b", "5.7.1", "c"])
        self.assertEqual(self.asked[0], ("a", UnixPeer(1000, 7)))
        self.assertEqual(self.refusals, ["uid:1000 5.7.1 no"] * 2)

    def test_others_have_their_turn(self) -> None:
        """Of a peer with many requests one is answered in a turn of the reactor."""
        _, transport = self.connect(b"a\nb\nc\n")
        self.assertEqual(len(transport.value().splitlines()), 1)

    def test_more_than_can_be_answered(self) -> None:
        """A peer that has asked more than has had its turn is not read meanwhile, however soon each is answered."""
        _, transport = self.connect(b"a\nno\nb\n")
        self.assertEqual((transport.producerState, len(transport.value().splitlines())), ("paused", 1))
        self.assertEqual((self.said(transport), transport.producerState), (["a", "5.7.1", "b"], "producing"))

    def test_one_at_a_time(self) -> None:
        """While a request is worked on its peer is not read, and the next has not begun."""
        self.held = held = Deferred()
        _, transport = self.connect(b"a\nb\n")
        self.assertEqual((transport.producerState, len(self.asked)), ("paused", 1))
        self.held = None
        held.callback(None)
        self.assertEqual((self.said(transport), transport.producerState), (["a", "b"], "producing"))

    def test_the_end_of_trust(self) -> None:
        """What is malformed, or longer than a line may be, is answered and ends the connection; no more is taken."""
        for data, codes in ((b"a\nbad\nb\n", ["a", "5.5.2"]), (b"x" * 11, ["5.5.2"])):
            protocol, transport = self.connect(data)
            self.assertEqual((self.said(transport), transport.disconnecting), (codes, True))
            protocol.dataReceived(b"c\n")
            self.assertEqual(self.said(transport), codes)
        self.assertEqual(len(self.refusals), 2)

    def test_nobody_listens_to_refusals(self) -> None:
        """Without anybody who logs them, refusals are said all the same."""
        factory = RequestFactory(lambda: RequestReader(parse, 10), self.answer, self.clock, deadline=5.0)
        protocol, transport = factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"bad\n")
        self.assertEqual(self.said(transport), ["5.5.2"])


class Deadlines(SocketCase):
    def test_too_slow(self) -> None:
        """A request has its time from its first octet; more octets give no more of it."""
        protocol, transport = self.connect(b"a")
        self.clock.advance(4.9)
        protocol.dataReceived(b"b")
        self.assertEqual(self.said(transport), [])
        self.clock.advance(0.1)
        self.assertEqual((self.said(transport), transport.disconnecting), (["4.4.2"], True))
        self.assertEqual(self.refusals, ["uid:1000 4.4.2 the request did not arrive within 5 s"])

    def test_each_its_own(self) -> None:
        """Each request has a deadline of its own; a connection at rest, and one that waits for us, has none."""
        protocol, transport = self.connect(b"a")
        self.clock.advance(4)
        self.held = held = Deferred()
        protocol.dataReceived(b"\nb")
        self.clock.advance(100)
        self.held = None
        held.callback(None)
        self.clock.advance(0)
        self.clock.advance(4)
        protocol.dataReceived(b"\n")
        self.clock.advance(100)
        self.assertEqual((self.said(transport), transport.disconnecting), (["a", "b"], False))

    def test_nothing_is_left(self) -> None:
        """A connection that ends leaves no timer behind."""
        protocol, _ = self.connect(b"a")
        protocol.connectionLost()
        self.connect(b"a")[0].writeConnectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Ends(SocketCase):
    def test_half_close(self) -> None:
        """A peer that sends no more gets the answers that it is owed, then the end; half a request is owed none."""
        for data in (b"", b"a", b"a\nb\n", b"a\nb\nc"):
            protocol, transport = self.connect(data)
            protocol.readConnectionLost()
            self.assertEqual(len(self.said(transport)), data.count(b"\n"))
            self.assertTrue(transport.disconnecting, data)

    def test_half_close_while_working(self) -> None:
        """The end comes behind the answer."""
        self.held = Deferred()
        protocol, transport = self.connect(b"a\n")
        protocol.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        self.held.callback(None)
        self.assertEqual((self.said(transport), transport.disconnecting), (["a"], True))

    def test_gone_while_working(self) -> None:
        """A request of a peer that is gone is worked on to its end, and nothing is said."""
        self.held = Deferred()
        protocol, transport = self.connect(b"a\n")
        protocol.stopProducing()
        protocol.connectionLost()
        self.held.callback(None)
        self.assertEqual((self.said(transport), self.factory.connections), ([], set()))

    def test_output_is_stuck(self) -> None:
        """A peer that does not read is neither answered nor read any further until it does."""
        protocol, transport = self.connect()
        protocol.pauseProducing()
        protocol.dataReceived(b"a\n")
        self.assertEqual((self.said(transport), transport.producerState), ([], "paused"))
        protocol.resumeProducing()
        self.assertEqual((self.said(transport), transport.producerState), (["a"], "producing"))

    def test_output_is_stuck_by_an_answer(self) -> None:
        """An answer that finds no room behind it stops the reading, until the peer has taken it."""
        protocol, transport = self.connect()
        self.patch(transport, "write", lambda _: protocol.pauseProducing())
        protocol.dataReceived(b"a\nb\n")
        self.clock.advance(0)
        self.assertEqual((transport.producerState, len(self.asked)), ("paused", 1))
        protocol.resumeProducing()
        self.assertEqual(len(self.asked), 2)

    def test_resumed_while_working(self) -> None:
        """A peer that reads again while its request is worked on is read only behind the answer."""
        self.held = Deferred()
        protocol, transport = self.connect(b"a\n")
        protocol.pauseProducing()
        protocol.resumeProducing()
        self.assertEqual(transport.producerState, "paused")
        self.held.callback(None)
        self.assertEqual(transport.producerState, "producing")

    def test_drain(self) -> None:
        """A drain ends connections at rest; the others after the request that is under way, or is arriving."""
        at_rest, (arriving, half) = self.connect()[1], self.connect(b"a")
        self.held = Deferred()
        at_work = self.connect(b"a\nb\n")[1]
        self.factory.drain()
        self.assertEqual([one.disconnecting for one in (at_rest, half, at_work)], [True, False, False])
        arriving.dataReceived(b"\nb\n")
        self.held.callback(None)
        for transport in (half, at_work):
            self.assertEqual((self.said(transport), transport.disconnecting), (["a"], True))

    def test_drain_without_patience(self) -> None:
        """Where requests are small, a drain waits for none that has not come whole."""
        self.make(patient=False)
        half = self.connect(b"a")[1]
        self.held = Deferred()
        at_work = self.connect(b"a\nb\n")[1]
        self.factory.drain()
        self.assertEqual((half.disconnecting, at_work.disconnecting), (True, False))
        self.held.callback(None)
        self.assertEqual((self.said(at_work), at_work.disconnecting), (["a"], True))


class Rooms(SocketCase):
    def setUp(self) -> None:
        super().setUp()
        self.places: list[tuple[int, Callable[[], None], Place]] = []
        self.is_free = True
        self.make(Long, room=self.room)

    def room(self, octets: int, granted: Callable[[], None]) -> Place:
        self.places.append((octets, granted, Place(self.is_free)))
        return self.places[-1][2]

    def test_announced(self) -> None:
        """Room is asked for once, for as much as a request announced, and given back behind its answer."""
        protocol, transport = self.connect(b"3\n", b"a", b"b")
        ((octets, _, place),) = self.places
        self.held = held = Deferred()
        protocol.dataReceived(b"c")
        self.assertEqual((octets, place.returned), (3, 0))
        held.callback(None)
        self.assertEqual((self.said(transport), place.returned), (["abc"], 1))

    def test_whole_at_once(self) -> None:
        """What comes in one piece needs no room."""
        self.assertEqual(self.said(self.connect(b"3\nabc")[1]), ["abc"])
        self.assertEqual(self.places, [])

    def test_waiting(self) -> None:
        """Who gets no room is not read until he does."""
        self.is_free = False
        protocol, transport = self.connect(b"3\n")
        self.assertEqual(transport.producerState, "paused")
        _, granted, place = self.places[0]
        place.granted = True
        granted()
        self.assertEqual(transport.producerState, "producing")
        protocol.dataReceived(b"abc")
        self.assertEqual((self.said(transport), place.returned), (["abc"], 1))

    def test_given_back_once(self) -> None:
        """A connection that is lost, or too slow, gives its room back, once."""
        self.connect(b"3\n")[0].connectionLost()
        late, _ = self.connect(b"3\n")
        self.clock.advance(5)
        late.connectionLost()
        self.assertEqual([place.returned for _, _, place in self.places], [1, 1])
