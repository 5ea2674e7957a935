"""Which destinations may be tried, and how much at once: windows, back-off and rates. Pure; the clock is a parameter.

A destination is open with the whole window of concurrency until attempts find it unreachable some times in a row. Then
nothing goes there for a time that doubles; after that one attempt tries it. If that reaches it, the window opens again,
one wider with each success. Only what differs from the ordinary is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attrs import define, field, frozen

FORGET = 3600.0  # seconds after which a destination that nobody tried any more is as good as new
_ROUNDING = 1e-6  # of a token: floats that should come out whole
MOST_DOUBLINGS = 20  # 2^20 times any first delay is beyond any longest one


@frozen(kw_only=True)
class Pace:
    """How fast one destination may be asked.

    :param concurrency: attempts at the same time.
    :param rate: attempts a second; 0: as fast as they come.
    :param burst: attempts that may go at once before the rate holds.
    :param failures: attempts in a row that found it unreachable, until it is left alone.
    :param first: seconds that it is left alone then; doubled each time that it is still unreachable.
    :param longest: the most of these seconds.
    """

    concurrency: int = 20
    rate: float = 0.0
    burst: int = 1
    failures: int = 3
    first: float = 60.0
    longest: float = 1800.0


@frozen(kw_only=True)
class Allowance:
    """What a claim may take; a snapshot for the store.

    :param each: parcels to any destination that is not named in `room`.
    :param room: parcels to those that differ; 0: nothing.
    :param busy: attempts under way by destination: what is less busy comes first.
    """

    each: int
    room: Mapping[str, int] = field(factory=lambda: MappingProxyType({}))
    busy: Mapping[str, int] = field(factory=lambda: MappingProxyType({}))

    def of(self, destination: str) -> int:
        """How many parcels to a destination."""
        return self.room.get(destination, self.each)


@frozen(kw_only=True)
class Standing:
    """What is known of a destination, for people.

    :param closed: it is left alone, or was until it is reached again.
    :param opens_in: seconds until it may be tried; 0: now.
    :param window: attempts that may go at the same time.
    :param reason: why the last attempt did not reach it; empty when it did.
    """

    destination: str
    in_flight: int
    window: int
    failures: int
    closed: bool
    opens_in: float
    reason: str


@define
class _State:
    window: int
    tokens: float
    counted_at: float  # when the tokens were counted
    in_flight: int = 0
    failures: int = 0  # in a row
    opens_at: float = 0.0
    reason: str = ""
    touched_at: float = 0.0


class Destinations:
    """The destinations of one runner.

    :param pace: what holds for each.
    :param seconds: a monotonic clock.
    """

    def __init__(self, pace: Pace, seconds: Callable[[], float]) -> None:
        self._pace = pace
        self._seconds = seconds
        self._states: dict[str, _State] = {}

    def began(self, destination: str) -> None:
        """An attempt begins."""
        state = self._state(destination)
        state.in_flight += 1
        state.tokens -= 1.0

    def ended(self, destination: str, unreachable: str | None) -> bool:
        """An attempt is over; whether it closed the destination.

        :param unreachable: why the destination could not be reached; None when it was.
        """
        state = self._state(destination)
        state.in_flight = max(0, state.in_flight - 1)
        if unreachable is None:
            state.window = min(self._pace.concurrency, state.window + 1)
            state.failures, state.reason = 0, ""
            state.opens_at = 0.0
            return False
        now = self._seconds()
        if state.opens_at > now:
            return False  # it began before the destination was closed and says nothing new
        state.failures += 1
        state.reason = unreachable
        if state.failures < self._pace.failures:
            return False
        doublings = min(state.failures - self._pace.failures, MOST_DOUBLINGS)
        state.window = 1
        state.opens_at = now + min(self._pace.longest, self._pace.first * 2.0**doublings)
        return True

    def passed(self, destination: str) -> None:
        """A lease ended without an attempt, or with one that says nothing about the destination."""
        state = self._state(destination)
        state.in_flight = max(0, state.in_flight - 1)

    def open(self, destination: str | None = None) -> None:
        """Try it now (all, without a name): an operator knows that it is back."""
        for name in list(self._states) if destination is None else [destination]:
            if name in self._states:
                self._states[name].opens_at = 0.0

    def allowance(self) -> Allowance:
        """What may be claimed now."""
        room, busy = {}, {}
        for name in list(self._states):
            state = self._count(self._states[name])
            if self._ordinary(state):
                del self._states[name]
                continue
            room[name] = self._room(state)
            if state.in_flight:
                busy[name] = state.in_flight
        return Allowance(each=self._fresh(), room=room, busy=busy)

    def room(self, destination: str) -> int:
        """How many attempts at one may begin now."""
        state = self._states.get(destination)
        return self._fresh() if state is None else self._room(self._count(state))

    def closed(self, destination: str) -> bool:
        """Whether one is left alone, or was until it is reached again."""
        state = self._states.get(destination)
        return state is not None and state.failures >= self._pace.failures

    def opens_in(self) -> float | None:
        """Seconds until the next destination may be tried that may not now; None when no time opens one."""
        now = self._seconds()
        waits = [wait for state in self._states.values() if (wait := self._wait(state, now)) > 0]
        return min(waits, default=None)

    def standing(self, destination: str) -> Standing:
        """What is known of one."""
        fresh = _State(self._pace.concurrency, float(self._pace.burst), 0.0)
        state = self._states.get(destination, fresh)
        return Standing(
            destination=destination,
            in_flight=state.in_flight,
            window=state.window,
            failures=state.failures,
            closed=self.closed(destination),
            opens_in=self._wait(state, self._seconds()),
            reason=state.reason,
        )

    def _state(self, destination: str) -> _State:
        state = self._states.get(destination)
        if state is None:
            state = _State(self._pace.concurrency, float(self._pace.burst), self._seconds())
            self._states[destination] = state
        state.touched_at = self._seconds()
        return self._count(state)

    def _count(self, state: _State) -> _State:
        now = self._seconds()
        state.tokens = min(float(self._pace.burst), state.tokens + (now - state.counted_at) * self._pace.rate)
        state.counted_at = now
        return state

    def _ordinary(self, state: _State) -> bool:
        """Whether it need not be remembered."""
        if state.in_flight:
            return False
        now = self._seconds()
        if now - max(state.touched_at, state.opens_at) > FORGET:
            return True
        whole = not self._pace.rate or state.tokens >= self._pace.burst
        return whole and not state.failures and state.window >= self._pace.concurrency

    def _fresh(self) -> int:
        return min(self._pace.concurrency, self._pace.burst) if self._pace.rate else self._pace.concurrency

    def _room(self, state: _State) -> int:
        if state.opens_at > self._seconds():
            return 0
        room = max(0, state.window - state.in_flight)
        return min(room, max(0, int(state.tokens + _ROUNDING))) if self._pace.rate else room

    def _wait(self, state: _State, now: float) -> float:
        wait = max(0.0, state.opens_at - now)
        if self._pace.rate:
            tokens = state.tokens + (now - state.counted_at) * self._pace.rate
            wait = max(wait, (1.0 - tokens) / self._pace.rate)
        return wait
