"""What twistd calls: Options reads and validates the configuration, makeService assembles the daemon.

The only module that touches the global reactor.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from netsvc.config.load import load
from netsvc.config.plan import Plan
from netsvc.config.report import fault_lines
from netsvc.errors import ConfigError, StartError
from netsvc.registry import kinds

EXIT_BAD_CONFIGURATION = 1
EXIT_CANNOT_START = 1


class Options(usage.Options):
    """Options of ``twistd netsvc``."""

    synopsis = "[options]"
    longdesc = (
        "Runs every service that the INI file names. 'netsvc check FILE' checks a file without "
        "running it; 'netsvc kinds' lists what can stand in one."
    )
    optParameters = [["config", "c", None, "The INI file."]]  # noqa: RUF012 - the form that usage.Options has
    plan: Plan
    metrics: Any

    def postOptions(self) -> None:
        """Read the configuration; every fault of every file ends the start, with no traceback.

        :raise usage.UsageError: no file was named.
        """
        file = self["config"]
        if file is None:
            raise usage.UsageError("name the configuration: twistd -n netsvc --config etc/netsvc.ini")
        try:
            self.plan = load(Path(file), kinds())
        except ConfigError as error:
            for line in fault_lines(error.faults):
                print(line, file=sys.stderr)
            count = len(error.faults)
            print(f"twistd netsvc: {count} fault{'s' * (count != 1)}, nothing was started", file=sys.stderr)
            raise SystemExit(EXIT_BAD_CONFIGURATION) from None
        from netsvc.runtime.metrics import Metrics

        self.metrics = Metrics()
        if self.parent is not None:
            self._log_through_us()

    def _log_through_us(self) -> None:
        """Put netsvc's log in the place of twistd's, unless the command line asked for another."""
        from netsvc.runtime.log_output import log_output
        from netsvc.runtime.metrics import LOG_WRITE_ERRORS

        if self.parent.get("logger") or self.parent.get("syslog"):
            return
        try:
            self.parent["logger"] = log_output(
                self.plan.daemon,
                file=self.parent.get("logfile"),
                daemonised=not self.parent.get("nodaemon"),
                on_lost=LOG_WRITE_ERRORS.of(self.metrics).inc,
            )
        except StartError as error:
            print(f"twistd netsvc: {error}", file=sys.stderr)
            raise SystemExit(EXIT_CANNOT_START) from None


def makeService(options: Options) -> IService:
    """Assemble the daemon; nothing is bound yet."""
    from twisted.internet import reactor

    from netsvc.assembly import assemble
    from netsvc.runtime.runtime import Runtime
    from netsvc.runtime.signals import on_second_signal
    from netsvc.runtime.systemd_sockets import inherited

    def refuse(error: StartError) -> None:
        _refuse(error, options.parent or {})

    runtime = Runtime(
        reactor=reactor,
        settings=options.plan.daemon,
        state_directory=options.plan.daemon.state_directory,
        inherited=inherited(os.environ, os.getpid()),
        metrics=options.metrics,
    )
    top = assemble(options.plan, runtime, refuse)
    reactor.callWhenRunning(on_second_signal, reactor, top.cut)  # type: ignore[attr-defined]
    return top


def _refuse(error: StartError, twistd: Any) -> None:
    """End a start that failed: in the foreground with clear lines and a status, else through twistd's status pipe."""
    if not twistd.get("nodaemon"):
        raise error
    for line in str(error).splitlines():
        print(f"twistd netsvc: {line}", file=sys.stderr)
    pidfile = twistd.get("pidfile")
    if pidfile:
        with contextlib.suppress(OSError):
            os.unlink(pidfile)
    raise SystemExit(EXIT_CANNOT_START)
