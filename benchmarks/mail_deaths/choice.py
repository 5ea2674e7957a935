"""Chooses where to kill: counts the calls of a life that nothing kills, and spreads the points over them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.mail_deaths.client import Receipt
from benchmarks.mail_deaths.life import Kill, Life, LifeFailedError, configure
from benchmarks.mail_deaths.point import LINGER, Point, Queue, live, prepare
from benchmarks.mail_deaths.script import messages
from benchmarks.mail_deaths.sink import Sink

# Whatever a daemon does that others can see afterwards: its files, and what it says.
CALLS = (
    *("fsync", "fdatasync", "write", "pwrite64", "writev", "sendto", "sendmsg"),
    *("ftruncate", "unlink", "rename", "link", "mkdir"),
)
AGAIN = 0.25  # the share of the points with a second kill, in the life after the first

_CALL = re.compile(r"(?m)^(\d+) +(\w+)\(")


def count(directory: Path, queue: Queue) -> dict[str, int]:
    """The calls of a whole life: of each the number in that thread that has the most, for strace counts by threads.

    :raises LifeFailedError: the life did not come to its end.
    """
    prepare(directory, queue)
    script = messages()
    with Sink(script) as sink:
        configure(directory, sink.ports, queue.agents)
        with Life(directory, "life", trace=",".join(CALLS)) as life:
            if not live(life, [Receipt(one) for one in script]):
                raise LifeFailedError(f"nothing killed it, and it did not end well:\n{life.log()[-2000:]}")
            life.wait(LINGER)
        calls = Counter(_CALL.findall(life.traced.read_text("utf-8", "replace")))
    most: dict[str, int] = {}
    for (_, call), number in calls.items():
        most[call] = max(number, most.get(call, 0))
    return most


def choose(counts: Mapping[Queue, Mapping[str, int]], points: int, dice: random.Random) -> list[Point]:
    """So many points, spread over the queues and their calls.

    Each call of a queue has the same share, as far as it has so many places; what is left over goes to those that have
    more.
    """
    places = {(queue, call): number for queue, calls in counts.items() for call, number in calls.items()}
    shares = dict(zip(places, _shared(list(places.values()), points), strict=True))
    made = []
    for (queue, call), share in shares.items():
        for number in _spread(places[queue, call], share, dice):
            kills = [Kill(call, number)]
            if dice.random() < AGAIN:
                again = dice.choice(sorted(counts[queue]))
                kills.append(Kill(again, dice.randint(1, max(1, counts[queue][again] // 2))))
            made.append((queue, tuple(kills)))
    dice.shuffle(made)
    return [Point(number, queue, kills) for number, (queue, kills) in enumerate(made, 1)]


def _shared(places: Sequence[int], points: int) -> list[int]:
    """How many points each of the groups has, of so many places; beyond all places, places are visited again."""
    shares = [0] * len(places)
    left = points
    while left > 0:
        open_ones = [at for at, share in enumerate(shares) if share < places[at]] or list(range(len(places)))
        for at in open_ones[:left]:
            shares[at] += 1
        left -= len(open_ones[:left])
    return shares


def _spread(places: int, points: int, dice: random.Random) -> Iterator[int]:
    """Numbers from 1 to `places`, one at random from each of as many equal parts."""
    while points > places:
        yield from range(1, places + 1)
        points -= places
    for part in range(points):
        first, last = part * places // points, (part + 1) * places // points - 1
        yield 1 + dice.randint(first, last)
