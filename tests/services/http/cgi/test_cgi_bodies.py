"""Request bodies on their way to a script's stdin. The scripts are real."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from unittest import mock

from netsvc.services.http.cgi.body import IN_MEMORY
from tests.services.http.cgi.rig import EngineCase, FakeExchange, request_head

DIGEST = """#!/usr/bin/python3
import hashlib, os, sys
data = hashlib.sha256()
size = 0
while block := sys.stdin.buffer.read(65536):
    data.update(block)
    size += len(block)
print("Content-Type: text/plain\\n")
print(os.environ.get("CONTENT_LENGTH"), size, data.hexdigest(), end="")
"""

OK = "printf 'Content-Type: a/b\\n\\nok'\n"
WAIT = "mkfifo ../gate; read line <../gate\n"  # until the test opens the gate


class BodiesTest(EngineCase):
    """CGI line 4."""

    def send(self, size: int, *, chunked: bool = False, block: int = 65536) -> None:
        data = bytes(range(256)) * (block // 256)
        digest = hashlib.sha256()
        field = (b"transfer-encoding", b"chunked") if chunked else (b"content-length", b"%d" % size)
        exchange = FakeExchange(request_head("POST", headers=(field,)), body_length=None if chunked else size)
        engine = self.engine()
        engine.run(exchange, self.script(DIGEST))
        left = size
        while left:
            piece = data[:left]
            digest.update(piece)
            left -= len(piece)
            exchange.give(piece)
            self.spin(lambda: not exchange.body_paused)
        exchange.receiver.body_finished()
        self.spin(lambda: exchange.end)
        self.assertEqual(exchange.body.decode(), f"{size} {size} {digest.hexdigest()}")

    def test_cgi_04_sizes(self) -> None:
        """Bodies of 1 octet to 1 MB reach the script whole, and it sees their end."""
        for size in (1, 1000, IN_MEMORY, IN_MEMORY + 1, 1_000_000):
            self.send(size)

    def test_cgi_04_chunked(self) -> None:
        """A body of unknown length is decoded, and CONTENT_LENGTH computed, in memory and in a file."""
        for size in (0, 1, IN_MEMORY, IN_MEMORY + 1, 1_000_000):
            self.send(size, chunked=True)

    def test_cgi_04_large(self) -> None:
        """100 MB stream through, with the peer paused whenever the script reads slower."""
        self.send(100_000_000, block=1 << 20)

    def test_cgi_04_none(self) -> None:
        """Without a body the script reads the end of file at once."""
        exchange = self.answer(DIGEST)
        self.assertEqual(exchange.body.decode(), f"None 0 {hashlib.sha256().hexdigest()}")

    def test_cgi_04_short_body_holds_no_script(self) -> None:
        """The script starts only when a short body is whole."""
        exchange = FakeExchange(request_head("POST"), body_length=4)
        engine = self.engine()
        engine.run(exchange, self.script(DIGEST))
        exchange.give(b"ab")
        self.assertEqual(len(engine._running), 0)
        exchange.give_all(b"cd")
        self.assertEqual(len(engine._running), 1)
        self.spin(lambda: exchange.end)
        self.assertTrue(exchange.body.startswith(b"4 4 "))

    def test_cgi_04_unread(self) -> None:
        """A script that never reads its body answers all the same; the rest is drained, the peer not paused."""
        exchange = FakeExchange(request_head("POST"), body_length=10_000_000)
        engine = self.engine()
        engine.run(exchange, self.script("#!/bin/sh\n" + OK))
        for _ in range(10):
            exchange.give(b"x" * 1_000_000)
        self.spin(lambda: exchange.end and not engine._all)
        self.assertEqual((exchange.body, exchange.end, exchange.body_paused), (b"ok", "finished", False))
        exchange.receiver.body_finished()

    def test_cgi_04_closed_stdin(self) -> None:
        """A script that closes stdin and goes on gets no signal for it; what comes is dropped."""
        exchange = FakeExchange(request_head("POST"), body_length=10_000_000)
        engine = self.engine()
        text = "#!/bin/sh\nexec <&-\n" + OK + WAIT + "echo end"
        engine.run(exchange, self.script(text))
        self.spin(lambda: exchange.body)
        for _ in range(9):
            exchange.give(b"x" * 1_000_000)
            self.spin(lambda: not exchange.body_paused)
        exchange.give_all(b"x" * 1_000_000)
        self.open_gate()
        self.spin(lambda: exchange.end)
        self.assertEqual((exchange.body, exchange.end), (b"okend\n", "finished"))

    def test_cgi_04_answered_early(self) -> None:
        """A script whose answer is complete before its body sees the end of file: nobody brings the rest."""
        exchange = FakeExchange(request_head("POST"), body_length=1_000_000)
        engine = self.engine()
        engine.run(exchange, self.script("#!/bin/sh\nprintf 'Content-Length: 2\\n\\nok'\nexec cat >/dev/null"))
        exchange.give(b"x" * 100)
        self.spin(lambda: exchange.end and not engine._all)
        self.assertEqual((exchange.body, exchange.end), (b"ok", "finished"))

    def test_cgi_04_back_pressure(self) -> None:
        """A script that does not read pauses the peer; memory is bounded by what was read already."""
        exchange = FakeExchange(request_head("POST"), body_length=10_000_000)
        engine = self.engine()
        text = "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'\n" + WAIT + "wc -c"
        engine.run(exchange, self.script(text))
        given = 0
        while not exchange.body_paused:
            exchange.give(b"x" * 10_000)
            given += 10_000
        self.assertLess(given, 200_000)
        self.open_gate()
        while given < 10_000_000:
            self.spin(lambda: not exchange.body_paused)
            exchange.give(b"x" * 10_000)
            given += 10_000
        exchange.receiver.body_finished()
        self.spin(lambda: exchange.end)
        self.assertEqual(exchange.body.strip(), b"10000000")

    def test_cgi_04_too_long(self) -> None:
        """A declared or a chunked body beyond cgi_max_body is 413, and no script runs."""
        engine = self.engine(cgi_max_body=100_000)
        declared = FakeExchange(request_head("POST"), body_length=100_001)
        engine.run(declared, self.script(DIGEST))
        self.assertEqual((declared.status, declared.end, declared.receiver), (413, "refused", None))
        chunked = FakeExchange(request_head("POST"), body_length=None)
        engine.run(chunked, self.script(DIGEST))
        chunked.give(b"x" * 100_000)
        self.assertEqual(chunked.end, "")
        chunked.give(b"x")
        self.assertEqual((chunked.status, chunked.end), (413, "refused"))
        chunked.give_all(b"x")
        self.assertEqual(len(engine._all), 0)

    def test_cgi_04_spool_full(self) -> None:
        """Bodies without a length have so much room on the disk together; one more is 503 until one has gone."""
        engine = self.engine(cgi_max_spool=150_000)
        script = self.script("#!/bin/sh\n" + OK)
        first, second, third = (FakeExchange(request_head("POST"), body_length=None) for _ in range(3))
        for exchange in (first, second):
            engine.run(exchange, script)
            exchange.give(b"x" * 100_000)
        self.assertEqual((second.status, first.status), (503, None))
        self.assertEqual([event["reason"] for event in self.logged("cgi-no-room")], ["cgi_max_spool is used up"])
        first.receiver.body_finished()
        self.spin(lambda: first.end and not engine._all)
        engine.run(third, script)
        third.give_all(b"x" * 150_000)
        self.spin(lambda: third.end)
        self.assertEqual((first.status, third.status), (200, 200))

    def test_cgi_04_spool_place(self) -> None:
        """The files stand in the state directory, without names; where that cannot be, with all temporary files."""
        for state, expected in ((self.directory / "state", "state/cgi-spool"), (Path("/proc/none"), "netsvc-cgi-")):
            engine = self.engine(extra={"state_directory": state}, cgi_legacy=False)
            exchange = FakeExchange(request_head("POST"), body_length=None)
            engine.run(exchange, self.script("#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; readlink /proc/$$/fd/0"))
            exchange.give_all(b"x" * 100_000)
            self.spin(lambda: exchange.end)  # noqa: B023
            found = exchange.body.decode()
            self.assertIn("(deleted)", found)
            if expected == "state/cgi-spool":
                self.assertIn(expected, found)
                self.assertEqual(list((state / "cgi-spool").iterdir()), [])

    def test_cgi_04_disk_full(self) -> None:
        """When the body cannot be spooled the answer is 503, and the log says why, with the word of the page."""
        exchange = FakeExchange(request_head("POST"), body_length=None)
        self.engine().run(exchange, self.script(DIGEST))
        with mock.patch("tempfile.TemporaryFile", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
            exchange.give(b"x" * (IN_MEMORY + 1))
        self.assertEqual((exchange.status, exchange.end), (503, "refused"))
        (event,) = self.logged("cgi-no-room")
        self.assertEqual((event["reason"], event["request_id"]), ("No space left on device", "rq1"))

    def test_cgi_04_lost_before(self) -> None:
        """A body that breaks off before the script started starts none."""
        exchange = FakeExchange(request_head("POST"), body_length=1000)
        engine = self.engine()
        engine.run(exchange, self.script(DIGEST))
        exchange.give(b"x")
        exchange.receiver.body_lost()
        exchange.receiver.body_lost()
        self.assertEqual(len(engine._all), 0)

    def test_cgi_04_lost_while_running(self) -> None:
        """A body that breaks off ends the script, and an answer that has begun is cut."""
        exchange = FakeExchange(request_head("POST"), body_length=1_000_000)
        engine = self.engine()
        engine.run(exchange, self.script("#!/bin/sh\n" + OK + "exec cat >/dev/null"))
        self.spin(lambda: exchange.body)
        exchange.receiver.body_lost()
        self.spin(lambda: not engine._all)
        self.assertEqual(exchange.end, "aborted")

    def test_cgi_04_long_body_in_queue(self) -> None:
        """A long body waits paused while its request is in the queue."""
        engine = self.engine(cgi_max_scripts=1)
        first = FakeExchange(request_head("POST"), body_length=100_000)
        second = FakeExchange(request_head("POST"), body_length=200_000)
        engine.run(first, self.script(DIGEST))
        engine.run(second, self.script(DIGEST))
        second.give(b"x" * 100_000)
        self.assertTrue(second.body_paused)
        first.give_all(b"x" * 100_000)
        self.spin(lambda: first.end and not second.body_paused)
        second.give_all(b"x" * 100_000)
        self.spin(lambda: second.end)
        self.assertTrue(second.body.startswith(b"200000 200000 "))
