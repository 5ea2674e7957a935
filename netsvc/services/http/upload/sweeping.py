"""Sweeper: removes what uploads have left behind whose time is over, when the service starts and every hour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.access import Access
from netsvc.filestore.errors import BadNameError
from netsvc.services.http.site.sites import Place
from netsvc.services.http.upload.stores import Stores, terms_of

log = Logger()

EVERY = 3600.0  # seconds


def roots_of(place: Place) -> Iterator[Path]:
    """The roots of a place that are there: one, or that of each user. Blocks."""
    if place.fixed_root == place.docroot:
        yield place.docroot
        return
    with suppress(OSError):
        for one in place.fixed_root.iterdir():
            with suppress(BadNameError):
                root = place.root_of(one.name)
                if root.is_dir():
                    yield root


class Sweeper(Service):
    """Sweeps the stores of a service.

    :param places: all of them; those that take no files have nothing to sweep.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param clock: IReactorTime.
    """

    def __init__(
        self, places: Iterable[Place], stores: Stores, in_thread: Callable[..., Deferred[Any]], clock: Any
    ) -> None:
        self._places = [place for place in places if place.settings.upload]
        self._stores = stores
        self._in_thread = in_thread
        self._clock = clock
        self._call: Any = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if self._places:
            self._begin()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _begin(self) -> None:
        self._call = None
        self._in_thread(self._sweep).addErrback(self._failed).addBoth(self._again)

    def _sweep(self) -> None:
        """Blocks."""
        for place in self._places:
            for root in roots_of(place):
                self._stores.store(root, terms_of(place.settings, Access.FULL)).sweep()

    def _failed(self, failure: Failure) -> None:
        log.error(
            "what uploads have left cannot be swept: {reason}",
            event="http-upload-sweep-failed",
            reason=failure.getErrorMessage(),
        )

    def _again(self, _: object) -> None:
        if self.running:
            self._call = self._clock.callLater(EVERY, self._begin)
