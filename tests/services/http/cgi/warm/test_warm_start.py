"""What runs warm, on which server, and what is executed, with which reason. The fork servers are fakes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from attrs import evolve
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.child import Child, Command, ScriptStartError
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.cgi.warm import start
from netsvc.services.http.cgi.warm.shebang import Interpreter
from netsvc.services.http.cgi.warm.start import BARE, MAX_KNOWN, RUNS, STALE, UNFIT, WarmChild, WarmStart
from tests.services.http.cgi.warm.test_warm_server import NOBODY, FakeReactor

PYTHON = sys.executable


class FakeServer:
    """A fork server that the test plays."""

    def __init__(self, reactor: FakeReactor, name: object, calls: dict[str, Any]) -> None:
        self._reactor = reactor
        self.name = name
        self.calls = calls
        self.ready = True
        self.asked = 0
        self.used_at = reactor.seconds()
        self.retired = False
        self.full = False
        self.layers: list[FakeServer] = []
        self.gives_layers = True
        self.layers_ready = True
        self.waiting: list[WarmChild] = []
        self.taken: list[int] = []

    @property
    def idle(self) -> bool:
        return not self.waiting

    def ask(self, serial: int, packet: bytes, descriptors: tuple[int, int, int], wanted: WarmChild) -> bool:
        if self.full:
            return False
        self.asked += 1
        self.used_at = self._reactor.seconds()
        self.waiting.append(wanted)
        self.taken.append(serial)
        return True

    def layer(self, script: str, legacy: str, **calls: Any) -> FakeServer | None:
        if not self.gives_layers:
            return None
        made = FakeServer(self._reactor, (script, legacy), calls)
        made.ready = self.layers_ready
        self.layers.append(made)
        return made

    def retire(self) -> None:
        self.retired = True

    def lose(self, reason: str) -> None:
        self.calls["lost"](self, reason)


class FakeChild:
    """Runs nothing."""

    def __init__(self, pid: int = NOBODY) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        return 7


class StartCase(SynchronousTestCase):
    """A test with a WarmStart."""

    def setUp(self) -> None:
        self.patch(start, "become_subreaper", lambda: True)
        self.reactor = FakeReactor()
        self.servers: list[FakeServer] = []
        self.executed: list[Command] = []
        self.refusal: Exception | None = None
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-warm-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.addCleanup(self.close)
        self.start = self.make()
        self.script = self.write()

    def close(self) -> None:
        for server in self.servers:
            for one in (server, *server.layers):
                for child in one.waiting:
                    child._close()

    def make(self, **options: Any) -> WarmStart:
        return WarmStart(
            evolve(CgiSettings(), **options), self.reactor, cold=self.cold, serve=self.serve, legacy=lambda: "/state"
        )

    def cold(self, command: Command, *descriptors: int) -> Child:
        self.executed.append(command)
        if self.refusal is not None:
            raise self.refusal
        return FakeChild()  # type: ignore[return-value]

    def serve(self, reactor: FakeReactor, interpreter: Interpreter, environment: Any, **calls: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.servers.append(FakeServer(self.reactor, (interpreter, environment), calls))
        return self.servers[-1]

    def write(self, first: str = f"#!{PYTHON}", name: str = "script.py") -> str:
        file = self.directory / name
        file.write_text(first + "\n")
        return str(file)

    def command(self, script: str = "", **environment: str) -> Command:
        return Command(arguments=(script or self.script,), directory=self.directory, environment=environment)

    def run_script(self, script: str = "", **environment: str) -> WarmChild | None:
        """Start one; None when it was executed."""
        child = self.start(self.command(script, **environment), DEVNULL, 1, 2)
        return child if isinstance(child, WarmChild) else None

    def runs(self, server: FakeServer) -> None:
        """Everything that it was asked for runs."""
        while server.waiting:
            server.waiting.pop().started(NOBODY, "")

    def reasons(self) -> list[str]:
        return [str(one["reason"]) for one in self.events if one.get("event") == "cgi-warm-fallback"]


class WarmKeyTest(StartCase):
    """A server is for one interpreter, its flags, and the environment that it reads."""

    def test_warm_key(self) -> None:
        """What an interpreter reads when it starts makes another server; what belongs to a request does not."""
        base = {"PATH": "/usr/bin", "QUERY_STRING": "a", "HTTP_X": "1"}
        self.run_script(**base)
        self.run_script(**{**base, "QUERY_STRING": "b", "HTTP_X": "2", "HTTP_Y": "3", "REMOTE_USER": "x"})
        self.assertEqual(1, len(self.servers))
        for number, name in enumerate(
            ("PYTHONPATH", "PYTHONHASHSEED", "LC_ALL", "LANG", "TZ", "LD_PRELOAD", "HOME", "TMPDIR", "VIRTUAL_ENV"), 2
        ):
            self.run_script(**base, **{name: "/x"})
            self.assertEqual(number, len(self.servers), name)
        self.run_script(**{**base, "PATH": "/bin"})
        self.assertEqual(11, len(self.servers))
        self.assertEqual({b"PATH": b"/bin"}, self.servers[-1].name[1])  # type: ignore[index]

    def test_warm_key_settings(self) -> None:
        """Whatever the settings put into the environment counts: the site may read it."""
        self.start = self.make(cgi_env=(("SITE", "1"),), cgi_pass_env=("PASSED",))
        for environment in ({}, {"SITE": "1"}, {"SITE": "2"}, {"PASSED": "1"}, {"OTHER": "1"}):
            self.run_script(**environment)
        self.assertEqual(4, len(self.servers))

    def test_warm_key_flags(self) -> None:
        """Scripts share a server when their first lines are the same."""
        for first in (f"#!{PYTHON}", f"#!{PYTHON} -u", f"#! {PYTHON}"):
            self.run_script(self.write(first, f"{len(first)}.py"))
        self.assertEqual(2, len(self.servers))

    def test_warm_first_line_edited(self) -> None:
        """A first line that is edited is read again, and so is one that another PATH decides on."""
        self.run_script()
        self.write("#!/bin/sh")
        self.assertIsNone(self.run_script())
        self.write("#!/usr/bin/env python3")
        self.assertIsNone(self.run_script(PATH="/nonexistent"))
        self.assertIsNotNone(self.run_script(PATH=os.path.dirname(PYTHON)))
        self.assertEqual([], self.reasons())


class WarmFallbackTest(StartCase):
    """What is executed, and what the log says of it."""

    def test_warm_reasons(self) -> None:
        """Each reason is told once for a script; with 'on' it is a warning."""
        self.start = self.make(cgi_warm="on")
        script = self.write(f"#!{PYTHON} -x", "flag.py")
        for _ in range(2):
            self.assertIsNone(self.run_script(script))
            self.assertIsNone(self.run_script(PYTHONPATH="/a:b"))
            self.assertIsNone(self.run_script(PYTHONDEVMODE="1"))
            self.assertIsNone(self.run_script(LONG="x" * 200_000))
        self.assertEqual(
            [
                "the flag -x",
                "PYTHONPATH has a relative directory",
                "PYTHONDEVMODE is set",
                "its environment is too long",
            ],
            self.reasons(),
        )
        self.assertEqual({"warn"}, {one["log_level"].name for one in self.events})
        self.assertEqual(8, len(self.executed))

    def test_warm_not_inherited(self) -> None:
        """Where orphans are not this process's children, nothing is warm; nor is anything once it is stopped."""
        self.start.stop()
        self.assertIsNone(self.run_script())
        self.patch(start, "become_subreaper", lambda: False)
        self.start = self.make()
        self.assertIsNone(self.run_script())
        self.assertEqual([], self.servers)

    def test_warm_no_start(self) -> None:
        """An interpreter that cannot be started leaves the script to exec."""
        self.refusal = OSError(errno.ENOENT, "No such file or directory")
        self.assertRaises(OSError, self.run_script)
        self.assertEqual(["its interpreter cannot be started"], self.reasons())
        self.refusal = None
        self.assertIsNotNone(self.run_script())

    def test_warm_full(self) -> None:
        """A server that takes no more leaves the script to exec, and no descriptor is left."""
        self.run_script()
        before = os.listdir("/proc/self/fd")
        self.servers[0].full = True
        self.assertIsNone(self.run_script())
        self.assertEqual(len(before), len(os.listdir("/proc/self/fd")))

    def test_warm_no_descriptors(self) -> None:
        """Without descriptors a script is left to exec, which has the words for it; none is left open."""
        self.run_script()
        before = len(os.listdir("/proc/self/fd"))
        self.assertIsNone(self._with_stderr(-1))
        self.assertEqual(["the daemon has no descriptors left"], self.reasons())
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    def _with_stderr(self, stderr: int) -> WarmChild | None:
        child = self.start(self.command(), 0, 1, stderr)
        return child if isinstance(child, WarmChild) else None

    def test_warm_unfit(self) -> None:
        """An interpreter that is no server is left alone for a minute; a reason that has passed is forgotten."""
        child = self.run_script()
        self.servers[0].ready = False
        self.servers[0].waiting.clear()
        self.servers[0].lose("its site starts threads")
        assert child is not None
        child.failed("its site starts threads")
        self.assertIsNone(self.run_script())
        self.reactor.advance(UNFIT - 1)
        self.assertIsNone(self.run_script())
        self.reactor.advance(1)
        self.assertIsNotNone(self.run_script())
        self.assertEqual(2, len(self.servers))
        self.assertEqual(["its site starts threads"], self.reasons())

    def test_warm_retired_is_not_unfit(self) -> None:
        """A server that was retired before it was ready is no verdict on its interpreter."""
        self.run_script()
        self.servers[0].ready = False
        self.servers[0].lose("")
        self.assertIsNotNone(self.run_script())

    def test_warm_stale(self) -> None:
        """A server that what it has read has changed under is followed by another; that is nothing to warn of."""
        self.start = self.make(cgi_warm="on")
        child = self.run_script()
        assert child is not None
        self.servers[0].waiting.clear()
        child.started(NOBODY, "stale: /usr/lib/x.pth")
        self.assertTrue(self.servers[0].retired)
        self.assertEqual(["/usr/lib/x.pth has changed"], self.reasons())
        self.assertEqual(["info"], [one["log_level"].name for one in self.events])
        self.run_script()
        self.assertEqual(2, len(self.servers))

    def test_warm_stale_twice(self) -> None:
        """Two scripts that find the same server stale end it once, and not the one that follows."""
        first, second = self.run_script(), self.run_script()
        assert first is not None
        assert second is not None
        self.servers[0].waiting.clear()
        first.started(NOBODY, "stale: /x")
        self.run_script()
        second.started(NOBODY, "stale: /x")
        self.assertFalse(self.servers[1].retired)


