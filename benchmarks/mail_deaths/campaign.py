"""The campaign: queues to begin with, points, and the table of what came of them."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.mail_deaths.choice import choose, count
from benchmarks.mail_deaths.point import Found, Point, Queue, make_queue, visit
from benchmarks.mail_deaths.script import history

EVERY = 50  # points between two words of progress
COLUMNS = ("call", "points", "kills", "agents", "acknowledged", "copies", "duplicates", "unknown", "faults")

Results = Sequence[tuple[Point, Found]]


def run(
    directory: Path, *, points: int, dice: random.Random, lanes: int, keep: Path, say: Callable[[str], None]
) -> Results:
    """Visit so many points.

    :param directory: empty.
    :param lanes: how many at the same time.
    :param keep: where the directories go of points with faults.
    :param say: takes a line of progress.
    """
    short, *_ = history()
    queues = (
        Queue("new", 1),
        make_queue(directory / "used", "used", 0, [short]),
        make_queue(directory / "long", "long-logged", 1, history()),
    )
    counts = {queue: count(directory / f"count-{queue.name}", queue) for queue in queues}
    for queue, calls in counts.items():
        say(f"{queue.name} queue: " + ", ".join(f"{call} {number}" for call, number in sorted(calls.items())))
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
        sum(one.agents for one in found),
        sum(one.acknowledged for one in found),
        sum(one.copies for one in found),
        sum(one.duplicates for one in found),
        sum(one.unknown for one in found),
        sum(len(one.faults) for one in found),
    )
    return (name, *map(str, numbers))
