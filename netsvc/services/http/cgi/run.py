"""One run of one script for one exchange: from the request's body to the last octet of the answer.

The answer begins when the script's head is whole and streams from then on. Before that every failure is an error
page; after it the answer is cut visibly. Once the answer is complete the script may go on: only `cgi_timeout` ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from netsvc.services.http.cgi.body import Intake
from netsvc.services.http.cgi.child import Command, ScriptStartError
from netsvc.services.http.cgi.complaints import Complaints
from netsvc.services.http.cgi.deadlines import Deadline
from netsvc.services.http.cgi.environment import script_arguments, script_environment
from netsvc.services.http.cgi.failure_page import failure_page, is_loopback
from netsvc.services.http.cgi.house import House
from netsvc.services.http.cgi.nph import PREFIX
from netsvc.services.http.cgi.output import BadOutputError
from netsvc.services.http.cgi.process import Ending, ScriptProcess
from netsvc.services.http.cgi.redirect import MAX_REDIRECTS, RedirectedExchange
from netsvc.services.http.cgi.reply import Reply
from netsvc.services.http.pages import PAGE_HEADERS
from netsvc.services.http.site.paths import Script

log = Logger()

# Octets that a script may print once its answer is complete, by its Content-Length or a redirect. One that prints
# more has lost its way; before, a broken pipe would only make it complain.
MAX_SURPLUS = 1 << 20


@lru_cache(maxsize=1024)
def _place(script: Path) -> tuple[str, Path, bool]:
    """A script's file, its directory, and whether it is an nph- script."""
    return str(script), script.parent, script.name.startswith(PREFIX)


