"""One fork server as the daemon has it. The tests play the server on the other end of its socket."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.warm.server import START_LIMIT, ForkServer, start_server
from netsvc.services.http.cgi.warm.shebang import Interpreter
from netsvc.services.http.cgi.warm.wire import layer_request

NOBODY = 2**22 + 1  # no process has this number: PID_MAX_LIMIT, threads.h
BOUND = 120.0  # seconds


class FakeReactor(Clock):
    """A clock, and who wants to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def turn(self) -> None:
        """All may read."""
        for reader in tuple(self.readers):
            reader.doRead()


class Asked:
    """Waits for a script."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def started(self, pid: int, reason: str) -> None:
        self.told.append((pid, reason))

    def failed(self, reason: str) -> None:
        self.told.append((reason,))


class ServerCase(SynchronousTestCase):
    """A test with a server."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.claimed: list[int] = []
        self.released: list[int] = []
        self.lost: list[str] = []
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.theirs.close)
        self.addCleanup(ours.close)
        self.theirs.settimeout(BOUND)
        self.server = ForkServer(self.reactor, ours, None, **self.calls())

    def calls(self) -> dict[str, Any]:
        return {
            "claim": self.claimed.append,
            "release": self.released.append,
            "lost": lambda server, reason: self.lost.append(reason),
        }

    def report(self, packet: bytes) -> None:
        self.theirs.send(packet)
        self.server.doRead()

    def ask(self, serial: int) -> Asked:
        asked = Asked()
        self.assertTrue(self.server.ask(serial, b"%d" % serial, (0, 1, 2), asked))
        return asked


class ForkServerTest(ServerCase):
    """Who asks is told once what became of it."""

    def test_warm_server_reports(self) -> None:
        """A report reaches whoever asked; what nobody asked for reaches nobody."""
        self.report(b"0 0 ")
        self.assertTrue(self.server.ready)
        first, second, third = self.ask(1), self.ask(2), self.ask(3)
        packet, descriptors, _, _ = socket.recv_fds(self.theirs, 100, 3)
        self.assertEqual((b"1", 3), (packet, len(descriptors)))
        for one in descriptors:
            os.close(one)
        self.assertFalse(self.server.idle)
        for packet in (b"2 22 ", b"1 11 stale: /x", b"9 99 ", b"3 0 no room"):
            self.report(packet)
        self.assertEqual(([(11, "stale: /x")], [(22, "")], [("no room",)]), (first.told, second.told, third.told))
        self.assertTrue(self.server.idle)
        self.assertEqual((3, []), (self.server.asked, self.lost))
        self.assertEqual("cgi", self.server.logPrefix())
        self.assertGreaterEqual(self.server.fileno(), 0)

    def test_warm_server_ends(self) -> None:
        """One that ends fails all who wait for it, once, and takes no more."""
        self.report(b"0 0 ")
        asked = self.ask(1)
        self.theirs.close()
        self.server.doRead()
        self.server.doRead()
        self.assertEqual(
            ([("its warm interpreter has ended",)], ["its warm interpreter has ended"]), (asked.told, self.lost)
        )
        self.assertFalse(self.server.ask(2, b"", (0, 1, 2), asked))
        self.assertIsNone(self.server.layer("/x", "", **self.calls()))
        self.assertEqual((-1, [], []), (self.server.fileno(), self.reactor.readers, self.reactor.getDelayedCalls()))

    def test_warm_server_no_interpreter(self) -> None:
        """One that ends before it is ready says what it has to be; one that says why it is unfit is lost with that."""
        self.theirs.close()
        self.server.doRead()
        self.assertIn("CPython 3.11", self.lost[0])

    def test_warm_server_unfit(self) -> None:
        """One that says why it cannot serve is lost with its words, before it is ready."""
        ready: list[bool] = []
        self.server._lost = lambda server, reason: ready.append(server.ready) or self.lost.append(reason)  # type: ignore[func-returns-value]
        self.report(b"0 0 its site starts threads")
        self.assertEqual(([False], ["its site starts threads"]), (ready, self.lost))

    def test_warm_server_report_on_the_way(self) -> None:
        """A script that has reported before its server ended runs, and is not executed as well."""
        self.report(b"0 0 ")
        first, second = self.ask(1), self.ask(2)
        self.theirs.send(b"1 11 ")
        self.theirs.close()  # with both requests unread: the next receive fails (ECONNRESET)
        self.server.doRead()
        self.assertEqual([(11, "")], first.told)
        self.assertEqual([("its warm interpreter has ended",)], second.told)

    def test_warm_server_no_report_after_end(self) -> None:
        """A child cannot report once its server is given up: it cannot run beside the one that is executed instead."""
        self.report(b"0 0 ")
        first, second = self.ask(1), self.ask(2)
        self.theirs.send(b"nonsense")
        self.theirs.send(b"1 11 ")
        self.server.doRead()
        self.assertEqual([(11, "")], first.told)
        self.assertEqual([("its interpreter answers what cannot be understood",)], second.told)
        self.assertRaises(BrokenPipeError, self.theirs.send, b"2 22 ")

    def test_warm_server_hangs(self) -> None:
        """One that does not answer in time is given up; each request has the whole time."""
        self.report(b"0 0 ")
        first = self.ask(1)
        self.reactor.advance(START_LIMIT / 2)
        second = self.ask(2)
        self.theirs.send(b"1 11 ")
        self.reactor.advance(START_LIMIT / 2)
        self.assertEqual(([(11, "")], []), (first.told, second.told))
        self.reactor.advance(START_LIMIT / 2 - 0.5)
        self.assertEqual([], second.told)
        self.reactor.advance(0.5)
        self.assertEqual([(f"its interpreter did not answer for {START_LIMIT:.0f} seconds",)], second.told)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_warm_server_answers_in_time(self) -> None:
        """Nothing is looked at when nobody waits."""
        self.ask(1)
        self.report(b"1 11 ")
        self.reactor.advance(START_LIMIT)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertEqual([], self.lost)

    def test_warm_server_full(self) -> None:
        """One whose socket is full takes no more, and says so at once."""
        self.report(b"0 0 ")
        asked = Asked()
        number = 0
        while self.server.ask(number, b"x" * 4096, (0, 1, 2), asked):
            number += 1
        self.assertEqual([], asked.told)
        self.assertEqual(number, self.server.asked)
        self.assertIsNone(self.server.layer("/x", "", **self.calls()))

    def test_warm_server_retires(self) -> None:
        """One that is retired takes no more, and ends when all have been told; without a reason."""
        self.report(b"0 0 ")
        asked = self.ask(1)
        self.server.retire()
        self.assertFalse(self.server.ask(2, b"", (0, 1, 2), asked))
        self.assertEqual([], self.lost)
        self.report(b"1 11 ")
        self.assertEqual(([(11, "")], [""]), (asked.told, self.lost))
        self.server.retire()
        self.assertEqual([""], self.lost)

    def test_warm_server_hang_up(self) -> None:
        """A hang-up that the reactor saw loses no report, and one that was none ends nothing."""
        self.report(b"0 0 ")
        asked = self.ask(1)
        self.reactor.readers.clear()
        self.server.connectionLost(Failure(ConnectionError()))
        self.assertEqual([self.server], self.reactor.readers)
        self.theirs.send(b"1 11 ")
        self.theirs.close()
        self.server.readConnectionLost(Failure(ConnectionError()))
        self.assertEqual(([(11, "")], ["its warm interpreter has ended"]), (asked.told, self.lost))

    def test_warm_layer(self) -> None:
        """A layer is asked for with the script and its socket, is claimed when it tells its number, and released."""
        self.report(b"0 0 ")
        layer = self.server.layer("/srv/x.py", "/state", **self.calls())
        assert layer is not None
        packet, descriptors, _, _ = socket.recv_fds(self.theirs, 1000, 3)
        self.assertEqual(layer_request("/srv/x.py", "/state"), packet)
        (descriptor,) = descriptors
        with contextlib.closing(socket.socket(fileno=descriptor)) as theirs:
            theirs.send(b"0 %d " % NOBODY)
            layer.doRead()
            self.assertEqual((True, NOBODY, [NOBODY]), (layer.ready, layer.pid, self.claimed))
            asked = Asked()
            self.assertTrue(layer.ask(1, b"", (0, 1, 2), asked))
            self.reactor.advance(1)  # it is gone
            self.assertTrue(layer.gone)
            self.assertEqual([NOBODY], self.released)
            self.assertEqual([("its warm interpreter has ended",)], asked.told)

    def test_warm_layer_no_room(self) -> None:
        """Without descriptors there is no layer, and nothing leaks."""

        def refuse(*_: object) -> None:
            raise OSError(24, "Too many open files")

        self.patch(socket, "socketpair", refuse)
        self.assertIsNone(self.server.layer("/srv/x.py", "", **self.calls()))


