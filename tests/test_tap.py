"""What twistd calls."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.application.service import IService, IServiceMaker
from twisted.internet import reactor
from twisted.logger import globalLogPublisher
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from netsvc import tap

GOOD = "[netsvc]\nstate_directory = state\n[echo]\nlisten = tcp:{port}:interface=127.0.0.1\n"


class TapTests(SynchronousTestCase):
    """Options and makeService."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.file = self.directory / "netsvc.ini"
        self.patch(reactor, "seconds", reactor.seconds)  # type: ignore[attr-defined]

    def options(self, text: str, **twistd: Any) -> tap.Options:
        self.file.write_text(text)
        made = tap.Options()
        if twistd:
            made.parent = twistd  # type: ignore[attr-defined]
        made.parseOptions(["--config", str(self.file)])
        return made

    def ended(self, function: Any, *arguments: Any) -> tuple[Any, str]:
        """Call what should end the process: its status and what it wrote to stderr."""
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            error = self.assertRaises(SystemExit, function, *arguments)
        return error.code, stderr.getvalue()

    def test_twistd_finds_the_plugin(self) -> None:
        """`twistd netsvc` exists, and Twisted's own plugins are still there."""
        found = {plugin.tapname: plugin for plugin in getPlugins(IServiceMaker)}
        self.assertEqual(found["netsvc"].module, "netsvc.tap")
        self.assertIn("web", found)

    def test_the_collector_leaves_alone_what_is_there_at_the_start(self) -> None:
        """Once the daemon is up a whole collection does not look through its modules, which would take it 20 ms."""
        self.options(GOOD.format(port=0))
        program = (
            "import gc, sys\n"
            "from netsvc import tap\n"
            "options = tap.Options()\n"
            "options.parseOptions(['--config', sys.argv[1]])\n"
            "tap.makeService(options)\n"
            "from twisted.internet import reactor\n"
            "def look():\n"
            "    print(gc.get_freeze_count(), len(gc.get_objects()))\n"
            "    reactor.stop()\n"
            "reactor.callLater(0, look)\n"
            "reactor.run()\n"
        )
        command = [sys.executable, "-c", program, str(self.file)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=self.directory)
        frozen, looked_at = map(int, ran.stdout.split()[-2:])
        self.assertGreater(frozen, 10 * looked_at)

    def test_nothing_shadows_twisted(self) -> None:
        """The checkout has no twisted/__init__.py and no twisted/plugins/__init__.py: they would hide Twisted."""
        root = Path(tap.__file__).parent.parent / "twisted"
        self.assertFalse((root / "__init__.py").exists())
        self.assertFalse((root / "plugins" / "__init__.py").exists())

    def test_the_reactor_is_chosen_late(self) -> None:
        """Neither the plugin nor tap installs a reactor when it is imported: --reactor would come too late."""
        plugin = Path(tap.__file__).parent.parent / "twisted" / "plugins" / "netsvc_plugin.py"
        code = (
            f"import runpy, sys; runpy.run_path({str(plugin)!r}); import netsvc.tap; "
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code], timeout=60).returncode, 0)

    def test_no_file(self) -> None:
        """Without --config the usage says what is missing."""
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, [])
        self.assertIn("--config", str(error))

    def test_a_bad_file_ends_with_every_fault(self) -> None:
        """Every fault is a line, the last line sums up, the status is 1."""
        status, text = self.ended(self.options, "[echo]\nlisten = tcp:70000\nmax_conections = 3\n[ecko]\n")
        self.assertEqual(status, 1)
        lines = text.splitlines()
        self.assertEqual(len(lines), 4)
        self.assertIn("did you mean 'max_connections'?", text)
        self.assertIn("3 faults", lines[-1])

    def test_makes_the_service(self) -> None:
        """A good file becomes one service; nothing is bound before it starts."""
        service = tap.makeService(self.options(GOOD.format(port=0)))
        self.assertTrue(IService.providedBy(service))

    def test_timers_do_not_follow_the_time_of_day(self) -> None:
        """A clock that is set closes no connection and holds no timer: the reactor counts monotonic seconds."""
        tap.makeService(self.options(GOOD.format(port=0)))
        call = reactor.callLater(100, lambda: None)  # type: ignore[attr-defined]
        self.addCleanup(call.cancel)
        self.assertLess(abs(call.getTime() - time.monotonic() - 100), 5)

    def test_a_failed_bind_in_the_foreground(self) -> None:
        """In the foreground a failed bind is a clear line and status 1, and twistd's pid file goes."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        pidfile = self.directory / "twistd.pid"
        pidfile.write_text("1")
        options = self.options(GOOD.format(port=taken.getsockname()[1]), nodaemon=True, pidfile=str(pidfile))
        status, text = self.ended(lambda: tap.makeService(options).privilegedStartService())
        self.assertEqual(status, 1)
        self.assertIn("twistd netsvc: [echo] cannot listen on", text)
        self.assertFalse(pidfile.exists())

    def test_a_failed_bind_in_the_background(self) -> None:
        """As a daemon the first line goes to the waiting parent, as far as it fits, and every line to the log."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        logged: list[Any] = []
        reader, writer = os.pipe()
        options = self.options(GOOD.format(port=port), nodaemon=False, logfile=str(self.directory / "log"))
        service = tap.makeService(options)
        options.parent["statusPipe"] = writer  # type: ignore[attr-defined]
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        status, _ = self.ended(service.privilegedStartService)
        self.assertEqual(status, 1)
        told = os.read(reader, 1000)
        for one in (reader, writer):
            os.close(one)
        self.assertTrue(told.startswith(b"1 [echo] cannot listen on tcp:127.0.0.1:%d" % port))
        self.assertLessEqual(len(told), 100)
        (reason,) = (event["reason"] for event in logged if event.get("event") == "start-failed")
        self.assertTrue(reason.endswith("(another program listens there)"))

    def test_logs_only_to_regular_files(self) -> None:
        """-l with a device is refused: Twisted's own log would rename it away."""
        status, text = self.ended(
            tap.makeService, self.options(GOOD.format(port=0), nodaemon=True, logfile="/dev/full")
        )
        self.assertEqual(status, 1)
        self.assertIn("is not a regular file", text)

    def test_a_kind_with_a_fault(self) -> None:
        """A service that cannot be made ends the start with a clear line and status 1."""

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("oh")

        options = self.options(GOOD.format(port=0), nodaemon=True)
        instance = options.plan.instances[0]
        self.patch(type(instance.kind), "load_make_service", lambda _: broken)
        status, text = self.ended(tap.makeService, options)
        self.assertEqual(status, 1)
        self.assertIn("twistd netsvc: [echo] its kind has a fault: ZeroDivisionError: oh", text)

    def test_the_command_lines_own_logger_stays(self) -> None:
        """With --logger or --syslog twistd's choice stands."""
        service: Any = tap.makeService(self.options(GOOD.format(port=0), nodaemon=True, logger="some.logger"))
        self.assertIsNone(service._observer)
