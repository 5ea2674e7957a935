"""Where the daemon's log goes under twistd: stdout in the foreground, else a file that logrotate may move.

Takes the place of twistd's own log file, which rotates whatever it was given by renaming it.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from twisted.logger import Logger

from netsvc.config.daemon import DaemonSettings
from netsvc.errors import StartError
from netsvc.runtime.log_file import open_log_file
from netsvc.runtime.logs import Observer, Stream, json_observer, text_observer

DEFAULT_FILE = "twistd.log"  # twistd's own default, in the directory that it runs in

log = Logger()


def log_output(
    settings: DaemonSettings, *, file: str | None, daemonised: bool, on_lost: Callable[[], object]
) -> Observer:
    """Open the log and make the observer that writes it.

    :param file: twistd's ``--logfile``: a path, ``-`` for stdout, or None.
    :param daemonised: the process will leave its terminal, so that stdout is no place.
    :param on_lost: called for each line that could not be written.
    :raise StartError: the file cannot be written, or a daemon shall log to stdout.
    """
    make = json_observer if settings.log_format == "json" else text_observer
    if file != "-" and (file is not None or daemonised):
        opened = open_log_file(Path(file or DEFAULT_FILE).absolute())  # a daemon changes its directory
        _on_reopen_signal(opened.reopen)
        return make(opened, settings.log_level, on_lost)
    if daemonised:
        raise StartError("a daemon has no stdout to log to; name a file with -l, or run in the foreground with -n")
    _on_reopen_signal(lambda: None)  # the signal's default would end the daemon
    return make(_stdout(), settings.log_level, on_lost)


def _stdout() -> Stream:
    """Stdout itself: twistd replaces sys.stdout by one that logs."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        with contextlib.suppress(ValueError, OSError):
            out.reconfigure(errors="backslashreplace")
    return out


def _on_reopen_signal(reopen_log: Callable[[], str | None]) -> None:
    """Reopen the log at SIGUSR1, as twistd's own does and as logrotate's postrotate expects."""

    def reopen(_: int, __: FrameType | None) -> None:
        complaint = reopen_log()
        if complaint is not None:
            log.error("{complaint}", event="log-reopen-failed", complaint=complaint)

    signal.signal(signal.SIGUSR1, reopen)