class WarmServersTest(StartCase):
    """How many servers there are, and for how long."""

    def test_warm_most(self) -> None:
        """The one that was not used for longest ends for the next."""
        self.start = self.make(cgi_warm_servers=2)
        for zone in ("A", "B", "A", "C"):
            self.run_script(TZ=zone)
        self.assertEqual([False, True, False], [one.retired for one in self.servers])

    def test_warm_idle(self) -> None:
        """One that is not used ends, but not while somebody waits for it."""
        self.run_script(TZ="A")
        self.run_script(TZ="B")
        self.runs(self.servers[1])
        self.reactor.advance(600)
        self.assertEqual([False, True], [one.retired for one in self.servers])
        self.runs(self.servers[0])
        self.reactor.pump([150] * 4)
        self.assertTrue(self.servers[0].retired)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_warm_stop(self) -> None:
        """All end with the engine."""
        self.run_script(TZ="A")
        self.run_script(TZ="B")
        self.start.stop()
        self.assertEqual([True, True], [one.retired for one in self.servers])
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_warm_lost(self) -> None:
        """One that has ended is followed by another."""
        self.run_script()
        self.servers[0].lose("its warm interpreter has ended")
        self.run_script()
        self.servers[0].lose("its warm interpreter has ended")
        self.assertIsNotNone(self.run_script())
        self.assertEqual(2, len(self.servers))

    def test_warm_successor(self) -> None:
        """After a thousand scripts another takes over, as soon as it is ready, so that nobody waits for it."""
        self.run_script()
        self.servers[0].gives_layers = False
        self.servers[0].asked = RUNS
        self.refusal = OSError(errno.EAGAIN, "no room")
        self.assertIsNotNone(self.run_script())
        self.refusal = None
        self.run_script()
        old, new = self.servers
        new.ready = False
        self.run_script()
        self.assertEqual((4, 0), (len(old.taken), len(new.taken)))
        new.ready = True
        self.run_script()
        self.assertEqual((4, 1, True), (len(old.taken), len(new.taken), old.retired))
        new.asked = RUNS
        self.run_script()
        self.servers[-1].lose("its warm interpreter has ended")
        self.run_script()
        self.assertEqual(4, len(self.servers))

    def test_warm_layer(self) -> None:
        """A script that runs again gets a layer of its own, as soon as that is ready; it ends as a server does."""
        self.run_script()
        self.run_script()
        server = self.servers[0]
        (layer,) = server.layers
        self.assertEqual((self.script, "/state"), layer.name)
        layer.ready = False
        self.run_script()
        layer.ready = True
        self.run_script()
        self.assertEqual((3, 1, 1), (len(server.taken), len(layer.taken), len(server.layers)))
        layer.lose("its warm interpreter has ended")
        self.run_script()
        self.assertEqual(2, len(server.layers))

    def test_warm_layer_successor(self) -> None:
        """After a thousand scripts another takes over, as soon as it is ready; it goes where its predecessor goes."""
        for _ in range(3):
            self.run_script()
        server = self.servers[0]
        (old,) = server.layers
        old.asked = RUNS
        server.layers_ready = False
        self.run_script()
        heir = server.layers[1]
        self.run_script()
        self.assertEqual((3, 0, 2), (len(old.taken), len(heir.taken), len(server.layers)))
        heir.ready = True
        self.run_script()
        self.assertEqual((True, 1), (old.retired, len(heir.taken)))
        heir.asked = RUNS
        self.run_script()
        last = server.layers[2]
        heir.waiting.pop().started(NOBODY, "stale: /srv")
        self.assertEqual((True, True, False), (heir.retired, last.retired, server.retired))

    def test_warm_layer_successor_is_lost(self) -> None:
        """One that ends before it takes over is followed by another; one that is no good is not asked for again."""
        for _ in range(3):
            self.run_script()
        server = self.servers[0]
        (old,) = server.layers
        old.asked = RUNS
        server.gives_layers = False
        self.run_script()
        server.gives_layers, server.layers_ready = True, False
        self.run_script()
        server.layers[1].lose("its warm interpreter has ended")
        self.run_script()
        self.assertEqual((3, False), (len(server.layers), old.retired))

    def test_warm_idle_successors(self) -> None:
        """What was to follow a server or a layer ends with it when nobody comes."""
        for _ in range(3):
            self.run_script()
        server = self.servers[0]
        server.layers[0].asked = server.asked = RUNS
        self.run_script()
        self.assertEqual((2, 2), (len(self.servers), len(server.layers)))
        every = [*self.servers, *server.layers]
        for one in every:
            one.waiting.clear()
        self.reactor.pump([150] * 8)
        self.assertEqual([True] * 4, [one.retired for one in every])
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_warm_layer_of_an_edited_script(self) -> None:
        """A script that was edited has another layer."""
        for _ in range(2):
            self.run_script()
        self.write(f"#!{PYTHON}\npass")
        for _ in range(3):
            self.run_script()
        self.assertEqual(2, len(self.servers[0].layers))

    def test_warm_layer_most(self) -> None:
        """There are as many layers as servers."""
        self.start = self.make(cgi_warm_servers=1)
        for name in ("a.py", "b.py"):
            script = self.write(name=name)
            for _ in range(2):
                self.run_script(script)
        self.assertEqual([True, False], [one.retired for one in self.servers[0].layers])

    def test_warm_layer_no_good(self) -> None:
        """A script that is worth no layer is looked at again after a while."""
        for _ in range(2):
            self.run_script()
        server = self.servers[0]
        server.layers[0].ready = False
        server.layers[0].lose("it imports logging")
        self.run_script()
        self.reactor.advance(BARE - 1)
        self.run_script()
        self.assertEqual(1, len(server.layers))
        self.reactor.advance(2)
        self.run_script()
        self.assertEqual(2, len(server.layers))

    def test_warm_layer_stale(self) -> None:
        """A layer that has become stale is made anew after a moment; its server stays."""
        for _ in range(3):
            self.run_script()
        server = self.servers[0]
        (layer,) = server.layers
        layer.waiting.pop().started(NOBODY, "stale: /srv")
        self.assertEqual((True, False), (layer.retired, server.retired))
        self.run_script()
        self.assertEqual(1, len(server.layers))
        self.reactor.advance(STALE + 1)
        self.run_script()
        self.assertEqual(2, len(server.layers))

    def test_warm_layer_refused(self) -> None:
        """Without a layer the server runs the script."""
        self.run_script()
        self.servers[0].gives_layers = False
        self.assertIsNotNone(self.run_script())

    def test_warm_memory_is_bounded(self) -> None:
        """What is remembered of scripts is forgotten before it grows without end."""
        for number in range(MAX_KNOWN + 2):
            self.start._scripts[str(number)] = (None, "", Interpreter(b"", (), b"", ()))
            self.start._runs[(((), b"", ()), str(number), None)] = 1
            self.start._bare[(((), b"", ()), str(number), None)] = 1.0
            self.start._told.add((str(number), ""))
        self.run_script()
        self.assertEqual((1, 0), (len(self.start._scripts), len(self.start._runs)))
        for _ in range(2):
            self.run_script()
        self.servers[0].layers[0].ready = False
        self.servers[0].layers[0].lose("it imports logging")
        self.assertEqual(1, len(self.start._bare))
        self.run_script(PYTHONDEVMODE="1")
        self.assertEqual([], self.reasons())


