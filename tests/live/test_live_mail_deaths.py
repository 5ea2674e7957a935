"""The short form of the crash campaign (benchmarks/mail_deaths): a whole daemon is killed at some of its calls."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.mail_deaths.life import Kill
from benchmarks.mail_deaths.point import Found, Point, Queue, visit

AGENT, ALONE = Queue("new", 1), Queue("new", 0)
POINTS: tuple[tuple[Queue, tuple[Kill, ...]], ...] = (
    (AGENT, (Kill("fdatasync", 5),)),
    (AGENT, (Kill("pwrite64", 300),)),
    (AGENT, (Kill("write", 30),)),
    (AGENT, (Kill("sendto", 12),)),
    (AGENT, (Kill("link", 1),)),  # of a dead letter
    (ALONE, (Kill("fdatasync", 12),)),
    (ALONE, (Kill("pwrite64", 600),)),
    (ALONE, (Kill("write", 12), Kill("fdatasync", 2))),
    (ALONE, (Kill("sendto", 10),)),
    (ALONE, (Kill("sendto", 25), Kill("sendto", 15))),
    (ALONE, (Kill("sendto", 40),)),
    (ALONE, (Kill("unlink", 3),)),
)


def visited(directory: Path) -> list[tuple[Point, Found]]:
    """What came of each point, two at a time."""
    points = [Point(number, queue, kills) for number, (queue, kills) in enumerate(POINTS, 1)]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda point: visit(directory / str(point.number), point), points)
        return list(zip(points, found, strict=True))


class Deaths(SynchronousTestCase):
    def test_mail_fault_53_kill_at_fsyncs_writes_and_sends(self) -> None:
        """Wherever the daemon is killed, all that it acknowledged has one end, and copies beyond the first a record."""
        with tempfile.TemporaryDirectory(prefix="netsvc-deaths-") as directory:
            results = visited(Path(directory))
        self.assertEqual([f"{point}: {fault}" for point, found in results for fault in found.faults], [])
        self.assertGreaterEqual(sum(found.killed + found.agents > 0 for _, found in results), 10)
        self.assertGreater(sum(found.acknowledged for _, found in results), 100)
