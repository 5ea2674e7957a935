"""The two time limits of a running script: `cgi_timeout` for all of it, `cgi_idle_timeout` for each silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netsvc.services.http.cgi.process import ScriptProcess
from netsvc.services.http.cgi.settings import CgiSettings


def _cancel(call: Any) -> None:
    """Cancel a delayed call that may have been made, or be none."""
    if call is not None and call.active():
        call.cancel()


class Deadlines:
    """Watches one process from now on.

    :param excused: whether it is not the script's turn, so that its silence does not count.
    :param over: called, at most once, with the option whose time is over.
    """

    def __init__(
        self,
        reactor: Any,
        settings: CgiSettings,
        process: ScriptProcess,
        *,
        excused: Callable[[], bool],
        over: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._process = process
        self._excused = excused
        self._over = over
        self._most = settings.cgi_idle_timeout
        self._wall: Any = None
        self._idle: Any = None
        if settings.cgi_timeout:
            self._wall = reactor.callLater(settings.cgi_timeout, self._ring, "cgi_timeout")
        if settings.cgi_idle_timeout:
            self._idle = reactor.callLater(settings.cgi_idle_timeout, self._look)

    def answered(self) -> None:
        """The answer is complete: silence is no fault any more."""
        _cancel(self._idle)

    def stop(self) -> None:
        """The script is gone."""
        self.answered()
        _cancel(self._wall)

    def _look(self) -> None:
        # One look for each limit's length, not a timer for each octet.
        self._idle = None
        if self._excused():
            self._process.touch()
        quiet = self._reactor.seconds() - self._process.moved_at
        if quiet >= self._most:
            self._ring("cgi_idle_timeout")
        else:
            self._idle = self._reactor.callLater(self._most - quiet, self._look)

    def _ring(self, limit: str) -> None:
        self.stop()
        self._over(limit)
