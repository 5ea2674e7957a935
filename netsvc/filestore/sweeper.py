"""Sweeper: has the stores of a service swept when it starts, and every hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

EVERY = 3600.0  # seconds

log = Logger()


class Sweeper(Service):
    """A part of a service that takes files.

    :param sweep: sweeps all stores of the service. Blocks.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param clock: IReactorTime.
    :param service: the section, for the log.
    """

    def __init__(
        self, sweep: Callable[[], object], in_thread: Callable[..., Deferred[Any]], clock: Any, service: str
    ) -> None:
        self._sweep = sweep
        self._in_thread = in_thread
        self._clock = clock
        self._service = service
        self._call: Any = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._begin()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _begin(self) -> None:
        self._call = None
        self._in_thread(self._sweep).addErrback(self._failed).addBoth(self._again)

    def _failed(self, failure: Failure) -> None:
        log.error(
            "what uploads have left cannot be swept: {reason}",
            event="store-sweep-failed",
            service=self._service,
            reason=failure.getErrorMessage(),
        )

    def _again(self, _: object) -> None:
        if self.running:
            self._call = self._clock.callLater(EVERY, self._begin)
