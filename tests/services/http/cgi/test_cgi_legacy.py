"""The modules cgi and cgitb for Pythons without them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from unittest import mock

from netsvc.services.http.cgi import legacy
from tests.services.http.cgi.rig import EngineCase, FakeExchange, request_head

# Hides the modules of the standard library, so that this Python is one without them.
WITHOUT = """
import os, sys, sysconfig
from importlib.machinery import PathFinder
ours = os.environ["PYTHONPATH"]
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("cgi", "cgitb"):
            return PathFinder.find_spec(name, [one for one in sys.path if one.startswith(ours)])
sys.meta_path.insert(0, Finder)
"""


class LegacyTest(EngineCase):
    """CGI line 10."""

    def offer(self) -> Path:
        directory = self.directory.resolve() / "state" / "cgi-legacy"
        self.assertTrue(legacy.offer(directory))
        return directory

    def python(self, directory: Path, code: str) -> str:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={"PYTHONPATH": str(directory)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def test_cgi_10_own_wins(self) -> None:
        """A Python that has the modules, of its own or installed, uses those."""
        directory = self.offer()
        found = self.python(directory, "import cgi, cgitb; print(cgi.__file__, cgitb.__file__, cgi.FieldStorage)")
        self.assertNotIn(str(directory), found)
        self.assertIn("FieldStorage", found)

    def test_cgi_10_offered(self) -> None:
        """A Python that has none uses those of legacy-cgi; its path is left as it was."""
        directory = self.offer()
        code = "import sys; before = sys.path[:]; import cgi, cgitb; print(cgi.__file__); print(cgitb.__file__)"
        found = self.python(directory, WITHOUT + code + "; print(sys.path == before, sys.modules['cgi'] is cgi)")
        self.assertEqual(
            found.splitlines(),
            [f"{directory}/legacy-cgi/cgi.py", f"{directory}/legacy-cgi/cgitb.py", "True True"],
        )

    def test_cgi_10_nothing_else(self) -> None:
        """Nothing but the two modules is on the path of scripts."""
        directory = self.offer()
        self.assertEqual(sorted(os.listdir(directory)), ["cgi.py", "cgitb.py", "legacy-cgi"])
        self.assertEqual(sorted(os.listdir(directory / "legacy-cgi")), ["cgi.py", "cgitb.py"])

    def test_cgi_10_again(self) -> None:
        """Made anew it keeps what is right and mends what is not."""
        directory = self.offer()
        kept = (directory / "cgi.py").stat().st_ino
        (directory / "cgitb.py").write_text("broken")
        self.offer()
        self.assertEqual((directory / "cgi.py").stat().st_ino, kept)
        self.assertIn("netsvc", (directory / "cgitb.py").read_text())

    def test_cgi_10_no_half_file(self) -> None:
        """When a file cannot be put in place, none is left half-written."""
        directory = self.directory / "state"
        with mock.patch("os.replace", side_effect=OSError(28, "full")), self.assertRaises(OSError):
            legacy.offer(directory)
        self.assertEqual(os.listdir(directory / "legacy-cgi"), [])

    def test_cgi_10_not_installed(self) -> None:
        """Without legacy-cgi nothing is offered."""
        with mock.patch.object(legacy, "distribution", side_effect=PackageNotFoundError("legacy-cgi")):
            self.assertFalse(legacy.offer(self.directory / "none"))
        self.assertFalse((self.directory / "none").exists())

    def environment(self, **options: object) -> dict[str, str]:
        exchange = FakeExchange()
        engine = self.engine(extra={"state_directory": self.directory / "state"}, **options)
        for _ in range(2):
            exchange = FakeExchange()
            engine.run(exchange, self.script("#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; env"))
            self.spin(lambda: exchange.end)  # noqa: B023
        return dict(line.split("=", 1) for line in exchange.body.decode().splitlines())

    def test_cgi_10_scripts_are_told(self) -> None:
        """The directory is the PYTHONPATH of scripts, behind one that the settings give."""
        ours = str(self.directory / "state" / "cgi-legacy")
        self.assertEqual(self.environment()["PYTHONPATH"], ours)
        self.assertEqual(self.environment(cgi_env=(("PYTHONPATH", "/mine"),))["PYTHONPATH"], f"/mine:{ours}")
        self.assertNotIn("PYTHONPATH", self.environment(cgi_legacy=False))

    def test_cgi_10_cannot(self) -> None:
        """A state directory that cannot be written costs the offer, not the answer; it is logged once."""
        (self.directory / "state").touch()
        self.assertNotIn("PYTHONPATH", self.environment())
        self.assertEqual(len(self.logged("cgi-legacy-failed")), 1)

    def test_cgi_10_form(self) -> None:
        """A FieldStorage script of the tutorials answers GET and POST unchanged."""
        text = (
            f"#!{sys.executable}\nimport cgi\nform = cgi.FieldStorage()\n"
            "print('Content-type:text/html')\nprint()\nprint(form.getvalue('name'), form.getlist('x'))\n"
        )
        fields = (
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", b"18"),
        )
        engine = self.engine(extra={"state_directory": self.directory / "state"})
        for exchange in (
            FakeExchange(request_head(target=b"/cgi-bin/script?name=Tracy&x=1&x=2")),
            FakeExchange(
                request_head("POST", headers=fields),
                body_length=18,
                receives=lambda one: one.give_all(b"name=Tracy&x=1&x=2"),
            ),
        ):
            engine.run(exchange, self.script(text))
            self.spin(lambda: exchange.end)  # noqa: B023
            self.assertEqual(exchange.body, b"Tracy ['1', '2']\n")
