"""The log file: only regular files, reopened on demand, never fatal."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.runtime.log_file import open_log_file
from netsvc.runtime.logs import text_observer


class LogFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.path = self.directory / "netsvc.log"

    def refusal(self, path: Path) -> str:
        with self.assertRaises(StartError) as caught:
            open_log_file(path)
        return str(caught.exception)

    def test_made(self) -> None:
        """A new file is for its owner and group; lines are added at its end, in UTF-8."""
        self.addCleanup(os.umask, os.umask(0))
        for words in ("one\n", "žwei\ud800\n"):
            file = open_log_file(str(self.path))
            file.write(words)
            file.flush()
            file.close()
            file.close()
        self.assertEqual(self.path.read_bytes(), "one\nžwei\\ud800\n".encode())
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_not_inherited(self) -> None:
        """Children do not get the log, before and after reopening."""
        file = open_log_file(self.path)
        self.addCleanup(file.close)
        self.assertFalse(os.get_inheritable(file.fileno()))
        self.assertIsNone(file.reopen())
        self.assertFalse(os.get_inheritable(file.fileno()))

    def test_only_regular(self) -> None:
        """A device, pipe, socket, directory or symbolic link is refused, and left as it is."""
        pipe, link, unix = (self.directory / name for name in ("pipe", "link", "unix"))
        os.mkfifo(pipe)
        link.symlink_to(self.path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(unix))
            for path in (Path("/dev/null"), Path("/dev/full"), pipe, unix, self.directory, link):
                self.assertIn(f"cannot log to {str(path)!r}: ", self.refusal(path))
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        self.assertFalse(self.path.exists())

    def test_pipe_with_reader(self) -> None:
        """A pipe is refused even when somebody reads from it."""
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertIn("is not a regular file", self.refusal(pipe))

    def test_no_directory(self) -> None:
        """A file that cannot be made is refused in one line."""
        self.assertEqual(
            self.refusal(self.directory / "no\n" / "x"),
            f"cannot log to {str(self.directory / 'no') + chr(92) + 'n/x'!r}: No such file or directory".replace(
                "\\\\", "\\"
            ),
        )

    def test_reopen(self) -> None:
        """After logrotate moved the file away, reopening goes on in a new one, with the same descriptor."""
        file = open_log_file(self.path)
        self.addCleanup(file.close)
        descriptor = file.fileno()
        file.write("one\n")
        moved = self.path.rename(self.directory / "netsvc.log.1")
        file.write("two\n")
        self.assertIsNone(file.reopen())
        file.write("three\n")
        self.assertEqual(moved.read_text(), "one\ntwo\n")
        self.assertEqual(self.path.read_text(), "three\n")
        self.assertEqual(file.fileno(), descriptor)

    def test_reopen_in_vain(self) -> None:
        """When the file cannot be opened anew the log goes on in the old one, and says why."""
        file = open_log_file(self.path)
        self.addCleanup(file.close)
        moved = self.path.rename(self.directory / "netsvc.log.1")
        self.path.mkdir()
        self.assertIn("Is a directory", str(file.reopen()))
        file.write("on\n")
        self.assertEqual(moved.read_text(), "on\n")
        self.assertEqual(file.write_errors, 1)

    def test_full_disk(self) -> None:
        """A full disk loses lines, counts them, and nothing else."""
        file = open_log_file(self.path)
        self.addCleanup(file.close)
        lost: list[int] = []
        observer = text_observer(file, on_lost=lambda: lost.append(1))
        kept = os.dup(file.fileno())
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file.fileno())
        os.close(full)
        observer({"log_format": "lost"})
        os.dup2(kept, file.fileno())
        os.close(kept)
        observer({"log_format": "kept"})
        self.assertEqual((len(lost), file.write_errors), (1, 1))
        self.assertEqual(self.path.read_text(), "- info [-] kept\n")

    def test_torn_line(self) -> None:
        """A line that was cut by a full disk is ended before the next one."""
        file = open_log_file(self.path)
        self.addCleanup(file.close)
        writes = [lambda octets: real(file.fileno(), octets[:3]), self.no_space]
        real = os.write
        self.patch(os, "write", lambda _, octets: writes.pop(0)(octets) if writes else real(file.fileno(), octets))
        self.assertRaises(OSError, file.write, "cut off\n")
        file.write("whole\n")
        self.assertEqual(self.path.read_text(), "cut\nwhole\n")

    def no_space(self, _: object) -> int:
        raise OSError(28, "No space left on device")
