"""CPython's own test.test_httpservers.CGIHTTPServerTestCase, pointed at netsvc.

http.server lost CGI in Python 3.15, and many packages of Python leave the tests out, so any Python of this machine
that has both runs them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon

BOUND = 120.0  # seconds
HAS_THEM = "from test.test_httpservers import CGIHTTPServerTestCase"
CASES = 14  # in Python 3.11 and later


def python_with_tests() -> str:
    """A CPython that has the tests."""
    tried = [sys.executable, *map(str, sorted(Path.home().glob(".pyenv/versions/3.1[1-4].*/bin/python")))]
    tried += [found for found in map(shutil.which, ("python3.11", "python3.12", "python3.13", "python3")) if found]
    tried.append("/usr/bin/python3")
    for one in tried:
        if subprocess.run([one, "-W", "ignore", "-c", HAS_THEM], capture_output=True, timeout=BOUND).returncode == 0:
            return one
    raise AssertionError(f"no Python with {HAS_THEM!r}; Debian: libpython3.11-testsuite; tried {tried}")


class CpythonTest(SynchronousTestCase):
    """The issue: CPython's CGI cases pass."""

    def test_cgi_10_cpython(self) -> None:
        """Every case of CPython passes, warm and executed; the two that are refused on purpose are refused."""
        python = python_with_tests()
        for warm in ("auto", "off"):
            with tempfile.TemporaryDirectory(prefix="netsvc-cpython-") as place:
                docroot = Path(place, "www")
                docroot.mkdir()
                ini = f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {docroot}\ncgi_warm = {warm}\n"
                with Daemon(ini) as daemon:
                    done = subprocess.run(
                        [python, Path(__file__).with_name("cpython_cgi.py"), str(daemon.port("http")), docroot],
                        capture_output=True,
                        text=True,
                        timeout=BOUND,
                    )
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    first, *rest = done.stdout.splitlines()
                    self.assertEqual(rest, [], done.stdout)
                    self.assertGreaterEqual(int(first.split()[1]), CASES)
                    self.assertNotIn("Traceback", daemon.log())
