"""The self-test of a queue's directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.outbox import durable
from netsvc.outbox.durable import check_durable
from tests.outbox.kit import temporary

EXT4 = 0xEF53
OVERLAY = 0x794C7630


class Durable(SynchronousTestCase):
    def test_disk(self) -> None:
        """A directory on a disk is made, private, and nothing of the probe stays."""
        directory = temporary(self) / "queue"
        check_durable(directory, magic=lambda _: EXT4)
        self.assertEqual(list(directory.iterdir()), [])
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)

    def test_refused(self) -> None:
        """Memory and network file systems are refused by name, unless told."""
        for number, name in ((0x01021994, "tmpfs"), (0x6969, "NFS"), (0xFF534D42, "CIFS"), (0x01021997, "9p")):
            with self.assertRaisesRegex(StartError, f"cannot be durable: it is on {name}"):
                check_durable(temporary(self), magic=lambda _, number=number: number)
            check_durable(temporary(self), magic=lambda _, number=number: number, allow_volatile=True)

    def test_real_memory(self) -> None:
        """The kernel itself says that /dev/shm is in memory."""
        with self.assertRaisesRegex(StartError, "tmpfs"):
            check_durable(Path(f"/dev/shm/netsvc-{os.getpid()}"))
        Path(f"/dev/shm/netsvc-{os.getpid()}").rmdir()

    def test_overlay(self) -> None:
        """An overlay is taken, but not one whose mount ignores fsync."""
        directory = temporary(self)
        mounts = temporary(self) / "mountinfo"
        line = "36 1 0:32 / {point} rw,relatime shared:1 - overlay overlay rw,lowerdir=/l,upperdir=/u{more}\n"
        mounts.write_text(line.format(point="/", more=",volatile") + line.format(point=directory.resolve(), more=""))
        check_durable(directory, magic=lambda _: OVERLAY, mounts=mounts)
        mounts.write_text(line.format(point="/", more=",volatile"))
        with self.assertRaisesRegex(StartError, "mounted volatile"):
            check_durable(directory, magic=lambda _: OVERLAY, mounts=mounts)

    def test_preloaded(self) -> None:
        """A library that makes fsync do nothing is noticed."""
        with mock.patch.dict(os.environ, {"LD_PRELOAD": "/usr/lib/libeatmydata.so"}):
            with self.assertRaisesRegex(StartError, "fsync do nothing"):
                check_durable(temporary(self), magic=lambda _: EXT4)

    def test_unknown(self) -> None:
        """Where the kernel cannot be asked, the probe decides."""
        with mock.patch.object(durable.ctypes, "CDLL", side_effect=OSError):
            check_durable(temporary(self))
        self.assertEqual(durable._magic(Path("/nonexistent")), 0)

    def test_mail_fault_54_fsync_fails_at_start(self) -> None:
        """A disk that gives EIO to fsync ends the start in one line."""
        with mock.patch.object(durable.os, "fsync", side_effect=OSError(errno.EIO, "Input/output error")):
            with self.assertRaisesRegex(StartError, "cannot be used: Input/output error"):
                check_durable(temporary(self), magic=lambda _: EXT4)

    def test_mail_fault_56_read_only_at_start(self) -> None:
        """A read-only queue ends the start in one line."""
        with mock.patch.object(durable.os, "open", side_effect=OSError(errno.EROFS, "Read-only file system")):
            with self.assertRaisesRegex(StartError, "cannot be used: Read-only file system"):
                check_durable(temporary(self), magic=lambda _: EXT4)
