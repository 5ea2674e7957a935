"""A second SIGTERM or SIGINT while the daemon drains ends the drain."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


def on_second_signal(reactor: Any, hurry: Callable[[], None]) -> None:
    """Leave the reactor's own handling of the first SIGTERM or SIGINT, and call `hurry` at each further one.

    Call it once the reactor runs, when its handlers stand. Without this a second signal asks a reactor
    that is already stopping to stop, which logs a traceback and hastens nothing.
    """
    stopping = False

    def wrap(number: signal.Signals) -> None:
        first = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None) -> None:
            nonlocal stopping
            if not stopping and callable(first):
                stopping = True
                first(received, frame)
            else:
                reactor.callFromThread(hurry)

        signal.signal(number, handle)

    wrap(signal.SIGTERM)
    wrap(signal.SIGINT)
