"""What a peer may send beside requests, counted over time: frames that cost work and ask for none. No I/O, no Twisted.

PING, SETTINGS, WINDOW_UPDATE, PRIORITY, CONTINUATION, unknown and empty frames, and data for streams that are closed,
share one bucket; requests and answers that move fill it again, since every one of them brings some of these along.
Resets have their own (CVE-2023-44487): each leaves work behind that was begun in vain. Past either the connection
ends with ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

from collections.abc import Callable

from h2.errors import ErrorCodes

from netsvc.services.http.http2.wire import (
    CONTINUATION,
    DATA,
    END_STREAM,
    FRAME_HEAD,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    Frame,
    FrameError,
)

FRAMES = 1000  # at once; a browser that ends a hundred uploads early has that many on their way
FRAMES_A_SECOND = 50.0
RESETS = 200  # at once; a browser that leaves a page cancels all its streams, 100 by default
RESETS_A_SECOND = 33.0  # as nghttp2's default
EARNED = 2.0  # frames that a request, or a frame of an answer, may bring along


class Meter:
    """A token bucket: what may be done at once, and how fast it comes back.

    :param burst: tokens that it holds.
    :param rate: tokens a second.
    """

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at: float | None = None

    def spend(self, cost: float, now: float) -> bool:
        """Take some; False when there are not so many."""
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= cost
        return self._tokens >= 0

    def earn(self, amount: float) -> None:
        """Put some back."""
        self._tokens = min(self._burst, self._tokens + amount)


class Floods:
    """The frames of one connection.

    :param seconds: the time, monotonic.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._frames = Meter(FRAMES, FRAMES_A_SECOND)
        self._resets = Meter(RESETS, RESETS_A_SECOND)

    def frame(self, frame: Frame, *, stray: bool) -> None:
        """A frame has come.

        :param stray: it is of no exchange.
        :raises FrameError: there were too many.
        """
        kind = frame.kind
        if kind == HEADERS:
            self.earn()
        elif kind == DATA:
            if stray or (len(frame.octets) == FRAME_HEAD and not frame.flags & END_STREAM):
                self._spend(1, "data for no stream, or none at all")
        elif kind == RST_STREAM:
            self.reset()
        elif kind == SETTINGS:
            self._spend(1 + (len(frame.octets) - FRAME_HEAD) / 24, "SETTINGS")
        else:
            self._spend(1, "CONTINUATION" if kind == CONTINUATION else f"frames of type {kind}")

    def reset(self) -> None:
        """A stream was begun in vain.

        :raises FrameError: there were too many.
        """
        if not self._resets.spend(1, self._seconds()):
            raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, "too many streams reset")

    def earn(self) -> None:
        """Some real work was done."""
        self._frames.earn(EARNED)

    def _spend(self, cost: float, what: str) -> None:
        if not self._frames.spend(cost, self._seconds()):
            raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, f"too many frames: {what}")
