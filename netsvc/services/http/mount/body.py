"""Collects the body of a request for a resource, which sees it whole: in memory, past a size in an unnamed file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from netsvc.services.http.exchange import IBodyReceiver

log = Logger()

IN_MEMORY = 100_000  # octets, as in twisted.web


@implementer(IBodyReceiver)
class Collected:
    """A body that arrives.

    :param exchange: whose it is; refused when there is no room on the disk.
    :param whole: called with the file, at its end, when all is there.
    """

    def __init__(self, exchange: Any, whole: Callable[[Any], None]) -> None:
        self._exchange = exchange
        self._whole = whole
        self._file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="netsvc-mount-")  # noqa: SIM115

    def body_received(self, data: bytes) -> None:
        """As IBodyReceiver."""
        if self._file is None:
            return
        try:
            self._file.write(data)
        except OSError as error:  # the disk is full, or no descriptor is left
            self.body_lost()
            log.error(
                "a request's body cannot be kept: {reason}",
                event="http-mount-no-room",
                reason=error.strerror or str(error),
                request_id=self._exchange.request_id,
            )
            self._exchange.refuse(503)

    def body_finished(self) -> None:
        """As IBodyReceiver."""
        file, self._file = self._file, None
        if file is not None:
            self._whole(file)

    def body_lost(self) -> None:
        """As IBodyReceiver."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
