"""``netsvc explain``."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.main import main

INI = """\
[netsvc]
state_directory = s
[http]
listen = tcp:8000
docroot = www
[http /old]
redirect = /old/* /new/*
[http:tls]
listen = tcp:8001
docroot = www
[echo]
listen = tcp:7
"""


class ExplainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / "www").mkdir(parents=True)
        (self.directory / "www" / "index.html").write_text("hello")
        self.file = self.directory / "netsvc.ini"
        self.file.write_text(INI)

    def run_main(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["explain", *words])
        return status, out.getvalue(), err.getvalue()

    def test_text(self) -> None:
        """The section that listens there is explained, step by step."""
        status, out, _ = self.run_main(str(self.file), "http://localhost:8000/")
        self.assertEqual(status, 0)
        self.assertIn("  section  [http]\n", out)
        self.assertIn("  answer   200: the file ", out)
        self.assertNotIn("http:tls", out)

    def test_no_listener(self) -> None:
        """Where nobody listens, every section is explained, and that is said."""
        _, out, _ = self.run_main(str(self.file), "https://localhost/old/x\x1b")
        self.assertIn("No section listens for https on port 443", out)
        self.assertIn("400: a control character in the path", out)
        self.assertIn("[http:tls]", out)
        self.assertNotIn("\x1b", out)

    def test_json(self) -> None:
        """The same for programs."""
        status, out, _ = self.run_main(str(self.file), "http://localhost:8000/old/a", "--format", "json")
        self.assertEqual(status, 0)
        (found,) = json.loads(out)["sections"]
        self.assertEqual((found["section"], found["status"], found["location"]), ("http", 301, "/new/a"))

    def test_faults(self) -> None:
        """What is no URL is bad usage; a bad configuration, or one without http, is told."""
        self.assertEqual(self.run_main(str(self.file), "localhost")[0], 2)
        self.assertEqual(self.run_main(str(self.directory / "none"), "http://a/")[0], 1)
        self.file.write_text("[netsvc]\nstate_directory = s\n[echo]\nlisten = tcp:7\n")
        status, _, err = self.run_main(str(self.file), "http://a/")
        self.assertEqual(status, 1)
        self.assertIn("has no [http] section", err)
