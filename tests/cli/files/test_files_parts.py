"""URLs, rates, and what is done at Ctrl-C."""

from __future__ import annotations

import _thread
import io
import signal
import threading
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.files.crew import EXIT_INTERRUPTED, Job
from netsvc.cli.files.crew import run as run_jobs
from netsvc.cli.files.errors import NotThereError, NotVerifiedError, UsageError
from netsvc.cli.files.locations import parse_location
from netsvc.cli.files.meter import Meter
from netsvc.cli.files.pace import Pace
from netsvc.cli.files.ways import Facts
from netsvc.cli.progress import Progress
from tests.cli.files.running import FilesCase, run
from tests.waiting import BOUND


class LocationTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """Each scheme's URL has its parts; passwords are not shown."""
        one = parse_location("https://me:se%3Acret@example.com/a%20b/c?d=e")
        self.assertEqual((one.host, one.port, one.user, one.password), ("example.com", 443, "me", "se:cret"))
        self.assertEqual((one.path, one.name), ("/a%20b/c?d=e", "c"))
        self.assertEqual(str(one), "https://me@example.com/a%20b/c?d=e")
        self.assertNotIn("cret", repr(one))
        two = parse_location("sftp://[::1]:2222/~/%E6%B1%87.txt")
        self.assertEqual((two.host, two.port, two.decoded, two.name), ("::1", 2222, "/~/汇.txt", "汇.txt"))
        self.assertEqual(two.authority, "[::1]:2222")
        self.assertEqual(parse_location("http://h:8000").path, "/")
        self.assertEqual(parse_location("netsvc://h:5566").name, "")

    def test_refused(self) -> None:
        """What is no URL of a file is refused, in words without the password."""
        for url in (
            *("a.txt", "ftp://h/a", "http:///a", "http://h:99999/", "http://[::1/", "netsvc://h/", "sftp://h/a?b"),
            *("sftp://-oProxyCommand=x/a", "http://h/a b", "http://h/\n", "http://h/ü", "ftp://me:secret@h/"),
        ):
            with self.assertRaises(UsageError) as caught:
                parse_location(url)
            self.assertNotIn("secret", str(caught.exception))
        self.assertRaises(UsageError, lambda: parse_location("sftp://h/%ff").decoded)

    @settings(deadline=None)
    @given(st.text(max_size=40))
    def test_anything(self, text: str) -> None:
        """Any text is a location or a UsageError."""
        for url in (text, "http://" + text, "sftp://h/" + text):
            try:
                found = parse_location(url)
            except UsageError:
                continue
            self.assertEqual(parse_location(str(found)).path, found.path)


