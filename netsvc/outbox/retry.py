"""When to try again and when to stop trying. Pure: the wall clock and the random source are parameters.

Exponential back-off with full jitter: the n-th delay is uniform below min(longest, first * 2^(n-1)), so that what
failed together does not come back together. RFC 5321 4.5.4.1 asks for retries over 4 to 5 days.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR

SHORTEST = 1.0  # seconds; full jitter may come out at nothing, and a peer that just refused needs a breath
SLACK = 30 * MINUTE  # seconds an attempt itself may take: connect, RCPT and final dot limits of RFC 5321 4.5.3.2
CLOCK_STEP = 60.0  # seconds that a clock may be set back before we call it a jump


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how long.

    :param first: upper bound of the first delay, seconds.
    :param longest: upper bound of any delay, seconds.
    :param give_up: lived seconds after which a failed attempt is the last.
    """

    first: float = 5 * MINUTE
    longest: float = 4 * HOUR
    give_up: float = 5 * DAY

    def delay(self, attempts: int, random: Callable[[], float]) -> float:
        """Seconds to wait after so many attempts.

        :param attempts: those made so far, the failed one included; 1 or more.
        :param random: gives floats in [0, 1).
        """
        doublings = min(max(attempts, 1) - 1, 40)  # 2^40 is beyond any `longest`; a float stays a float
        return max(SHORTEST, random() * min(self.longest, self.first * 2.0**doublings))

    def expired(self, waited: float, give_up: float | None = None) -> bool:
        """Whether an item that lived so long is given up. Asked after a failed attempt only.

        :param give_up: the item's own limit, lived seconds; None: the rule's.
        """
        return waited >= (self.give_up if give_up is None else give_up)


def lived(waited: float, *, scheduled_at: float, next_at: float, now: float) -> float:
    """The lived time of an item after another wait: by the wall clock, but no more than the wait that was planned.

    A clock that jumps five days ahead, or a daemon that was off for a week, adds only the planned delay and the
    slack of an attempt; a clock that jumps back adds nothing. So an item expires only after as many tries as its
    age stands for.
    """
    planned = max(0.0, next_at - scheduled_at)
    return waited + min(max(0.0, now - scheduled_at), planned + SLACK)