@implementer(IPushProducer)
class Run:
    """One run. The engine calls prepare, then start or refuse; it is told when.

    :param ready: called with this run once it wants to start.
    :param over: called with this run when nothing of it is left, with the outcome in a word.
    """

    def __init__(
        self,
        house: House,
        exchange: Any,
        script: Script,
        *,
        ready: Callable[[Run], None],
        over: Callable[[Run, str], None],
    ) -> None:
        self._house = house
        self._settings = house.settings
        self._exchange = exchange
        self._script = script
        self._ready = ready
        self._over = over
        self._intake: Intake | None = None
        self._process: ScriptProcess | None = None
        self._command: Command | None = None
        self._file, self._directory, nph = _place(script.filename)
        self._reply = Reply(
            exchange,
            script.script_name,
            nph=nph,
            producer=self,
            announce=house.announce,
            redirect=None if house.route is None else self._redirect,
            whole=self._finish,
        )
        self._mark = exchange.request_id.encode()
        self._complaints = Complaints(self._complain)
        self._answering = True  # the exchange still waits for something from this run
        self._surplus = 0
        self._paused = False
        self._outcome = ""
        self._deadline: Deadline | None = None

    @property
    def peer(self) -> str:
        """The host that asked; "" on UNIX sockets."""
        host: str = self._exchange.peer[0]
        return host

    @property
    def script_name(self) -> str:
        """The script as its URL names it."""
        return self._script.script_name

    @property
    def request_id(self) -> str:
        """The word that the log and an error page have for the request."""
        word: str = self._exchange.request_id
        return word

    def prepare(self) -> None:
        """Take the body; `ready` is called when a script may start."""
        self._exchange.lost.addCallback(self._peer_left)
        if not self._answering:  # it has left already
            return
        length = self._exchange.body_length
        if length is not None and length > self._settings.cgi_max_body:
            self.refuse(413, "too-long")
        elif length == 0:
            self._ready(self)
        else:
            self._intake = Intake(
                self._exchange,
                most=self._settings.cgi_max_body,
                spool=self._house.spool,
                ready=lambda: self._ready(self),
                refused=lambda status: self.refuse(status, "too-long" if status == 413 else "no-room"),
                lost=lambda: self._leave("peer-left"),
            )
            self._intake.start()

    def refuse(self, status: int, outcome: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer with an error page; no script has started, or it is cut."""
        if self._answering:
            self._detach()
            self._exchange.refuse(status, headers=headers)
        self._settle(outcome)

    def start(self) -> None:
        """Start the script; `over` is called in any case."""
        try:
            self._start()
        except ScriptStartError as error:
            log.error(
                "{script}: {reason} (request {request_id})",
                event="cgi-start-failed",
                script=str(self._script.filename),
                reason=str(error),
                request_id=self._exchange.request_id,
            )
            self.refuse(error.status, "not-started")

    def stop(self) -> None:
        """End everything of this run at once: the daemon stops."""
        if self._reply.begun:
            self._leave("stopped")
        else:
            self.refuse(503, "stopped")

    # What the script does

    def stdout_received(self, data: bytes) -> None:
        """As Listener: the head, then the body."""
        if not self._answering:
            self._surplus += len(data)
            if self._surplus > MAX_SURPLUS and self._process is not None:
                self._process.cut()
            return
        try:
            self._reply.feed(data, last=self._process is not None and self._process.output_is_whole)
        except BadOutputError as error:
            self._fail(str(error), None)

    def stderr_received(self, data: bytes) -> None:
        """As Listener: to the log."""
        self._complaints.feed(data)

    def stdin_full(self, full: bool) -> None:
        """As Listener: to the peer."""
        if self._intake is not None:
            self._intake.flow(full)

    def stdout_closed(self) -> None:
        """As Listener: the answer's end has to wait for the script's."""
        self._reply.let_go()

    def script_ended(self, ending: Ending) -> None:
        """As Listener: the answer is complete, or never will be."""
        if not self._answering:
            return
        if not self._reply.begun:
            reason = "its head was not complete" if self._reply.started else "it printed nothing"
            self._fail(reason, ending)
        elif self._crashed(ending):
            log.error(
                "{script}: crashed in the middle of its answer, {ending} (request {request_id})",
                event="cgi-aborted",
                script=self._script.script_name,
                ending=str(ending),
                request_id=self._exchange.request_id,
            )
            self._leave("crashed")
        else:
            self._finish()

    # What the peer does, as IPushProducer

    def pauseProducing(self) -> None:
        """The peer reads slower than the script prints."""
        self._paused = True
        if self._process is not None:
            self._process.pause()

    def resumeProducing(self) -> None:
        """The peer wants more."""
        self._paused = False
        if self._process is not None:
            self._process.resume()

    def stopProducing(self) -> None:
        """The peer is gone."""
        self._peer_left(None)

    # The rest is this run's own

    def _start(self) -> None:
        settings, script, exchange = self._settings, self._script, self._exchange
        intake = self._intake
        environment = script_environment(
            exchange.head,
            peer=exchange.peer,
            local=exchange.local,
            secure=exchange.secure,
            script=script,
            body_length=0 if intake is None else intake.length,
            settings=settings,
            inherited=self._house.inherited,
            request_id=exchange.request_id,
            user=exchange.user,
        )
        offered = self._house.python_path()
        if offered:
            own = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = f"{own}:{offered}" if own else offered
        self._command = Command(
            arguments=(self._file, *script_arguments(exchange.head, settings)),
            directory=self._directory,
            environment=environment,
            umask=settings.cgi_umask,
            nice=settings.cgi_nice,
            cpu_limit=math.ceil(settings.cgi_cpu_limit),
            memory_limit=settings.cgi_memory_limit,
        )
        self._process = process = ScriptProcess(
            self._house.reactor,
            self._command,
            self,
            stdin=DEVNULL if intake is None else intake.open_file(),
            grace=settings.cgi_kill_grace,
            background=settings.cgi_background,
            gone=self._gone,
            start=self._house.start,
        )
        self._house.remains.begin(
            self._mark, process.pid, background=settings.cgi_background, grace=settings.cgi_kill_grace
        )
        if not process.pid:
            process.known(partial(self._house.remains.identify, self._mark))
        self._deadline = self._house.deadlines.watch(process, excused=self._excused, over=self._time_up)
        if intake is not None and process.stdin is not None:
            intake.connect(process.stdin)

    def _redirect(self, location: bytes) -> None:
        exchange, route = self._exchange, self._house.route
        if getattr(exchange, "redirects", 0) >= MAX_REDIRECTS or route is None:
            self._fail(f"more than {MAX_REDIRECTS} local redirects in a row", None)
            return
        self._outcome = "redirected"
        self._detach()
        route(RedirectedExchange(exchange, location))

    def _crashed(self, ending: Ending) -> bool:
        """Whether an answer that has begun is not whole, by `cgi_crash_on`."""
        if not ending.status:
            return False
        complained = bool(self._complaints.tail)
        when = self._settings.cgi_crash_on
        return ending.signalled or when == "status" or (when == "stderr" and complained)

    def _finish(self) -> None:
        """The answer is complete."""
        if not self._answering:  # the peer left as it began
            return
        self._outcome = "ok"
        self._detach()
        self._reply.finish()
        process, intake = self._process, self._intake
        if intake is not None and not intake.whole and process is not None and process.stdin is not None:
            process.stdin.close()  # nobody brings the rest of the body

    def _fail(self, reason: str, ending: Ending | None) -> None:
        """There is no answer, and there will be none: 500."""
        exchange, process, command = self._exchange, self._process, self._command
        log.error(
            "{script}: no answer: {reason}; {ending} (request {request_id})",
            event="cgi-failed",
            script=self._script.script_name,
            reason=reason,
            ending="cut" if ending is None else str(ending),
            request_id=exchange.request_id,
        )
        self._outcome = "failed"
        self._detach()
        if self._settings.cgi_debug and is_loopback(exchange.peer[0]) and command is not None:
            page = failure_page(
                script=self._script.script_name,
                reason=reason,
                ending="being cut off" if ending is None else str(ending),
                request_id=exchange.request_id,
                stderr=self._complaints.tail,
                command=command,
            )
            exchange.answer(500, (*PAGE_HEADERS, (b"Cache-Control", b"no-store")), page)
        else:
            exchange.refuse(500)
        if process is not None:
            process.cut()

    def _leave(self, outcome: str) -> None:
        """Break off: the answer, if it has begun, visibly."""
        if self._answering:
            self._detach()
            if self._reply.begun:
                self._reply.abort()
        self._settle(outcome)

    def _peer_left(self, _: object) -> None:
        if self._answering:
            self._detach()
            self._settle("peer-left")

    def _settle(self, outcome: str) -> None:
        """End the script, or what waits for it; `over` follows."""
        if not self._outcome:
            self._outcome = outcome
        if self._process is not None:
            self._process.cut()
        else:
            self._close()
            self._over(self, self._outcome)

    def _detach(self) -> None:
        """From now on nothing of the exchange is this run's."""
        self._answering = False
        if self._deadline is not None:
            self._deadline.answered()
        if self._paused:
            self.resumeProducing()
        if self._intake is not None and self._process is None:
            self._intake.drop()

    def _close(self) -> None:
        if self._deadline is not None:
            self._deadline.stop()
        if self._intake is not None:
            self._intake.drop()

    def _gone(self) -> None:
        process = self._process
        self._house.remains.end(self._mark, 0 if process is None else process.pid)
        if self._answering:
            # Its output is still on the way to a slow peer.
            self._outcome = "ok"
        self._complaints.finish()
        if self._complaints.untold:
            log.warn(
                "{script}: {count} more lines on stderr (request {request_id})",
                event="cgi-stderr-cut",
                script=self._script.script_name,
                count=self._complaints.untold,
                request_id=self._exchange.request_id,
            )
        self._close()
        self._over(self, self._outcome)

    def _complain(self, line: str) -> None:
        log.warn(
            "{script}: {line} (request {request_id})",
            event="cgi-stderr",
            script=self._script.script_name,
            line=line,
            request_id=self._exchange.request_id,
        )

    # Time

    def _excused(self) -> bool:
        """Whether it is the peer's turn, to read the answer or to send more of the body; or the script has read on."""
        intake, process = self._intake, self._process
        if self._paused:
            return True
        if intake is None or process is None:
            return False
        if process.stdin is None:
            return intake.has_moved()
        return not intake.whole and not process.stdin.closed and not process.stdin.waiting

    def _time_up(self, limit: str) -> None:
        log.warn(
            "{script}: {limit} is over (request {request_id})",
            event="cgi-time-up",
            script=self._script.script_name,
            limit=limit,
            request_id=self._exchange.request_id,
        )
        if self._reply.begun or not self._answering:
            self._leave("time-up")
        else:
            self.refuse(504, "time-up")
