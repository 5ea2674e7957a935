"""Stands between one transfer and all that watches it: its bar, the pace, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

from netsvc.cli.files.errors import StoppedError
from netsvc.cli.files.pace import Pace
from netsvc.cli.progress import Progress


class Stop:
    """Ctrl-C: threads ask it, and what they wait for is cut."""

    def __init__(self) -> None:
        self.event = Event()
        self._lock = Lock()
        self._cuts: list[Callable[[], object]] = []

    @contextmanager
    def cutting(self, cut: Callable[[], object]) -> Iterator[None]:
        """While this lasts, a stop calls `cut`, which ends a wait of another thread and raises nothing."""
        with self._lock:
            self._cuts.append(cut)
        try:
            if self.event.is_set():
                cut()
            yield
        finally:
            with self._lock:
                self._cuts.remove(cut)

    def now(self) -> None:
        """Stop everything."""
        self.event.set()
        with self._lock:
            cuts = list(self._cuts)
        for cut in cuts:
            cut()


class Meter:
    """What a way of transfer tells while it moves octets.

    :param task: of the progress.
    """

    def __init__(self, progress: Progress, task: int, pace: Pace, stop: Stop) -> None:
        self._progress = progress
        self._task = task
        self._pace = pace
        self.stop = stop

    @property
    def piece(self) -> int:
        """Octets that are well moved at once."""
        return self._pace.piece

    def expect(self, total: int | None, *, at: int = 0) -> None:
        """The length of the whole, and from where it goes on."""
        self._progress.expect(self._task, total, at=at)

    def moved(self, octets: int) -> None:
        """So many octets have moved. Waits as long as the rate wants it.

        :raises StoppedError: after Ctrl-C.
        """
        self._progress.advance(self._task, octets)
        self._pace.take(octets, self.stop.event)
        self.check()

    def check(self) -> None:
        """Go on only if nobody pressed Ctrl-C.

        :raises StoppedError: somebody did.
        """
        if self.stop.event.is_set():
            raise StoppedError("interrupted")
