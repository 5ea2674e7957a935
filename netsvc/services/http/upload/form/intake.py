"""Takes the files of one form into the store, one after the other, as fast as the disk does and with flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.filestore.errors import StoreError
from netsvc.filestore.threads import Inflow
from netsvc.filestore.upload import Upload
from netsvc.services.http.exchange import IBodyReceiver
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.form.wire import BadFormError, Event, FileBegins, FileEnds, FormReader


@frozen
class Outcome:
    """What became of one file.

    :param name: as it was sent.
    :param error: why it is not there; None when it is.
    """

    name: str
    error: BaseException | None = None


@implementer(IBodyReceiver)
class FormIntake:
    """The body of one form on its way. A file that is refused costs none of the others.

    :param exchange: whose body it is.
    :param replace: whether files that are there are replaced.
    :param done: called once with the outcomes when all of the form was read and every file of it is settled.
    :param broken: called instead with a BadFormError; files that were whole before stay.
    """

    def __init__(
        self,
        exchange: Any,
        door: Door,
        reader: FormReader,
        *,
        replace: bool,
        done: Callable[[list[Outcome]], object],
        broken: Callable[[BadFormError], object],
    ) -> None:
        self._exchange = exchange
        self._door = door
        self._reader = reader
        self._replace = replace
        self._done = done
        self._broken = broken
        self._events: deque[Event] = deque()
        self._outcomes: list[Outcome] = []
        self._name = ""
        self._inflow: Inflow | None = None  # of the file that arrives; None between files, and when it was refused
        self._holds: set[str] = set()  # why the peer is paused: "store" is at work, "disk" is behind
        self._whole = False
        self._over = False

    def start(self) -> None:
        """Ask for the body."""
        self._exchange.receive_body(self)

    def body_received(self, data: bytes) -> None:
        """As IBodyReceiver."""
        if self._over:
            return
        try:
            self._events += self._reader.feed(data)
        except BadFormError as error:
            self._end()
            self._broken(error)
            return
        self._go_on()

    def body_finished(self) -> None:
        """As IBodyReceiver."""
        if self._over:
            return
        try:
            self._reader.finish()
        except BadFormError as error:
            self._end()
            self._broken(error)
            return
        self._whole = True
        self._go_on()

    def body_lost(self) -> None:
        """As IBodyReceiver."""
        if not self._over:
            self._end()

    def _end(self) -> None:
        """No more is taken; what was whole stays, the rest goes."""
        self._over = True
        self._events.clear()
        self._discard()

    def _discard(self) -> None:
        inflow, self._inflow = self._inflow, None
        if inflow is not None:
            inflow.discard().addErrback(lambda _: None)  # it would be swept later

    def _go_on(self) -> None:
        """Do what has come, until the store has to be waited for."""
        while self._events and "store" not in self._holds:
            event = self._events.popleft()
            if isinstance(event, FileBegins):
                self._begin(event.name)
            elif isinstance(event, FileEnds):
                self._finish()
            elif self._inflow is not None:
                self._inflow.write(event)
        if self._whole and not self._events and "store" not in self._holds and not self._over:
            self._over = True
            self._done(self._outcomes)

    def _begin(self, name: str) -> None:
        self._name = name
        self._wait_for(self._door.in_thread(self._create, name), self._opened)

    def _create(self, name: str) -> Upload:
        door = self._door
        return door.store.create(door.below(name), owner=door.owner, if_absent=not self._replace, resumable=False)

    def _opened(self, upload: Upload) -> None:
        self._inflow = Inflow(
            upload,
            self._door.in_thread,
            pause=lambda: self._hold("disk"),
            resume=lambda: self._release("disk"),
            failed=self._refused,
        )
        if self._over:  # the peer left meanwhile
            self._discard()

    def _finish(self) -> None:
        inflow, self._inflow = self._inflow, None
        if inflow is not None:
            finished: Deferred[Any] = inflow.finish()
            finished.addErrback(self._unpublished, inflow)
            self._wait_for(finished, lambda _: self._outcomes.append(Outcome(self._name)))

    def _unpublished(self, failure: Failure, inflow: Inflow) -> Any:
        """Nobody could continue it: its room and its descriptors are for others."""
        return inflow.discard().addBoth(lambda _: failure)

    def _wait_for(self, work: Deferred[Any], then: Callable[[Any], object]) -> None:
        self._hold("store")

        def failed(failure: Failure) -> None:
            self._outcomes.append(Outcome(self._name, failure.value))

        def settled(_: Any) -> None:
            self._release("store")
            self._go_on()

        work.addCallback(then).addErrback(failed).addCallback(settled)

    def _refused(self, error: StoreError) -> None:
        """The store takes no more of the file that arrives."""
        if self._inflow is not None:
            self._outcomes.append(Outcome(self._name, error))
            self._discard()

    def _hold(self, why: str) -> None:
        if not self._holds and not self._whole:
            self._exchange.pause_body()
        self._holds.add(why)

    def _release(self, why: str) -> None:
        if why in self._holds:
            self._holds.discard(why)
            if not self._holds and not self._whole:
                self._exchange.resume_body()
