"""A plan to one service that starts and stops as one."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import Application, IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.assembly import THREADS_BOUND, Netsvc, assemble
from netsvc.config.daemon import DaemonSettings
from netsvc.config.listen import TcpAddress
from netsvc.config.plan import Instance, Plan
from netsvc.config.server import ServerSettings
from netsvc.errors import Origin, StartError
from netsvc.interfaces import IRuntime, IServiceKind
from netsvc.runtime.runtime import Runtime
from netsvc.runtime.systemd_sockets import Inherited
from netsvc.runtime.threads import ThreadWork
from tests.fakes import FakeMetrics
from tests.runtime.test_gate import Recorders
from tests.runtime.test_listening import Reactor
from tests.runtime.test_threads import Pool


@implementer(IServiceKind)
@frozen
class Kind:
    """A kind whose services `make` makes."""

    make: Any
    word: str = "test"
    summary: str = "For tests."
    source: str = ""
    runs: str = "every-worker"

    def load_settings(self) -> type[Any]:
        return ServerSettings

    def load_make_service(self) -> Any:
        return self.make


def serve(settings: ServerSettings, runtime: Any) -> IService:
    """A service that listens."""
    made: IService = runtime.serve(settings, Recorders())
    return made


class Failing(Service):
    """A service that cannot start, or cannot stop."""

    def __init__(self, at: str) -> None:
        self.at = at

    def privilegedStartService(self) -> None:
        if self.at == "bind-fault":
            raise ZeroDivisionError("oh")

    def startService(self) -> None:
        if self.at == "start-fault":
            raise ZeroDivisionError("oh")
        if self.at == "start":
            raise StartError("[broken] the queue is locked")
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None] | None:
        if self.at == "stop":
            raise ZeroDivisionError
        return None


class AssemblyTests(SynchronousTestCase):
    """assemble() and Netsvc."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.reactor = Reactor()
        self.addCleanup(self.reactor.close)
        self.refused: list[StartError] = []

    def assemble(self, *instances: tuple[Any, ServerSettings], observer: Any = None) -> Netsvc:
        plan = Plan(
            daemon=DaemonSettings(state_directory=self.directory / "state"),
            instances=tuple(
                Instance(Kind(make), f"test:{number}", settings, Origin("test.ini", 1, 1))
                for number, (make, settings) in enumerate(instances)
            ),
            files=(),
        )
        runtime = Runtime(
            reactor=self.reactor,
            settings=plan.daemon,
            state_directory=plan.daemon.state_directory,
            inherited=Inherited(),
            metrics=FakeMetrics(),  # type: ignore[arg-type]
        )
        top = assemble(plan, runtime, self.refused.append, observer)
        self.addCleanup(top._abandon)
        return top

    def on(self, port: int = 0) -> ServerSettings:
        return ServerSettings(listen=(TcpAddress(port=port, interface="127.0.0.1"),))

    def test_each_section_has_a_runtime_of_its_own(self) -> None:
        """A service is made from its settings and an IRuntime that bears its section's name."""
        given = []

        def make(settings: ServerSettings, runtime: Any) -> Service:
            given.append((settings, runtime.name, IRuntime.providedBy(runtime)))
            return Service()

        settings = self.on()
        top = self.assemble((make, settings))
        self.assertEqual(given, [(settings, "test:0", True)])
        self.assertEqual([service.name for service in top], ["test:0"])

    def test_a_kind_with_a_fault(self) -> None:
        """Kinds that cannot make their services are all named, with the place of the fault."""

        def broken(settings: ServerSettings, runtime: Any) -> Service:
            raise ZeroDivisionError("oh")

        def refusing(settings: ServerSettings, runtime: Any) -> Service:
            raise StartError("no quotes")

        error = self.assertRaises(StartError, self.assemble, (broken, self.on()), (refusing, self.on()))
        first, second = str(error).splitlines()
        self.assertIn("[test:0] its kind has a fault: ZeroDivisionError: oh (", first)
        self.assertIn("test_assembly.py:", first)
        self.assertEqual(second, "[test:1] no quotes")

    def test_start_and_stop(self) -> None:
        """All bind, then all start; the state directory is made; all stop."""
        top = self.assemble((serve, self.on()), (serve, self.on()))
        top.privilegedStartService()
        self.assertEqual((self.directory / "state").stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.reactor.ports, [])
        top.startService()
        self.assertEqual(len(self.reactor.ports), 2)
        for call, arguments, _ in self.reactor.whenRunningHooks:
            call(*arguments)
        stopped = top.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertFalse(any(port.connected for port in self.reactor.ports))

    def test_stop_waits_for_threads(self) -> None:
        """The stop ends when threads have done their work; what takes too long is not waited for, and is told."""
        for late in (False, True):
            logged: list[Any] = []
            globalLogPublisher.addObserver(logged.append)
            self.addCleanup(globalLogPublisher.removeObserver, logged.append)
            top = self.assemble((serve, self.on()))
            top.privilegedStartService()
            top.startService()
            threads = Pool()
            top.runtime.threads = ThreadWork(threads)
            top.runtime.for_section("test:0").in_thread(int)
            stopped = top.stopService()
            self.reactor.advance(0)
            self.assertNoResult(stopped)
            if late:
                threads.advance(THREADS_BOUND)
            else:
                threads.finish()
                threads.advance(0)
            self.successResultOf(stopped)
            events = [one.get("event") for one in logged]
            self.assertEqual(["threads-busy" in events, "stopped" in events], [late, True])

    def test_unused_sockets(self) -> None:
        """A socket of systemd's that no listen line takes is named in the log."""
        top = self.assemble((serve, self.on()))
        top.runtime.inherited = Inherited([99], ["forgotten"])
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        top.privilegedStartService()
        self.addCleanup(top.runtime.listening[0].abandon)
        self.assertEqual([one["name"] for one in logged if one.get("event") == "socket-unused"], ["forgotten"])

    def test_every_failing_bind_is_named(self) -> None:
        """Two sections that cannot bind are both named, and nothing stays bound."""
        taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        for one in taken:
            self.addCleanup(one.close)
        ports = [one.getsockname()[1] for one in taken]
        top = self.assemble((serve, self.on(ports[0])), (serve, self.on()), (serve, self.on(ports[1])))
        top.privilegedStartService()
        text = str(self.refused[0])
        self.assertIn(f"[test:0] cannot listen on tcp:127.0.0.1:{ports[0]}", text)
        self.assertIn(f"[test:2] cannot listen on tcp:127.0.0.1:{ports[1]}", text)
        self.assertEqual([listening.where() for listening in top.runtime.listening], [[], [], []])

    def test_a_service_that_cannot_start(self) -> None:
        """A StartError at start ends it too, with the sockets closed."""
        top = self.assemble((serve, self.on()), (lambda settings, runtime: Failing("start"), self.on()))
        top.privilegedStartService()
        top.startService()
        self.assertEqual(str(self.refused[0]), "[test:1] [broken] the queue is locked")
        self.assertEqual(top.runtime.listening[0].where(), [])

    def test_a_kind_with_a_fault_at_start(self) -> None:
        """Whatever a kind raises while it binds or starts is one clear line with its place, and nothing stays bound."""
        for at in ("bind-fault", "start-fault"):
            self.refused.clear()
            top = self.assemble((serve, self.on()), (lambda settings, runtime, at=at: Failing(at), self.on()))
            top.privilegedStartService()
            if at == "start-fault":
                top.startService()
            self.assertIn("[test:1] its kind has a fault: ZeroDivisionError: oh (", str(self.refused[0]))
            self.assertEqual(top.runtime.listening[0].where(), [])

    def test_one_that_fails_to_stop_harms_no_other(self) -> None:
        """An error at stop is logged; the others stop, and the stop ends."""
        top = self.assemble((lambda settings, runtime: Failing("stop"), self.on()), (serve, self.on()))
        top.privilegedStartService()
        top.startService()
        stopped = top.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertFalse(self.reactor.ports[0].connected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cut(self) -> None:
        """A second signal cuts what is still open."""
        top = self.assemble((serve, self.on()), (lambda settings, runtime: Service(), self.on()))
        top.runtime.for_section("udp").serve(self.on(), None, None)
        top.cut()

    def test_twistd_logs_to_the_observer(self) -> None:
        """The application that the service becomes part of carries its observer; without one it carries none."""

        @implementer(ILogObserver)
        class Observer:
            def __call__(self, event: Any) -> None: ...

        observer = Observer()
        application = Application("netsvc")
        self.assemble(observer=observer).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), observer)
        bare = Application("netsvc")
        self.assemble().setServiceParent(bare)
        self.assertIsNone(bare.getComponent(ILogObserver))
