"""Runs scripts for exchanges: so many at once, a queue behind them, 503 behind that.

engine = CgiEngine(settings, runtime.reactor, runtime.metrics, state_directory=..., route=...)
engine.run(exchange, script)      # the exchange is the engine's from now on
yield engine.stop()               # nothing of any script is left
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.net.environment import clean_environment
from netsvc.services.http.cgi import legacy
from netsvc.services.http.cgi.child import Start, start_child
from netsvc.services.http.cgi.deadlines import Deadlines
from netsvc.services.http.cgi.house import House
from netsvc.services.http.cgi.remains import Remains, remains_of
from netsvc.services.http.cgi.run import Run
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.cgi.source import show_source
from netsvc.services.http.cgi.spool import Spool
from netsvc.services.http.cgi.turns import Turns, source_of
from netsvc.services.http.cgi.warm.start import WarmStart
from netsvc.services.http.site.paths import Script

log = Logger()

RETRY_AFTER = 5  # seconds that a refused peer is asked to wait; RFC 9110, 10.2.3
MAX_ANNOUNCED = 1000  # script names remembered as announced; the names are the site's, not the peer's


class CgiEngine:
    """The scripts of one http service, or of one scope of it: several engines stand side by side.

    :param settings: its options.
    :param reactor: an IReactorFDSet and IReactorTime.
    :param metrics: an IMetrics.
    :param service: the section's name, a label of the metrics.
    :param state_directory: where the modules of `cgi_legacy` are put; None offers none.
    :param route: called with an exchange to answer it anew: local redirects need it. Without it they are answered
        as redirects of the client (302).
    :param environ: the daemon's environment, for `cgi_pass_env`.
    :param start: starts a child; see :mod:`netsvc.services.http.cgi.child`. None: as `cgi_warm` says.
    :param remains: ends what scripts leave behind; the one of the reactor's engines when it is None.
    :param pipes: where the descriptors of scripts are watched, such as a Lane; None is the reactor.
    """

    def __init__(
        self,
        settings: CgiSettings,
        reactor: Any,
        metrics: IMetrics,
        *,
        service: str = "http",
        state_directory: Path | None = None,
        route: Callable[[Any], object] | None = None,
        environ: Mapping[str, str] = os.environ,
        start: Start | None = None,
        remains: Remains | None = None,
        pipes: Any = None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._service = service
        self._state_directory = state_directory
        self._offered: str | None = None
        self._announced: set[str] = set()
        self._remains = remains_of(reactor) if remains is None else remains
        pipes = reactor if pipes is None else pipes
        self._warm: WarmStart | None = None
        if start is None and settings.cgi_warm != "off":
            start = self._warm = WarmStart(
                settings,
                pipes,
                legacy=self._python_path,
                claim=self._remains.claim,
                release=self._remains.release,
            )
        self._deadlines = Deadlines(reactor, settings)
        self._house = House(
            settings=settings,
            reactor=pipes,
            inherited=clean_environment(environ),
            python_path=self._python_path,
            start=start or start_child,
            deadlines=self._deadlines,
            remains=self._remains,
            spool=Spool(settings.cgi_max_spool, None if state_directory is None else state_directory / "cgi-spool"),
            route=route,
            announce=self._announce,
        )
        self._all: dict[Run, None] = {}
        self._stopped: Deferred[None] = Deferred()  # fires when the last has ended after stop()
        self._running: dict[Run, tuple[float, str]] = {}  # since when, and for whom
        self._sources: Counter[str] = Counter()  # how many of them for whom
        self._queue: Turns[Run] = Turns()
        self._waits: dict[Run, Any] = {}  # the calls that end the wait in the queue
        self._dequeues = False
        self._stopping = False
        # Engines of one service share these: gauges are only added to.
        self._finished = metrics.counter("cgi_scripts", "Runs of CGI scripts by their outcome.", ("service", "outcome"))
        running = metrics.gauge("cgi_running", "CGI scripts that run now.", ("service",))
        waiting = metrics.gauge("cgi_queued", "Requests that wait for a CGI script to end.", ("service",))
        seconds = metrics.histogram(
            "cgi_seconds", "Time from the start of a CGI script until nothing of it is left.", ("service",)
        )
        self._count = running.bind(service=service)
        self._waiting = waiting.bind(service=service)
        self._seconds = seconds.bind(service=service)

    def run(self, exchange: Any, script: Script) -> None:
        """Answer an IExchange with what a script prints. Never raises; the exchange is the engine's from now on."""
        if self._settings.cgi_source == "text" and not self._stopping and not os.access(script.filename, os.X_OK):
            if script.path_info:
                exchange.refuse(404)
            else:
                show_source(exchange, script.filename)
            return
        run = Run(self._house, exchange, script, ready=self._admit, over=self._over)
        self._all[run] = None
        if self._stopping:
            run.refuse(503, "stopped")
        elif os.access(script.filename, os.X_OK):
            run.prepare()
        elif not os.path.isfile(script.filename):
            run.refuse(404, "not-started")
        else:
            log.warn(
                "{script}: may not be executed (request {request_id})",
                event="cgi-not-executable",
                script=str(script.filename),
                request_id=run.request_id,
            )
            run.refuse(403, "not-started")

    def stop(self) -> Deferred[None]:
        """End every script, by the ladder; fires when nothing of any is left."""
        self._stopping = True
        done = self._stopped.addCallback(self._cool)
        for run in tuple(self._all):
            run.stop()
        self._look_for_end()
        return done

    def _look_for_end(self) -> None:
        if self._stopping and not self._all and not self._stopped.called:
            self._stopped.callback(None)

    def _cool(self, _: None) -> Deferred[None]:
        self._deadlines.stop()
        if self._warm is not None:
            self._warm.stop()
        return self._remains.settle()

    def _python_path(self) -> str:
        """Where scripts find what `cgi_legacy` offers. Made at the first script: then the state directory is there."""
        if self._offered is None:
            self._offered = ""
            if self._settings.cgi_legacy and self._state_directory is not None:
                self._offered = self._offer(self._state_directory / "cgi-legacy")
        return self._offered

    def _offer(self, directory: Path) -> str:
        try:
            return str(directory) if legacy.offer(directory) else ""
        except OSError as error:
            log.warn(
                "the modules cgi and cgitb are not offered: {reason}", event="cgi-legacy-failed", reason=str(error)
            )
            return ""

    def _announce(self, script_name: str) -> bool:
        first = script_name not in self._announced and len(self._announced) < MAX_ANNOUNCED
        if first:
            self._announced.add(script_name)
        return first

    def _may_start(self, source: str) -> bool:
        most = self._settings.cgi_max_scripts_per_source
        return not most or self._sources[source] < most

    def _admit(self, run: Run) -> None:
        """A run wants to start: now, later, or not at all. Those in the queue can then not start, or are about to."""
        source = source_of(run.peer)
        if len(self._running) < self._settings.cgi_max_scripts and not self._dequeues and self._may_start(source):
            self._start(run, source)
        elif len(self._queue) < self._settings.cgi_queue:
            self._queue.add(run, source)
            self._waits[run] = self._reactor.callLater(self._settings.cgi_queue_timeout, self._turn_away, run)
            self._waiting.inc()
        else:
            self._turn_away(run)

    def _turn_away(self, run: Run) -> None:
        self._queue.remove(run)
        self._wait_is_over(run)
        log.warn(
            "{script}: refused: {running} scripts run and {queued} requests wait (request {request_id})",
            event="cgi-busy",
            script=run.script_name,
            running=len(self._running),
            queued=len(self._queue),
            request_id=run.request_id,
        )
        run.refuse(503, "busy", ((b"Retry-After", b"%d" % RETRY_AFTER),))

    def _wait_is_over(self, run: Run) -> None:
        call = self._waits.pop(run, None)
        if call is not None:
            self._waiting.inc(-1)
            if call.active():
                call.cancel()

    def _start(self, run: Run, source: str) -> None:
        self._running[run] = (self._reactor.seconds(), source)
        self._sources[source] += 1
        self._count.inc()
        run.start()

    def _over(self, run: Run, outcome: str) -> None:
        self._finished.inc(service=self._service, outcome=outcome)
        if self._queue.remove(run):
            self._wait_is_over(run)
        started, source = self._running.pop(run, (None, ""))
        if started is not None:
            self._seconds.observe(self._reactor.seconds() - started)
            self._count.inc(-1)
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]
        if len(self._queue) and not self._dequeues and not self._stopping:
            # In a turn of its own: a run that fails to start ends in here again.
            self._dequeues = True
            self._reactor.callLater(0, self._dequeue)
        del self._all[run]
        self._look_for_end()

    def _dequeue(self) -> None:
        self._dequeues = False
        while len(self._running) < self._settings.cgi_max_scripts and not self._stopping:
            run = self._queue.next(self._may_start)
            if run is None:
                break
            self._wait_is_over(run)
            self._start(run, source_of(run.peer))