class WarmChildTest(StartCase):
    """A child whose process id comes later."""

    def child(self) -> WarmChild:
        child = self.run_script()
        assert child is not None
        self.servers[0].waiting.clear()
        return child

    def test_warm_child_starts(self) -> None:
        """Whoever wants to know its number is told, and whoever waits for its exit."""
        child, known, exits = self.child(), [], []
        child.known(known.append)
        self.assertIsNone(child.watch(self.reactor, lambda: exits.append(1)))
        child.look()
        self.assertIsNone(child.poll())
        child.started(NOBODY, "")
        child.known(known.append)
        self.assertEqual(([NOBODY] * 2, []), (known, exits))
        child.look()
        self.assertEqual([1], exits)
        self.assertEqual(0, child.poll())  # somebody else has reaped it
        self.reactor.advance(1)
        self.assertEqual([1], exits)

    def test_warm_child_watched_late(self) -> None:
        """It can be watched once it runs."""
        child, exits = self.child(), []
        child.started(NOBODY, "")
        self.assertIsNotNone(child.watch(self.reactor, lambda: exits.append(1)))
        self.reactor.advance(1)
        self.assertEqual([1], exits)

    def test_warm_child_status(self) -> None:
        """Its exit status is the process's."""
        child = self.child()
        pid = os.posix_spawn(
            "/bin/sh", ["sh", "-c", "read x; exit 3"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, *self._pipe())]
        )
        child.started(pid, "")
        self.assertIsNone(child.poll())
        os.close(self.writing)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.assertEqual((3, 3), (child.poll(), child.poll()))

    def _pipe(self) -> tuple[int, int]:
        reading, self.writing = os.pipe()
        self.addCleanup(os.close, reading)
        return reading, 0

    def test_warm_child_executed(self) -> None:
        """It is executed when the server fails, with the words why."""
        child = self.child()
        child.failed("its warm interpreter has ended")
        self.assertEqual((NOBODY, 7), (child.pid, child.poll()))
        self.assertEqual(["its warm interpreter has ended"], self.reasons())
        self.assertEqual(1, len(self.executed))

    def test_warm_child_signalled(self) -> None:
        """A signal waits for the number; a script that was to end before it ran is not executed any more."""
        sent: list[tuple[int, int]] = []
        self.patch(os, "killpg", lambda pid, number: sent.append((pid, number)))
        child = self.child()
        self.assertTrue(child.signal_later(signal.SIGTERM))
        child.started(NOBODY, "")
        self.assertEqual([(NOBODY, signal.SIGTERM)], sent)
        child, exits = self.child(), []
        child.watch(self.reactor, lambda: exits.append(1))
        child.signal_later(signal.SIGTERM)
        child.failed("its warm interpreter has ended")
        self.assertEqual((-signal.SIGTERM, 0, []), (child.poll(), child.pid, self.executed))
        self.assertFalse(child.signal_later(signal.SIGKILL))
        self.reactor.advance(0)
        self.assertEqual([1], exits)

    def test_warm_child_nowhere(self) -> None:
        """One that cannot be executed either ends with status 127, and the log says why."""
        child = self.child()
        self.refusal = ScriptStartError("the script is gone", 404)
        child.failed("its warm interpreter has ended")
        self.assertEqual((127, 0), (child.poll(), child.pid))
        self.assertEqual(
            ["the script is gone"], [one["reason"] for one in self.events if one["event"] == "cgi-start-failed"]
        )
