"""``netsvc fetch`` without a network: what it refuses, and with which status; what it asks of a daemon."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.main import main

LINE = {"id": "0a", "order": "file", "run": "09", "url": "http://a/b", "accepted_at": 0.0, "attempts": 2}
WAITING = {**LINE, "state": "waiting", "became": "waiting", "last": "500 the answer is 500", "next_at": 60.0}
GONE = {**LINE, "state": "done", "became": "bounced", "last": "404 the answer\x1b is 404", "next_at": None}
ATTEMPT = {"at": 1.0, "result": "permanent", "code": 404, "text": "the answer is 404"}
RUN = {"state": "delivered", "reason": "3 files, 2 of them ordered"}


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-fetch-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main(["fetch", *arguments])
        return status, out.getvalue(), err.getvalue()


class UsageTests(CommandCase):
    def test_refused(self) -> None:
        """What makes no sense is status 2 and one line, which has no password of a URL."""
        (self.directory / "sums").write_text("x")
        (self.directory / "empty").write_text("# nothing\n")
        (self.directory / "list").write_text("http://a/b\nftp://a/geheim\n")
        here = os.fspath(self.directory)
        feed = ("--feed", "http://a/{page}", "--path", "a[*]")
        for words in (
            (),
            ("ftp://u:geheim@a/b?geheim",),
            ("http://a/b sha256:12",),
            ("",),
            ("--from", f"{here}/none"),
            ("--from", f"{here}/empty"),
            ("--from", f"{here}/list"),
            ("http://a/b", "http://a/c", "-o", "x"),
            ("http://a/b", "-o", here),
            ("http://a/b", "-o", "x", "-d", here),
            ("http://a/b", "-d", "/nonexistent/x"),
            ("http://a/b", "-i", "--json"),
            ("http://a/b", "--manifest", "a/b"),
            ("http://a/b", "--checksums", f"{here}/none"),
            ("http://a/b", "--checksums", f"{here}/sums"),
            ("http://a/b", "--key", "env:HOME"),
            ("--feed", "http://a"),
            (*feed, "--pages", "x"),
            (*feed, "--key", "env:HOME"),
            ("--feed", "http://a/{x}", "--path", "a"),
            ("--feed", "http://a/{key}", "--path", "a", "--key", "env:NONE_OF_THIS_NAME"),
            ("--feed", "http://a/", "--path", "a", "--pages", "1-2"),
            ("--feed", "http://a/", "--path", "a..b"),
            ("--feed", "a", "--path", "a"),
        ):
            status, out, err = self.run_command(*words)
            self.assertEqual((status, out, len(err.splitlines())), (2, "", 1), (words, err))
            self.assertTrue(err.startswith("netsvc fetch: "))
            self.assertNotIn("?geheim", err)
        for words in (("-j", "0"), ("--limit-rate", "x"), ("--timeout", "-1"), ("--retry-for", "x"), ("--tries", "0")):
            self.assertEqual(self.run_command("http://a/b", *words)[0], 2)

    def test_starts_without_twisted(self) -> None:
        """Help and the questions to a daemon import no Twisted."""
        code = "import sys, netsvc.cli.fetch; print('twisted' in sys.modules)"
        self.assertEqual(subprocess.check_output([sys.executable, "-c", code], text=True).strip(), "False")


class DaemonTests(CommandCase):
    def ask(self, *words: str, replies: list[dict[str, Any]]) -> tuple[int, str, str, list[dict[str, Any]]]:
        """Run the command beside a socket that gives these replies; with the requests."""
        path = self.directory / "fetch.sock"
        path.unlink(missing_ok=True)
        asked = []

        def serve() -> None:
            with listener.accept()[0] as connection, connection.makefile("rwb") as stream:
                for one in replies:
                    asked.append(json.loads(stream.readline()))
                    stream.write(json.dumps(one).encode() + b"\n")
                    stream.flush()

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
            listener.listen()
            thread = threading.Thread(target=serve)
            thread.start()
            status, out, err = self.run_command(*words, "--socket", os.fspath(path))
            thread.join(30)
        return status, out, err, asked

    def test_run(self) -> None:
        """Run prints the id; with --wait it tells what came, and is 1 when some failed or the list cannot be had."""
        ordered = {"ok": True, "id": "09", "repeated": False}
        status, out, _, asked = self.ask("run", replies=[ordered])
        self.assertEqual((status, out, asked), (0, "09\n", [{"v": 1, "command": "run"}]))
        waiting = {"ok": True, "run": RUN, "files": {"waiting": 1}, "failed": []}
        done = {"ok": True, "run": RUN, "files": {"delivered": 2}, "failed": []}
        status, out, err, _ = self.ask("run", "--wait", replies=[ordered, waiting, done])
        self.assertEqual((status, out, err), (0, "09: 3 files, 2 of them ordered; 2 came\n", ""))
        failed = [{"url": "http://a/b", "state": "bounced", "reason": "404"}]
        status, _, err, _ = self.ask("run", "--wait", replies=[ordered, {**done, "failed": failed}])
        self.assertEqual((status, err), (1, "netsvc fetch run: http://a/b: failed: 404\n"))
        bad = {"ok": True, "run": {"state": "bounced", "reason": "404"}, "files": {}, "failed": []}
        self.assertEqual(self.ask("run", "--wait", "--json", replies=[ordered, bad])[0], 1)

    def test_looks(self) -> None:
        """queue, show and audit print lines for people, with nothing in them that moves a cursor, or JSON."""
        page = {"ok": True, "items": [WAITING, GONE], "more": False}
        status, out, _, _ = self.ask("queue", "--all", replies=[page])
        self.assertEqual((status, len(out.splitlines())), (0, 4))
        self.assertNotIn("\x1b", out)
        _, out, _, _ = self.ask("queue", "--json", replies=[page])
        self.assertEqual([json.loads(line) for line in out.splitlines()], [WAITING, GONE])
        self.assertEqual(self.ask("queue", replies=[{**page, "items": []}])[1], "The queue is empty.\n")
        for item in (GONE, WAITING):
            _, out, _, _ = self.ask("show", "0a", replies=[{"ok": True, "item": {**item, "ledger": [ATTEMPT]}}])
            self.assertIn("permanent: 404 the answer is 404", out)
        names = ("accepted", "delivered", "bounced", "expired", "removed", "ambiguous", "waiting")
        books = {**dict.fromkeys(names, 0), "balanced": True}
        _, out, _, _ = self.ask("audit", replies=[{"ok": True, "audit": books}])
        self.assertIn("the books balance", out)
        self.assertEqual([line.split()[0] for line in out.splitlines()[1:4]], ["done", "failed", "given"])

    def test_operations_and_refusals(self) -> None:
        """Requeue tells how many; refusals and strangers have the status of sysexits(3)."""
        self.assertEqual(self.ask("requeue", "0a", replies=[{"ok": True, "count": 1}])[:2], (0, "0a: 1 files\n"))
        for code, status in (("5.7.1", os.EX_NOPERM), ("4.3.0", os.EX_TEMPFAIL), ("5.0.0", os.EX_DATAERR)):
            refusal = {"ok": False, "code": code, "text": "no"}
            self.assertEqual(self.ask("remove", "0a", replies=[refusal])[0], status)
        self.assertEqual(self.ask("audit", replies=[{"x": 1}])[0], os.EX_PROTOCOL)
        missing = os.fspath(self.directory / "none")
        self.assertEqual(self.run_command("audit", "--socket", missing)[0], os.EX_UNAVAILABLE)
        self.assertEqual(self.run_command("show", "--socket", missing)[0], os.EX_USAGE)

    def test_which(self) -> None:
        """The configuration names the socket; of several lists one must be chosen, by its name behind run too."""
        config = self.directory / "netsvc.ini"
        section = "urls = http://a/b\nwhen_told = yes\n"
        config.write_text(f"[netsvc]\nstate_directory = /nonexistent\n[fetch]\n{section}[fetch:b]\n{section}")
        status, _, err = self.run_command("audit", "--config", os.fspath(config))
        self.assertEqual(status, os.EX_USAGE)
        self.assertIn("(fetch, fetch:b)", err)
        for words in (("run", "b"), ("run", "fetch:b"), ("run", "--service", "fetch:b")):
            status, _, err = self.run_command(*words, "--config", os.fspath(config))
            self.assertEqual(status, os.EX_UNAVAILABLE)
            self.assertIn("/nonexistent/fetch-b.sock", err)
