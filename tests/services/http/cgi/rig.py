"""Runs the engine with real scripts: a reactor of the test's own that nobody else sees, an exchange of memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from netsvc.services.http.cgi.engine import CgiEngine
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.exchange import IExchange, RequestHead
from netsvc.services.http.site.paths import Script
from netsvc.services.http.site.style import PLAIN, AnswerStyle
from tests.fakes import FakeMetrics

BOUND = 120.0  # seconds until a test that waits has failed; nothing waits so long that works

Pairs = tuple[tuple[bytes, bytes], ...]


def request_head(
    method: str = "GET", target: bytes = b"/cgi-bin/script", headers: Pairs = (), host: str = "example.com:8000"
) -> RequestHead:
    """The head of a request."""
    path, _, query = target.partition(b"?")
    return RequestHead(method=method, target=target, path=path, query=query, version=(1, 1), headers=headers, host=host)


@implementer(IExchange)
class FakeExchange:
    """Remembers an answer. The test plays the peer: `give`, `end`, `leave`."""

    def __init__(
        self,
        head: RequestHead | None = None,
        body_length: int | None = 0,
        peer: tuple[str, int] = ("192.0.2.7", 40000),
        receives: Callable[[FakeExchange], None] | None = None,
    ) -> None:
        self.head = head or request_head()
        self.peer = peer
        self.local = ("192.0.2.1", 8000)
        self.secure = False
        self.style: AnswerStyle = PLAIN
        self.user = ""
        self.can_be_taken_over = True
        self.taken_over = False
        self.request_id = "rq1"
        self.body_length = body_length
        self.lost: Deferred[None] = Deferred()
        self.receiver: Any = None
        self.receives = receives
        self.body_paused = False
        self.pauses = 0
        self.status: int | None = None
        self.reason: str | None = None
        self.headers: Pairs = ()
        self.length: int | None = None
        self.body = bytearray()
        self.end = ""
        self.producer: Any = None
        self.written: Callable[[bytes], None] = self.body.extend

    def receive_body(self, receiver: Any) -> None:
        self.receiver = receiver
        if self.receives is not None:
            self.receives(self)

    def give(self, data: bytes) -> None:
        self.receiver.body_received(data)

    def give_all(self, data: bytes) -> None:
        if data:
            self.give(data)
        self.receiver.body_finished()

    def take_over(self) -> bool:
        assert self.status is None
        self.taken_over = self.can_be_taken_over
        return self.taken_over

    def leave(self) -> None:
        """The peer goes, as the core tells it."""
        lost, self.lost = self.lost, Deferred()
        self.end = self.end or "left"
        if self.producer is not None:
            self.producer.stopProducing()
        lost.callback(None)

    def pause_body(self) -> None:
        self.body_paused = True
        self.pauses += 1

    def resume_body(self) -> None:
        self.body_paused = False

    def send_continue(self) -> None:
        raise AssertionError("the core does this")

    def inform(self, status: int, headers: Pairs, reason: str | None) -> None:
        raise AssertionError("no script has interim answers")

    def begin(self, status: int, headers: Pairs, length: int | None = None, reason: str | None = None) -> None:
        assert self.status is None
        assert not self.end
        self.status, self.headers, self.length, self.reason = status, tuple(headers), length, reason

    def write(self, data: bytes) -> None:
        assert self.status is not None
        assert data
        if self.end != "left":
            assert not self.end
            self.written(data)

    def send_file(self, descriptor: int, offset: int, length: int) -> Deferred[None]:
        self.write(os.pread(descriptor, length, offset))
        return succeed(None)

    def answer(self, status: int, headers: Pairs, body: bytes, reason: str | None = None) -> None:
        self.begin(status, headers, len(body), reason)
        if body:
            self.write(body)
        self.finish()

    def register_producer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregister_producer(self) -> None:
        self.producer = None

    def finish(self) -> None:
        assert not self.end
        assert self.producer is None
        self.end = "finished"

    def abort(self) -> None:
        assert not self.end
        self.end = "aborted"

    def refuse(self, status: int, reason: str | None = None, headers: Pairs = ()) -> None:
        assert self.status is None
        assert not self.taken_over
        assert not self.end
        self.status, self.headers, self.end = status, tuple(headers), "refused"


def header(exchange: FakeExchange, name: bytes) -> list[bytes]:
    """The values of one field of the answer."""
    return [value for key, value in exchange.headers if key.lower() == name]


class ReactorCase(SynchronousTestCase):
    """A test with a reactor that it turns by hand."""

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.reactor.startRunning(installSignalHandlers=False)
        self.addCleanup(self._close_reactor)
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-cgi-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def _close_reactor(self) -> None:
        calls = self.reactor.getDelayedCalls()
        watched = [one for one in self.reactor.removeAll() if one is not self.reactor.waker]
        self.reactor.fireSystemEvent("shutdown")
        waker = self.reactor.waker
        self.reactor._internalReaders.discard(waker)
        waker.connectionLost(None)
        self.reactor._poller.close()
        self.assertEqual((calls, watched), ([], []), "left on the reactor")
        failures = [event for event in self.events if event.get("log_failure") is not None]
        self.assertEqual(failures, [], "errors in the log")

    def spin(self, until: Callable[[], Any], bound: float = BOUND) -> None:
        """Turn the reactor until something holds."""
        end = time.monotonic() + bound
        while not until():
            if time.monotonic() > end:
                raise AssertionError("it did not come to pass")
            self.reactor.iterate(0.02)

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one.get("event") == event]

    def script(self, text: str | bytes, name: str = "script", mode: int = 0o755, path_info: str = "") -> Script:
        place = self.directory / "www" / "cgi-bin"
        place.mkdir(parents=True, exist_ok=True)
        file = place / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
        return Script(
            filename=file, script_name=f"/cgi-bin/{name}", path_info=path_info, docroot=self.directory / "www"
        )


class EngineCase(ReactorCase):
    """A test with an engine. At its end no process and no descriptor of it is left."""

    def setUp(self) -> None:
        super().setUp()
        self.descriptors = descriptors()
        self.metrics = FakeMetrics()
        self.engines: list[CgiEngine] = []
        self.addCleanup(self._stop_engines)  # trial runs clean-ups before tearDown

    def _stop_engines(self) -> None:
        for engine in self.engines:
            done: list[object] = []
            engine.stop().addCallback(done.append)
            self.spin(lambda: done)  # noqa: B023
        self.spin(lambda: not self.reactor.getDelayedCalls())
        leaked = {key: value for key, value in descriptors().items() if self.descriptors.get(key) != value}
        self.assertEqual(leaked, {}, "descriptors leaked")

    def engine(self, *, environ: dict[str, str] | None = None, extra: Any = None, **options: Any) -> CgiEngine:
        settings = evolve(CgiSettings(), **{"cgi_warm": "off", **options})
        engine = CgiEngine(settings, self.reactor, self.metrics, environ=environ or {}, **(extra or {}))
        self.engines.append(engine)
        return engine

    def open_gate(self) -> None:
        """Let a script go on that waits at www/gate."""
        self.spin(lambda: open_gate(self.directory / "www" / "gate"))

    def answer(self, text: str | bytes, exchange: FakeExchange | None = None, **options: Any) -> FakeExchange:
        """Run a script and wait for the end of its answer and of the script."""
        exchange = exchange or FakeExchange()
        engine = self.engine(**options)
        engine.run(exchange, self.script(text))
        self.spin(lambda: exchange.end and not engine._all)
        return exchange


def open_gate(gate: Path) -> bool:
    """Let a script go on that reads from a named pipe; False while it does not yet."""
    try:
        descriptor = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(descriptor, b"go\n")
    except BrokenPipeError:  # who read from it has just left
        return False
    finally:
        os.close(descriptor)
    return True


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def descriptors() -> dict[str, str]:
    """What is open in this process, by number."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


assert verifyObject(IExchange, FakeExchange())
