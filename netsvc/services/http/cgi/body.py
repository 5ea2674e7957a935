"""Takes a request's body to a script's stdin with flat memory.

Three ways, by what the peer declared:

- short: collected first, so that a slow peer does not hold a script;
- long: passed on as it arrives, and the peer is paused while the script reads slower;
- of unknown length (chunked): collected first, because CONTENT_LENGTH has to be told; past a size in an unnamed
  file, which then is the script's stdin itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from netsvc.services.http.cgi.pipes import InputPipe
from netsvc.services.http.cgi.spool import Spool, SpoolFile, SpoolFullError
from netsvc.services.http.exchange import IBodyReceiver

log = Logger()

IN_MEMORY = 1 << 16  # octets kept in memory for one request; what a pipe takes at once, pipe(7)


@implementer(IBodyReceiver)
class Intake:
    """The body of one request, on its way.

    :param exchange: whose body it is.
    :param most: the longest body, octets, for those of unknown length.
    :param ready: called once, when a script may start: `length` is known then.
    :param spool: where a body of unknown length goes that is longer than IN_MEMORY.
    :param refused: called instead, with a status: 413 too long, 503 no room for it.
    :param lost: called when the body will never be whole, before or after ready.
    """

    def __init__(
        self,
        exchange: Any,
        *,
        most: int,
        spool: Spool,
        ready: Callable[[], None],
        refused: Callable[[int], None],
        lost: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._most = most
        self._spool = spool
        self._ready = ready
        self._refused = refused
        self._lost = lost
        self._streams = exchange.body_length is not None and exchange.body_length > IN_MEMORY
        self._waiting = bytearray()
        self._file: SpoolFile | None = None
        self._position = 0
        self._pipe: InputPipe | None = None
        self._paused = False
        self._dropping = False
        self.length: int = exchange.body_length or 0
        self.received = 0
        self.whole = False

    def start(self) -> None:
        """Ask for the body."""
        self._exchange.receive_body(self)
        if self._streams and not self._dropping:
            self._ready()

    def body_received(self, data: bytes) -> None:
        """As IBodyReceiver."""
        if self._dropping:
            return
        self.received += len(data)
        if self._pipe is not None:
            self._pipe.write(data)
        elif self._streams:
            self._waiting += data
            if len(self._waiting) > IN_MEMORY:
                self.flow(True)
        elif self.received > self._most:
            self._refuse(413)
        else:
            self._collect(data)

    def body_finished(self) -> None:
        """As IBodyReceiver."""
        self.whole = True
        if self._dropping:
            return
        if self._pipe is not None:
            self._pipe.finish()
        if self._streams:
            self.flow(False)
        else:
            self.length = self.received
            self._ready()

    def body_lost(self) -> None:
        """As IBodyReceiver."""
        if not self._dropping:
            self.drop()
            self._lost()

    def open_file(self) -> int | None:
        """The descriptor of the file that holds the whole body, at its start; None when it needs a pipe."""
        if self._file is None:
            return None
        descriptor: int = self._file.fileno()
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def has_moved(self) -> bool:
        """Whether the script has read on in the file since the last call; False when there is none."""
        position = 0 if self._file is None else os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        moved, self._position = position != self._position, position
        return moved

    def connect(self, pipe: InputPipe) -> None:
        """Pass on what came and what comes."""
        self._pipe = pipe
        waiting, self._waiting = bytes(self._waiting), bytearray()
        pipe.write(waiting)
        if self.whole:
            pipe.finish()
        elif not pipe.backed_up:
            self.flow(False)

    def flow(self, full: bool) -> None:
        """Pause the peer, or let it go on."""
        if full and not self._paused and not self.whole:
            self._paused = True
            self._exchange.pause_body()
        elif not full and self._paused:
            self._paused = False
            self._exchange.resume_body()

    def drop(self) -> None:
        """The script wants no more: what comes is read and forgotten."""
        self._dropping = True
        self._waiting.clear()
        self.flow(False)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _refuse(self, status: int) -> None:
        self.drop()
        self._refused(status)

    def _collect(self, data: bytes) -> None:
        try:
            if self._file is None and self.received > IN_MEMORY:
                self._file = self._spool.open()
                data = bytes(self._waiting) + data
                self._waiting.clear()
            if self._file is None:
                self._waiting += data
            else:
                self._file.write(data)
        except (OSError, SpoolFullError) as error:  # no room in the spool, on the disk, or for another descriptor
            log.error(
                "a chunked body has no room: {reason} (request {request_id})",
                event="cgi-no-room",
                reason=error.strerror if isinstance(error, OSError) else str(error),
                request_id=self._exchange.request_id,
            )
            self._refuse(503)
