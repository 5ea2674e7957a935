"""The epoll inside the reactor's, on real loopback sockets; no reactor runs, its turns are taken by hand."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.net.accepted import AcceptedConnection
from netsvc.net.last_words import close_at_once
from netsvc.net.plain import is_plain
from netsvc.runtime import lane as module
from netsvc.runtime import ports
from netsvc.runtime.lane import Lane
from netsvc.runtime.ports import adopt_stream_port


class Reactor(Clock):
    """Remembers its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.addReader = self.readers.append


class Recorder(Protocol):
    """Echoes, and keeps what happened to it."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: Any = None
        self.act: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.act is not None:
            self.act(self)
        else:
            self.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended = reason.type


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Goes on when its peer has closed one direction."""

    half = False

    def readConnectionLost(self) -> None:
        self.half = True

    def writeConnectionLost(self) -> None: ...


class Spy:
    """An epoll that counts what it is told."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("register", "modify", "unregister"):
            self.calls.append(name)
        return getattr(self.real, name)


class LaneTests(SynchronousTestCase):
    """Lane and LanePort."""

    protocol: type[Recorder] = Recorder

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.lane = Lane(self.reactor)
        self.made: list[Recorder] = []
        self.make: Any = self.protocol
        self.peers: list[socket.socket] = []
        self.no_room: list[OSError] = []
        self.listening, self.port = self.listen("127.0.0.1", socket.AF_INET)
        self.addCleanup(self.end)

    def end(self) -> None:
        for peer in self.peers:
            peer.close()
        if self.lane._epoll is not None and not self.lane._epoll.closed:
            self.lane.connectionLost(Failure(CONNECTION_LOST))

    def listen(self, host: str, family: int) -> tuple[socket.socket, Any]:
        listening = socket.create_server((host, 0), family=family)
        self.addCleanup(listening.close)
        listening.setblocking(False)
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self.build  # type: ignore[method-assign,assignment]
        return listening, adopt_stream_port(self.lane, listening, 5, factory, self.no_room.append)

    def build(self, addr: Any) -> Any:
        self.addr = addr
        protocol = self.make()
        if protocol is not None:
            self.made.append(protocol)
        return protocol

    def connect(self, turns: int = 1) -> socket.socket:
        peer = socket.create_connection(self.listening.getsockname()[:2], timeout=5)
        self.peers.append(peer)
        self.turn(turns)
        return peer

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.lane.doRead()
        self.reactor.advance(0)

    def test_one_descriptor_of_the_reactor(self) -> None:
        """However many connections there are, the reactor has one reader; each is served."""
        peers = [self.connect() for _ in range(5)]
        self.assertEqual(self.reactor.readers, [self.lane])
        for number, peer in enumerate(peers):
            peer.sendall(b"%d" % number)
        self.turn(2)
        self.assertEqual([peer.recv(10) for peer in peers], [b"0", b"1", b"2", b"3", b"4"])
        self.assertEqual(self.lane.logPrefix(), "netsvc")
        self.assertEqual(self.lane.fileno(), self.lane._epoll.fileno())

    def test_nothing_before_the_first(self) -> None:
        """A lane that nobody uses has no descriptor, and its reactor does not know it."""
        reactor = Reactor()
        self.assertEqual((Lane(reactor).fileno(), reactor.readers), (-1, []))

    def test_the_rest_is_the_reactors(self) -> None:
        """What is neither reader nor writer is the true reactor's."""
        self.assertEqual(self.lane.seconds(), self.reactor.seconds())
        self.assertIs(self.lane.readers, self.reactor.readers)

    def test_plain(self) -> None:
        """Its connections are plain transports, named after their protocol and peer in the log."""
        self.connect()
        transport: Any = self.made[0].transport
        self.assertIs(type(transport), AcceptedConnection)
        self.assertTrue(is_plain(transport))
        self.assertEqual(transport.logPrefix(), "Recorder,127.0.0.1")
        self.assertEqual(repr(transport), "<Recorder with 127.0.0.1>")
        self.assertEqual(transport.getPeer(), self.addr)
        self.assertEqual(transport.getHost().port, self.listening.getsockname()[1])

    def test_ipv6(self) -> None:
        """A peer that came by IPv6 has an IPv6 address."""
        self.listening, _ = self.listen("::1", socket.AF_INET6)
        self.connect()
        self.assertEqual((self.addr.type, self.addr.host), ("TCP", "::1"))
        transport: Any = self.made[0].transport
        self.assertEqual(transport.getPeer(), self.addr)

    def test_refused(self) -> None:
        """Without a protocol the connection is closed at once."""
        self.make = lambda: None
        self.assertEqual(self.connect().recv(1), b"")

    def test_begins_and_ends_in_one_batch(self) -> None:
        """The kernel is never told of a connection that is closed as soon as it is made."""

        class Brief(Recorder):
            def connectionMade(self) -> None:
                self.transport.write(b"bye")  # type: ignore[union-attr]
                close_at_once(self.transport)

        class Speaker(Recorder):
            def connectionMade(self) -> None:
                close_at_once(self.transport)

        self.lane._epoll = spy = Spy(self.lane._epoll)
        self.make = Speaker
        self.assertEqual(self.connect().recv(1), b"")
        self.assertEqual(spy.calls, [])
        self.assertIs(self.made[0].ended, ConnectionDone)
        self.make = Brief
        peer = self.connect(turns=3)
        self.assertEqual((peer.recv(10), peer.recv(10)), (b"bye", b""))

    def test_changes_that_cancel_out(self) -> None:
        """Interest that changes there and back within a batch costs no system call."""
        peer = self.connect()

        def act(protocol: Any) -> None:
            for _ in range(3):
                protocol.transport.pauseProducing()
                protocol.transport.resumeProducing()

        self.made[0].act = lambda protocol: (protocol.transport.startWriting(), protocol.transport.stopWriting())
        self.lane._epoll = spy = Spy(self.lane._epoll)
        peer.sendall(b"x")
        self.turn()
        self.assertEqual(spy.calls, [])
        self.made[0].act = act  # interest in nothing is told at once: the descriptor might be closed next
        peer.sendall(b"x")
        self.turn()
        self.assertEqual(spy.calls, ["unregister", "register"])

    def test_outside_of_a_batch(self) -> None:
        """A change from a timer is told to the kernel at once."""
        peer = self.connect()
        transport: Any = self.made[0].transport
        transport.write(b"from a timer")
        self.turn()
        self.assertEqual(peer.recv(100), b"from a timer")

    def test_large_answer(self) -> None:
        """What the socket does not take at once follows as the peer reads."""
        peer = self.connect()
        self.made[0].act = lambda protocol: protocol.transport.write(b"x" * (8 << 20))
        peer.sendall(b"?")
        peer.setblocking(False)
        got = 0
        for _ in range(100_000):
            self.turn()
            try:
                got += len(peer.recv(1 << 20))
            except BlockingIOError:
                continue
            if got == 8 << 20:
                break
        self.assertEqual(got, 8 << 20)

    def test_fault(self) -> None:
        """A protocol that raises costs its own connection only, and is logged."""
        bad, good = self.connect(), self.connect()
        self.made[0].act = lambda protocol: 1 // 0
        bad.sendall(b"x")
        good.sendall(b"x")
        self.turn(2)
        self.assertEqual((bad.recv(1), good.recv(1)), (b"", b"x"))
        self.assertIs(self.made[0].ended, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_fault_after_the_end(self) -> None:
        """A protocol that raises after its connection was closed is logged, and nothing else happens."""
        peer = self.connect()

        def act(protocol: Any) -> None:
            protocol.transport.connectionLost(Failure(ConnectionDone()))
            raise ZeroDivisionError

        self.made[0].act = act
        peer.sendall(b"x")
        self.turn()
        self.assertIs(self.made[0].ended, ConnectionDone)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_fault_at_the_end(self) -> None:
        """A protocol that raises when it hears of its end is logged; all others on the lane are served on."""

        class Falling(Recorder):
            def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
                raise ZeroDivisionError

        self.make = Falling
        bad = self.connect()
        self.make = Recorder
        good = self.connect()
        bad.close()
        good.sendall(b"x")
        self.turn(2)
        self.assertEqual(good.recv(1), b"x")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_peer_closes(self) -> None:
        """The end of the peer's octets ends a connection that is not half-closeable."""
        self.connect().close()
        self.turn()
        self.assertIs(self.made[0].ended, ConnectionDone)

    def test_peer_half_closes(self) -> None:
        """A half-closeable protocol is told, and can go on writing."""
        self.make = HalfCloseable
        peer = self.connect()
        peer.shutdown(socket.SHUT_WR)
        self.turn()
        protocol: Any = self.made[0]
        self.assertTrue(protocol.half)
        self.assertIsNone(protocol.ended)
        protocol.transport.write(b"still here")
        protocol.transport.loseConnection()
        self.turn(2)
        self.assertEqual((peer.recv(100), peer.recv(1)), (b"still here", b""))

    def test_reset(self) -> None:
        """A peer's reset ends the connection, also while nothing is read from it."""
        for paused in (False, True):
            peer = self.connect()
            protocol: Any = self.made[-1]
            if paused:
                protocol.transport.pauseProducing()
                protocol.transport.startWriting()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            self.turn(2)
            self.assertIn(protocol.ended, (ConnectionLost, ConnectionDone))

    def test_abort(self) -> None:
        """An aborted connection is reset."""
        peer = self.connect()
        transport: Any = self.made[0].transport
        transport.abortConnection()
        self.reactor.advance(0)
        self.assertRaises(ConnectionResetError, peer.recv, 1)
        self.assertIs(self.made[0].ended, ConnectionAborted)

    def test_number_used_again(self) -> None:
        """An event of a connection that ended in the same batch does not reach the next one of its number."""
        first, second = self.connect(), self.connect()
        one, other = self.made
        number: int = other.transport.fileno()  # type: ignore[union-attr]
        taken: list[Any] = []

        class Fresh:
            """A new connection with the number of the old one."""

            fileno = staticmethod(lambda: number)

            def doRead(self) -> None:
                raise AssertionError("served an event that was not its own")

            def connectionLost(self, reason: Failure) -> None: ...

        def act(_: Any) -> None:
            for protocol in (one, other):
                if protocol is not self.acting and not taken:
                    protocol.transport.connectionLost(Failure(ConnectionDone()))  # type: ignore[union-attr]
                    taken.append(os.open("/dev/null", os.O_RDONLY))

        def act_of(protocol: Any) -> Any:
            def acting(_: Any) -> None:
                self.acting = protocol
                act(protocol)

            return acting

        numbers = [protocol.transport.fileno() for protocol in (one, other)]  # type: ignore[union-attr]
        one.act, other.act = act_of(one), act_of(other)
        first.sendall(b"x")
        second.sendall(b"x")
        fresh = Fresh()
        told = self.lane._told

        def add(_: Any) -> None:
            victim = numbers[1] if self.acting is one else numbers[0]
            fresh.fileno = staticmethod(lambda: victim)  # type: ignore[method-assign]
            self.lane.addReader(fresh)
            self.assertNotIn(victim, told)
            self.lane.removeReader(fresh)

        for protocol in (one, other):
            acting = protocol.act
            protocol.act = lambda p, acting=acting: (acting(p), add(p))
        self.turn()
        self.assertEqual(sum(bool(protocol.received) for protocol in (one, other)), 1)
        for descriptor in taken:
            os.close(descriptor)

    def test_removed_twice(self) -> None:
        """Removing what is not there, or what another has the number of, does nothing."""
        self.connect()
        transport: Any = self.made[0].transport

        class Other:
            fileno = transport.fileno

        self.lane.removeReader(Other())
        self.lane.removeWriter(transport)
        self.lane.removeWriter(transport)
        peer = self.peers[0]
        peer.sendall(b"x")
        self.turn(2)
        self.assertEqual(peer.recv(1), b"x")

    def test_accepts_in_turns(self) -> None:
        """A flood of connections is accepted in batches, so that others have their turn."""
        self.patch(module, "ACCEPTS", 2)
        for _ in range(3):
            self.connect(turns=0)
        self.turn()
        self.assertEqual(len(self.made), 2)
        self.turn()
        self.assertEqual(len(self.made), 3)

    def test_fault_before_it_began(self) -> None:
        """A factory or protocol that raises as a connection is made costs that connection, never the listener."""
        self.make = lambda: 1 // 0
        self.assertEqual(self.connect().recv(1), b"")

        class Raising(Recorder):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        self.make = Raising
        self.assertEqual(self.connect().recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.make = Recorder
        peer = self.connect()
        peer.sendall(b"x")
        self.turn(2)
        self.assertEqual(peer.recv(1), b"x")

    def test_left_before_accepted(self) -> None:
        """A peer that left before it was accepted keeps nobody else waiting."""
        real = self.port.socket
        errors = [ConnectionAbortedError(103, "aborted")]

        class Faulty:
            def accept(self) -> Any:
                if errors:
                    raise errors.pop()
                return real.accept()

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        self.port.socket = Faulty()
        self.connect()
        self.assertEqual((errors, len(self.made)), ([], 1))

    def test_no_room(self) -> None:
        """Out of descriptors, accepting pauses; the peers that wait are served when there is room again."""
        truly = socket.socket.accept

        def full(_: Any) -> Any:
            raise OSError(24, "Too many open files")

        patch = self.patch(socket.socket, "accept", full)
        peer = self.connect()
        self.turn(3)
        self.assertEqual((len(self.no_room), self.made), (1, []))
        patch.restore()
        self.assertIs(socket.socket.accept, truly)
        self.reactor.advance(ports.PAUSE)
        peer.sendall(b"x")
        self.turn(3)
        self.assertEqual(peer.recv(1), b"x")

    def test_end_of_the_reactor(self) -> None:
        """When the reactor ends, every connection and listener here ends with it."""
        self.connect()
        self.lane.connectionLost(Failure(CONNECTION_LOST))
        self.assertIs(self.made[0].ended, ConnectionLost)
        self.assertTrue(self.lane._epoll.closed)
