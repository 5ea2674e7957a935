"""Delivery into a Maildir."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.maildir import deliver_to_maildir
from netsvc.services.smtp_client.terms import Envelope, Outcome

CONTENT = b"Subject: x\r\n\r\nhello\r\n\x00\xff bare\rcr\r\n"


class Maildirs(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-maildir-")
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name) / "state" / "mail"

    def deliver(self, *recipients: str) -> tuple[Outcome, ...]:
        recipients = recipients or ("b@x",)
        return deliver_to_maildir(
            self.root,
            Envelope(sender="a@x", recipients=recipients),
            CONTENT,
            unique="1.Qid.h",
            indexes=range(len(recipients)),
        )

    def files(self) -> list[Path]:
        return sorted((self.root / "new").iterdir())

    def test_delivered(self) -> None:
        """A message lies in new/ with its envelope on top and LF line ends, octet for octet otherwise."""
        (outcome,) = self.deliver()
        self.assertEqual((outcome.recipient, outcome.result), ("b@x", "delivered"))
        (file,) = self.files()
        self.assertEqual(
            file.read_bytes(),
            b"Return-Path: <a@x>\nDelivered-To: b@x\nSubject: x\n\nhello\n\x00\xff bare\rcr\n",
        )
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(list((self.root / "tmp").iterdir()), [])
        self.assertEqual(self.root.stat().st_mode & 0o777, 0o700)

    def test_several(self) -> None:
        """Each recipient has a file of its own."""
        self.assertEqual([one.result for one in self.deliver("b@x", "ü@x")], ["delivered"] * 2)
        self.assertEqual(len(self.files()), 2)
        self.assertIn("Delivered-To: ü@x\n".encode(), self.files()[1].read_bytes())

    def test_once(self) -> None:
        """A second attempt at what was delivered writes nothing."""
        self.deliver()
        before = self.files()[0].stat()
        self.assertEqual(self.deliver()[0].result, "delivered")
        self.assertEqual((len(self.files()), self.files()[0].stat().st_ino), (1, before.st_ino))

    def test_once_though_read(self) -> None:
        """Nor does it when a reader has moved the message to cur/."""
        self.deliver()
        self.files()[0].rename(self.root / "cur" / (self.files()[0].name + ":2,S"))
        self.deliver()
        self.assertEqual(self.files(), [])

    def test_after_a_crash(self) -> None:
        """What an attempt left in tmp/ when it died is replaced."""
        self.deliver()
        name = self.files()[0].name
        self.files()[0].unlink()
        (self.root / "tmp" / name).write_bytes(b"half")
        self.assertEqual(self.deliver()[0].result, "delivered")
        self.assertTrue(self.files()[0].read_bytes().startswith(b"Return-Path"))

    def test_after_a_crash_between(self) -> None:
        """What an attempt left that died after its link goes from tmp/, and new/ is synchronised."""
        self.deliver()
        name = self.files()[0].name
        os.link(self.files()[0], self.root / "tmp" / name)
        with mock.patch("os.fsync") as fsync:
            self.assertEqual(self.deliver()[0].result, "delivered")
        self.assertEqual((len(self.files()), list((self.root / "tmp").iterdir())), (1, []))
        self.assertEqual(fsync.call_count, 1)

    def test_synchronised_first(self) -> None:
        """The octets are on the disk before the name is in new/, and the directory after it."""
        order: list[str] = []
        fsync, link = os.fsync, os.link
        self.deliver("first@x")
        with (
            mock.patch("os.fsync", side_effect=lambda fd: (order.append("fsync"), fsync(fd))),
            mock.patch("os.link", side_effect=lambda *a: (order.append("link"), link(*a))),
        ):
            deliver_to_maildir(self.root, Envelope(sender="", recipients=("b@x",)), CONTENT, unique="2", indexes=[0])
        self.assertEqual(order, ["fsync", "link", "fsync"])

    def test_full(self) -> None:
        """A full disk is for later, and leaves nothing behind."""
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            (outcome,) = self.deliver()
        self.assertEqual((outcome.result, outcome.enhanced), ("retry", "4.3.1"))
        self.assertEqual((self.files(), list((self.root / "tmp").iterdir())), ([], []))

    def test_unwritable(self) -> None:
        """A Maildir that cannot be made is for later."""
        self.root.parent.mkdir()
        self.root.write_text("a file")
        (outcome,) = self.deliver()
        self.assertEqual((outcome.result, outcome.enhanced), ("retry", "4.3.0"))

    def test_no_links(self) -> None:
        """A file system without hard links is served by rename; another error of link is an error."""
        with mock.patch("os.link", side_effect=OSError(errno.EPERM, "Operation not permitted")):
            self.assertEqual(self.deliver()[0].result, "delivered")
        self.assertEqual(len(self.files()), 1)
        with mock.patch("os.link", side_effect=OSError(errno.EIO, "Input/output error")):
            self.assertEqual(self.deliver("b@x", "c@x")[1].result, "retry")

    def test_linked_by_another(self) -> None:
        """A name that appears in new/ meanwhile is our own message."""
        with mock.patch("os.link", side_effect=FileExistsError(errno.EEXIST, "File exists")):
            self.assertEqual(self.deliver()[0].result, "delivered")
