"""KeyFiles: files as they are now, and only those that nobody else could have written."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.login.key_files import KeyFiles
from netsvc.services.sftp.login.strict_modes import fault_of_place, fault_of_secret
from tests.services.sftp.ssh.client import blob_of, line_of


class KeyFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)
        self.key = ed25519.Ed25519PrivateKey.generate()
        self.path = self.place / "bob"
        self.write(line_of(self.key))
        self.files = KeyFiles(self.place / "%u")
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def write(self, text: str) -> None:
        fresh = self.place / "fresh"
        fresh.write_text(text + "\n")
        fresh.chmod(0o600)
        fresh.rename(self.path)

    def found(self) -> bool:
        return self.files.find("bob", blob_of(self.key)) is not None

    def told(self) -> list[object]:
        return [one["reason"] for one in self.events if str(one.get("event", "")).startswith("sftp-key")]

    def test_changes(self) -> None:
        """A key holds from the moment it stands there to the moment it does not."""
        self.assertTrue(self.found())
        self.write("# nothing")
        self.assertFalse(self.found())
        self.write(line_of(self.key))
        self.assertTrue(self.found())
        self.path.unlink()
        self.assertFalse(self.found())
        self.assertEqual(self.told(), [])

    def test_writable_by_others(self) -> None:
        """A file that others may write, or in a directory of that kind, is not believed; the log says so once."""
        self.path.chmod(0o620)
        self.assertFalse(self.found())
        self.assertFalse(self.found())
        self.assertEqual(self.told(), ["others may write it (mode 0620)"])
        self.path.chmod(0o600)
        self.assertTrue(self.found())
        self.place.chmod(0o777)
        self.assertFalse(self.found())
        self.place.chmod(0o1777)  # as /tmp: nobody can put another file there under that name
        self.assertTrue(self.found())

    def test_a_directory_of_somebody_else(self) -> None:
        """Who owns the directory can put another file there under the same name: it is not believed."""
        real = os.stat

        def seen(path: Any, **how: Any) -> os.stat_result:
            found = real(path, **how)
            return os.stat_result((*found[:4], 12345, *found[5:])) if path == self.place else found

        self.patch(os, "stat", seen)
        self.assertEqual(fault_of_place(self.path), f"the owner of {self.place} is the user 12345")

    def test_a_link_of_somebody_else(self) -> None:
        """A link that another user made in a directory as /tmp leads to keys that are not this user's: not believed."""
        link = self.place / "ann"
        link.symlink_to(self.path)
        self.assertIsNone(fault_of_place(link))
        os.chown(link, 12345, -1, follow_symlinks=False)
        self.assertEqual(fault_of_place(link), f"the owner of {link} is the user 12345")

    def test_not_a_file(self) -> None:
        """A FIFO or a directory in its place holds nobody up."""
        self.path.unlink()
        os.mkfifo(self.path, 0o600)
        self.assertFalse(self.found())
        self.path.unlink()
        self.path.mkdir(mode=0o700)
        self.assertFalse(self.found())

    def test_unused_lines(self) -> None:
        """A line that is not used is told once for each version of the file."""
        self.write(f'command="x" {line_of(self.key)}')
        self.assertFalse(self.found())
        self.assertFalse(self.found())
        self.assertEqual(self.told(), ["line 1: the option command is not known here"])

    def test_too_long(self) -> None:
        """A file of more than a MiB is no file of keys."""
        self.write("#" * (1 << 20))
        self.assertFalse(self.found())
        self.assertEqual(self.told(), ["it is longer than 1 MiB"])

    def test_secrets(self) -> None:
        """A private key is the owner's alone."""
        self.assertIsNone(fault_of_secret(self.path))
        self.path.chmod(0o640)
        self.assertIn("0640", str(fault_of_secret(self.path)))
        with self.assertRaises(OSError):
            fault_of_place(self.place / "none")
