"""Where the daemon's log goes."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.daemon import DaemonSettings
from netsvc.errors import StartError
from netsvc.runtime.log_output import log_output
from netsvc.runtime.logs import Observer


class LogOutputTests(SynchronousTestCase):
    """log_output()."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))

    def make(self, file: str | None, *, daemonised: bool = False, log_format: str = "text") -> Observer:
        return log_output(DaemonSettings(log_format=log_format), file=file, daemonised=daemonised, on_lost=lambda: None)

    def write(self, observer: Any, text: str) -> None:
        observer({"log_format": "{text}", "text": text, "log_time": 0.0, "log_namespace": "test"})

    def test_foreground(self) -> None:
        """In the foreground the log is stdout, as text or as JSON."""
        for file in (None, "-"):
            with open(self.directory / "out", "w+") as out:
                self.patch(sys, "stdout", out)
                self.write(self.make(file), "hello")
                self.write(self.make(file, log_format="json"), "hello")
                out.seek(0)
                lines = out.read().splitlines()
            self.assertEqual(lines[0], "1970-01-01T00:00:00.000Z info [test] hello")
            self.assertTrue(lines[1].startswith('{"time": "1970-01-01T00:00:00.000Z"'))

    def test_any_stream_will_do(self) -> None:
        """A stdout that is no text file, as under a test runner, is written to as it is."""

        class Out:
            text = ""

            def write(self, text: str) -> None:
                self.text += text

            def flush(self) -> None: ...

        out = Out()
        self.patch(sys, "stdout", out)
        self.write(self.make(None), "hello")
        self.assertIn("hello", out.text)

    def test_daemon(self) -> None:
        """A daemon logs to a file, and to no terminal."""
        path = self.directory / "netsvc.log"
        self.write(self.make(str(path), daemonised=True), "hello")
        self.assertIn("hello", path.read_text())
        self.assertRaises(StartError, self.make, "-", daemonised=True)

    def test_logrotate(self) -> None:
        """After SIGUSR1 the log goes on in a new file of the old name; when that cannot be, in the old one."""
        path = self.directory / "netsvc.log"
        observer = self.make(str(path))
        self.write(observer, "before")
        path.rename(self.directory / "netsvc.log.1")
        os.kill(os.getpid(), signal.SIGUSR1)
        self.write(observer, "after")
        self.assertIn("after", path.read_text())
        path.unlink()
        path.mkdir()
        os.kill(os.getpid(), signal.SIGUSR1)
        self.write(observer, "still here")
        self.assertEqual(observer.lost, 0)
