"""What the tests of the store have in common."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.records import id_of_part
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms


class StoreCase(SynchronousTestCase):
    """A store on a temporary directory, with clocks that a test sets."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-store-")).resolve()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.root = self.directory / "root"
        self.root.mkdir()
        self.wall = 1_800_000_000.0
        self.steady = 50.0
        self.store = self.make()

    def make(self, **terms: Any) -> FileStore:
        return FileStore(self.root, Terms(**terms), wall_clock=lambda: self.wall, steady_clock=lambda: self.steady)

    def later(self, seconds: float) -> None:
        """Both clocks go on."""
        self.wall += seconds
        self.steady += seconds

    def put(self, name: str, octets: bytes, **arguments: Any) -> None:
        """Publish a file."""
        upload = self.store.create(tuple(name.split("/")), **arguments)
        upload.write(0, octets)
        upload.commit()

    def octets(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def parts(self) -> list[Path]:
        """Partial files that are there."""
        return [path for path in self.root.rglob("*") if id_of_part(path.name)]

    def shown(self, *names: str) -> list[str]:
        """Names that a directory of the store shows."""
        listing = self.store.listing(names)
        self.addCleanup(listing.close)
        return sorted(entry.name for entry in listing.read(10_000))


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))
