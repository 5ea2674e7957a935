"""What twistd calls: Options reads and validates the configuration, makeService assembles the daemon.

The only module that touches the global reactor.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from typing import Any, NoReturn, TextIO

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from netsvc.config.load import load
from netsvc.config.plan import Plan
from netsvc.config.report import check_lines
from netsvc.errors import ConfigError, StartError
from netsvc.registry import kinds

EXIT_BAD_CONFIGURATION = 1
EXIT_CANNOT_START = 1
STATUS_PIPE_OCTETS = 100  # twistd's parent reads no more

log = Logger()


class Options(usage.Options):
    """Options of ``twistd netsvc``."""

    synopsis = "[options]"
    longdesc = (
        "Runs every service that the INI file names. 'netsvc check FILE' checks a file without "
        "running it; 'netsvc kinds' lists what can stand in one."
    )
    optParameters = [["config", "c", None, "The INI file."]]  # noqa: RUF012 - the form that usage.Options has
    plan: Plan

    def postOptions(self) -> None:
        """Read the configuration; every fault of every file ends the start, with no traceback.

        :raise usage.UsageError: no file was named.
        """
        file = self["config"]
        if file is None:
            raise usage.UsageError("name the configuration: twistd -n netsvc --config etc/netsvc.ini")
        try:
            self.plan = load(file, kinds())
        except ConfigError as error:
            print("\n".join(check_lines(file, None, error.faults)), file=sys.stderr)
            raise SystemExit(EXIT_BAD_CONFIGURATION) from None


def makeService(options: Options) -> IService:
    """Assemble the daemon; nothing is bound yet."""
    from twisted.internet import reactor

    from netsvc.assembly import assemble
    from netsvc.net.heap import give_back
    from netsvc.runtime.descriptors import raise_descriptor_limit
    from netsvc.runtime.lane import Lane
    from netsvc.runtime.log_output import log_output
    from netsvc.runtime.metrics import LOG_WRITE_ERRORS, Metrics
    from netsvc.runtime.runtime import Runtime
    from netsvc.runtime.signals import on_second_signal
    from netsvc.runtime.systemd_sockets import inherited

    raise_descriptor_limit()
    give_back()
    # The reactor's own clock is the time of day: set forward, it would close every connection as idle; set back, it
    # would hold every timer. Nothing is scheduled yet, so all its timers are on this one.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    twistd: Any = options.parent if options.parent is not None else {}

    stderr = sys.stderr  # twistd will replace it by one that logs

    def refuse(error: StartError) -> None:
        _refuse(error, twistd, stderr)

    settings, metrics = options.plan.daemon, Metrics()
    observer: Any = None
    if not twistd.get("logger") and not twistd.get("syslog"):
        try:
            observer = log_output(
                settings,
                file=twistd.get("logfile"),
                daemonised=not twistd.get("nodaemon"),
                on_lost=LOG_WRITE_ERRORS.of(metrics).inc,
            )
        except StartError as error:
            _end(error, stderr)
    runtime = Runtime(
        reactor=reactor,
        settings=settings,
        state_directory=settings.state_directory,
        inherited=inherited(os.environ, os.getpid()),
        metrics=metrics,
        streams=Lane(reactor),
    )
    try:
        top = assemble(options.plan, runtime, refuse, observer)
    except StartError as error:
        _end(error, stderr)
    reactor.callWhenRunning(on_second_signal, reactor, top.cut)
    # What is there once the daemon is up stays until its end. The garbage collector would walk through all of it again
    # and again, 20 to 30 ms each time, in which nobody is answered.
    reactor.callWhenRunning(gc.freeze)
    return top


def _refuse(error: StartError, twistd: Any, stderr: TextIO) -> NoReturn:
    """End a start that failed, with a status and clear lines: on the terminal, in the log, through twistd's pipe."""
    lines = str(error).splitlines()
    status_pipe = twistd.get("statusPipe")  # to the process in the foreground, when this one has become a daemon
    if twistd.get("logfile") not in (None, "-") or status_pipe is not None:
        for line in lines:
            log.critical("cannot start: {reason}", event="start-failed", reason=line)
    pidfile = twistd.get("pidfile")
    if pidfile:
        with contextlib.suppress(OSError):
            os.unlink(pidfile)
    if status_pipe is not None:  # last: whoever waits for it then finds the log written and the pid file gone
        os.write(status_pipe, f"1 {lines[0]}".encode("ascii", "backslashreplace")[:STATUS_PIPE_OCTETS])
    _end(error, stderr)


def _end(error: StartError, stderr: TextIO) -> NoReturn:
    for line in str(error).splitlines():
        print(f"twistd netsvc: {line}", file=stderr)
    raise SystemExit(EXIT_CANNOT_START)
