"""The campaign: where to kill, the points, and the table of what came of them."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.file_deaths.point import Found, Point, doors_of, prepare, send_all, visit
from benchmarks.file_deaths.sendings import sendings
from benchmarks.lives import Kill, Life, LifeFailedError

# Whatever a daemon does that others can see afterwards: its files, and what it says.
CALLS = (
    *("fsync", "fdatasync", "pwritev", "pwritev2", "write", "sendto", "fallocate", "ftruncate", "openat", "flock"),
    *("rename", "renameat", "renameat2", "linkat", "unlink", "unlinkat", "mkdir", "fchmod", "fsetxattr", "utimensat"),
)
AGAIN = 0.3  # the share of the points with a second kill, in the life after the first
LAST = 400  # the calls of a start-up come first: those of the uploads are sought among the last
EVERY = 25  # points between two words of progress
COLUMNS = ("call", "points", "kills", "acknowledged", "published", "continued", "faults")

Results = Sequence[tuple[Point, Found]]

_CALL = re.compile(r"(?m)^(\d+) +(\w+)\(")


def count(directory: Path) -> dict[str, tuple[int, int]]:
    """The calls of a whole life: of each, the first and the last number at which a thread makes it for an upload.

    strace counts by threads; the one with the most decides.

    :raises LifeFailedError: the life did not come to its end.
    """
    prepare(directory)
    with Life(directory, "life", trace=",".join(CALLS)) as life:
        if not life.ready():
            raise LifeFailedError(f"it did not start:\n{life.log()[-2000:]}")
        before = _counted(life.traced)
        failed = send_all(sendings(), doors_of(directory, life), 1)
        if failed:
            raise LifeFailedError(f"nothing killed it, and it did not end well: {failed}\n{life.log()[-2000:]}")
        after = _counted(life.traced)
    found: dict[str, tuple[int, int]] = {}
    for (pid, call), number in after.items():
        first = before[pid, call]
        if number > first and number - first >= found.get(call, (0, 0))[1] - found.get(call, (0, 0))[0]:
            found[call] = (first, number)
    return found


def _counted(trace: Path) -> Counter[tuple[str, str]]:
    return Counter(_CALL.findall(trace.read_text("utf-8", "replace")))


def choose(counts: Mapping[str, tuple[int, int]], points: int, dice: random.Random) -> Iterator[Point]:
    """So many points, spread over the calls, and for each over the numbers at which it is made."""
    calls = sorted(counts)
    for at in range(points):
        kills = [_kill(counts, calls[at % len(calls)], dice)]
        if dice.random() < AGAIN:
            kills.append(_kill(counts, dice.choice(calls), dice))
        yield Point(at + 1, tuple(kills))


def _kill(counts: Mapping[str, tuple[int, int]], call: str, dice: random.Random) -> Kill:
    first, last = counts[call]
    return Kill(call, dice.randint(max(first + 1, last - LAST), last))


def run(
    directory: Path, *, points: int, dice: random.Random, lanes: int, keep: Path, say: Callable[[str], None]
) -> Results:
    """Visit so many points.

    :param directory: empty.
    :param lanes: how many at the same time.
    :param keep: where the directories go of points with faults.
    :param say: takes a line of progress.
    """
    counts = count(directory / "count")
    say("calls: " + ", ".join(f"{call} {first + 1} to {last}" for call, (first, last) in sorted(counts.items())))
    began = time.monotonic()
    results = []
    with ThreadPoolExecutor(lanes) as pool:
        waiting = [pool.submit(_visit, directory, keep, one) for one in choose(counts, points, dice)]
        for done in as_completed(waiting):
            point, found = done.result()
            results.append((point, found))
            for fault in found.faults:
                say(f"{point}: {fault}")
            if len(results) % EVERY == 0:
                say(f"{len(results)} points, {time.monotonic() - began:.0f} s")
    return results


def _visit(directory: Path, keep: Path, point: Point) -> tuple[Point, Found]:
    place = directory / f"point-{point.number}"
    found = visit(place, point)
    if found.faults:
        keep.mkdir(exist_ok=True)
        shutil.rmtree(keep / place.name, ignore_errors=True)
        shutil.copytree(place, keep / place.name, ignore=shutil.ignore_patterns("*.sock"))
        (keep / place.name / "faults").write_text(f"{point}\n" + "\n".join(found.faults) + "\n")
    shutil.rmtree(place)
    return point, found


def table(results: Results) -> str:
    """A row for each call at which lives were killed first, and one for all."""
    calls = sorted({point.kills[0].call for point, _ in results})
    rows = [COLUMNS, *(_row(one, [each for each in results if each[0].kills[0].call == one]) for one in calls)]
    rows.append(_row("all", results))
    return "\n".join(
        "".join(f"{cell:<12}" if at == 0 else f"{cell:>14}" for at, cell in enumerate(row)) for row in rows
    )


def _row(name: str, results: Results) -> tuple[str, ...]:
    found = [one for _, one in results]
    numbers = (
        len(found),
        sum(one.killed for one in found),
        sum(one.acknowledged for one in found),
        sum(one.published for one in found),
        sum(one.continued for one in found),
        sum(len(one.faults) for one in found),
    )
    return (name, *map(str, numbers))
