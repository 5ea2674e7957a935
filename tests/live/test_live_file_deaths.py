"""The short form of the crash campaign (benchmarks/file_deaths): a whole daemon is killed while files come in."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.file_deaths.point import Point, visit
from benchmarks.lives import Kill

POINTS = (
    (Kill("fsync", 3),),
    (Kill("fdatasync", 1),),
    (Kill("pwritev2", 4),),
    (Kill("renameat", 1),),
    (Kill("fchmod", 1), Kill("renameat", 2)),
    (Kill("sendto", 9), Kill("fsync", 5)),
    (Kill("write", 60),),
    (Kill("rename", 1), Kill("ftruncate", 1)),
)


class Deaths(SynchronousTestCase):
    def test_file_abuse_04_05_killed_while_files_come_by_all_doors(self) -> None:
        """Wherever the daemon is killed, published files are whole, acknowledged ones there, and the rest goes on."""
        points = [Point(number, kills) for number, kills in enumerate(POINTS, 1)]
        with tempfile.TemporaryDirectory(prefix="netsvc-deaths-") as directory, ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda point: visit(Path(directory) / str(point.number), point), points))
        faults = [f"{point}: {fault}" for point, one in zip(points, found, strict=True) for fault in one.faults]
        self.assertEqual(faults, [])
        self.assertGreaterEqual(sum(one.killed > 0 for one in found), 6)
        self.assertGreater(sum(one.acknowledged for one in found), 10)
