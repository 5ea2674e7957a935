"""Takes the body of a request to an upload of the store: as fast as the disk takes it, with flat memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from netsvc.filestore.errors import StoreError
from netsvc.filestore.threads import Inflow
from netsvc.services.http.exchange import IBodyReceiver

if TYPE_CHECKING:
    from netsvc.filestore.upload import Upload


@implementer(IBodyReceiver)
class UploadBody:
    """The body of one request on its way into an upload; it is appended where the upload stands.

    Exactly one of the three is called, once. Then the inflow is theirs: they call ``finish``, ``keep`` or ``discard``
    of it, which wait for what is still being written.

    :param exchange: whose body it is.
    :param upload: open for writing.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param whole: called with the inflow when all of the body is there.
    :param lost: called with the inflow when it never will be: the peer left or broke a rule.
    :param failed: called with the inflow and a StoreError when the store took no more. What still comes is dropped.
    :param hashes: are fed all of the body, beside the store's own.
    """

    def __init__(
        self,
        exchange: Any,
        upload: Upload,
        in_thread: Callable[..., Deferred[Any]],
        *,
        whole: Callable[[Inflow], object],
        lost: Callable[[Inflow], object],
        failed: Callable[[Inflow, StoreError], object],
        hashes: tuple[hashlib._Hash, ...] = (),
    ) -> None:
        self._exchange = exchange
        self._whole = whole
        self._lost = lost
        self._failed = failed
        self._hashes = hashes
        self._over = False
        self._inflow = Inflow(
            upload, in_thread, pause=exchange.pause_body, resume=exchange.resume_body, failed=self._broke
        )

    def start(self) -> None:
        """Ask for the body; 100 Continue is sent if the peer waits for it."""
        self._exchange.receive_body(self)

    def body_received(self, data: bytes) -> None:
        """As IBodyReceiver."""
        if not self._over:
            for one in self._hashes:
                one.update(data)
            self._inflow.write(data)

    def body_finished(self) -> None:
        """As IBodyReceiver."""
        if not self._over:
            self._over = True
            self._whole(self._inflow)

    def body_lost(self) -> None:
        """As IBodyReceiver."""
        if not self._over:
            self._over = True
            self._lost(self._inflow)

    def _broke(self, error: StoreError) -> None:
        if not self._over:
            self._over = True
            self._failed(self._inflow, error)