class PaceTests(SynchronousTestCase):
    def test_rate(self) -> None:
        """Octets go as fast as the rate allows; of a time without any only a tenth of a second is made good."""
        now, waits = [0.0], []

        class Stop(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                assert timeout is not None
                waits.append(timeout)
                now[0] += timeout
                return False

        pace = Pace(1000, lambda: now[0])
        for _ in range(50):
            pace.take(pace.piece, Stop())
        self.assertEqual(pace.piece, 100)
        self.assertAlmostEqual(now[0], 5.0)
        now[0] += 100
        pace.take(1000, Stop())
        self.assertAlmostEqual(waits[-1], 0.9)

    def test_no_limit(self) -> None:
        """Without a rate nobody waits."""
        Pace(None).take(1 << 40, threading.Event())


class CrewTests(SynchronousTestCase):
    def run_all(self, *works: Exception | None) -> tuple[int, str]:
        errors = io.StringIO()

        def job(number: int, error: Exception | None) -> Job:
            def work(meter: Meter) -> Facts:
                meter.expect(1)
                meter.moved(1)
                if error is not None:
                    raise error
                return {}

            return Job(str(number), f"url{number}", work)

        jobs = [job(number, one) for number, one in enumerate(works)]
        return run_jobs(jobs, command="c", at_once=2, pace=Pace(None), progress=Progress(errors)), errors.getvalue()

    def test_statuses(self) -> None:
        """All well is 0; failures of one kind have its status; of several kinds it is 1; each has one clean line."""
        self.assertEqual(self.run_all(None, None), (0, ""))
        status, errors = self.run_all(None, NotThereError("gone\x1b[1m\n"), NotThereError("gone"))
        self.assertEqual(status, 3)
        self.assertEqual(sorted(errors.splitlines()), ["c: url1: gone\\x1b[1m\\n", "c: url2: gone"])
        self.assertEqual(self.run_all(NotThereError("a"), NotVerifiedError("b"))[0], 1)
        self.assertEqual(self.run_all(OSError(13, "Permission denied")), (1, "c: url0: Permission denied\n"))

    def interrupted(self, interrupt: Callable[[], object]) -> None:
        """Have the main thread interrupted while the first of three jobs hangs."""
        begun, cut = threading.Event(), threading.Event()
        ran = []

        def hangs(meter: Meter) -> Facts:
            ran.append(1)
            with meter.stop.cutting(cut.set):
                begun.set()
                assert cut.wait(BOUND)
                meter.check()
            raise AssertionError("it went on")

        def interrupts() -> None:
            begun.wait(BOUND)
            interrupt()

        errors = io.StringIO()
        thread = threading.Thread(target=interrupts)
        thread.start()
        jobs = [Job("a", "a", hangs)] * 3
        status = run_jobs(jobs, command="c", at_once=1, pace=Pace(None), progress=Progress(errors))
        thread.join()
        self.assertEqual((status, len(ran)), (EXIT_INTERRUPTED, 1))
        self.assertIn("-c goes on", errors.getvalue())

    def test_interrupted(self) -> None:
        """At Ctrl-C what runs is cut, what waits does not begin, and the status is 130."""
        main_thread = threading.get_ident()
        self.interrupted(lambda: signal.pthread_kill(main_thread, signal.SIGINT))

    def test_interrupted_as_the_wait_begins(self) -> None:
        """So it is where the signal is there but ends no wait, as one that comes just before the wait."""
        self.interrupted(_thread.interrupt_main)


class UsageTests(FilesCase):
    def test_usage(self) -> None:
        """What makes no sense is refused before anything is opened, with status 2."""
        for arguments in (
            ("get", "-o", self.here / "a", "http://127.0.0.1/a", "http://127.0.0.1/b"),
            ("get", "-o", self.here, "http://127.0.0.1/a"),
            ("get", "-d", self.here / "none", "http://127.0.0.1/a"),
            ("get", "ftp://127.0.0.1/a"),
            ("get", "--ssh", "'", "sftp://127.0.0.1/a"),
            ("get", "--ssh", "", "sftp://127.0.0.1/a"),
            ("get", "--limit-rate", "5", "http://127.0.0.1/a"),
            ("get", "-j", "0", "http://127.0.0.1/a"),
            ("get", "--timeout", "0", "http://127.0.0.1/a"),
            ("put", "a", "b", "http://127.0.0.1/a"),
            ("put", "a"),
            ("ls", "netsvc://127.0.0.1:1/"),
            ("rm", "netsvc://127.0.0.1:1/"),
        ):
            ran = run(*arguments)
            self.assertEqual((ran.status, ran.out), (2, ""), arguments)
            self.assertTrue(ran.err)

    def test_what_is_no_file(self) -> None:
        """A directory, a FIFO and what is not there are not sent, each in its words, and nothing waits for them."""
        import os

        os.mkfifo(self.here / "fifo")
        for name, status, words in (
            *((".", 1, "it is a directory"), ("fifo", 1, "it is no regular file")),
            ("none", 3, "there is no such file here"),
        ):
            ran = run("put", self.here / name, "http://127.0.0.1:1/")
            self.assertEqual(
                (ran.status, ran.err), (status, f"netsvc put: {self.here / name} to http://127.0.0.1:1/: {words}\n")
            )
