"""A record counts when it is on the disk, and not before."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from shutil import rmtree
from unittest.mock import patch

from twisted.internet.defer import execute
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.fetch.book import Book, Record


class DurabilityTests(SynchronousTestCase):
    def test_a_sync_that_fails(self) -> None:
        """What the disk took and could not keep is a fault; the next record is synced, too, and counts."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, directory)
        book = Book(directory / "records", execute)
        book.open()
        self.addCleanup(book.close)
        with patch("os.fdatasync", side_effect=OSError(errno.EIO, os.strerror(errno.EIO))):
            self.failureResultOf(book.put(Record(key="1", url="a")), OSError)
        self.successResultOf(book.put(Record(key="2", url="b")))