class StartServerTest(ServerCase):
    """A process is a fork server."""

    def turn_until(self, condition: Any) -> None:
        end = time.monotonic() + BOUND
        while not condition():
            self.assertLess(time.monotonic(), end)
            self.reactor.turn()

    def start(self, program: bytes, *line: bytes) -> ForkServer:
        interpreter = Interpreter(program, line, b"", ())
        return start_server(self.reactor, interpreter, {b"A": b"1"}, **self.calls())

    def test_warm_start_no_python(self) -> None:
        """A program that is no interpreter ends, is reaped and released."""
        server = self.start(b"/bin/true", b"true")
        self.assertEqual([server.pid], self.claimed)
        self.turn_until(lambda: server.gone)
        self.assertEqual([server.pid], self.released)
        self.assertIn("before it was ready", self.lost[0])

    def test_warm_start_nothing(self) -> None:
        """What cannot be started raises, and leaves no descriptor."""
        before = os.listdir("/proc/self/fd")
        self.assertRaises(OSError, self.start, b"/nonexistent", b"python3")
        self.assertEqual(len(before), len(os.listdir("/proc/self/fd")))

    def test_warm_start_given_up(self) -> None:
        """A process that hangs is killed when it is given up, and one that has served ends by itself."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(theirs.close)
        process = subprocess.Popen(["/bin/sleep", "60"])
        self.addCleanup(process.wait)
        server = ForkServer(self.reactor, ours, process, **self.calls())
        asked = Asked()
        self.assertTrue(server.ask(1, b"", (0, 1, 2), asked))
        self.reactor.advance(START_LIMIT)
        self.assertEqual([(f"its interpreter did not answer for {START_LIMIT:.0f} seconds",)], asked.told)
        self.turn_until(lambda: server.gone)
        self.assertEqual(-9, process.returncode)
        self.assertEqual(1, len(self.lost))
