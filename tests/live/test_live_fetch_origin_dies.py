"""``netsvc fetch`` from a throttled nginx that dies in the middle of a file and comes back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import NETSVC
from tests.live.fetch_origin import nginx
from tests.waiting import wait_until

BOUND = 180.0  # seconds


class DyingOriginTests(SynchronousTestCase):
    def test_file_abuse_13_nginx_dies(self) -> None:
        """Killed in the middle of a file and started again, nginx is asked for the rest; the file is whole."""
        directory = Path(tempfile.mkdtemp(prefix="netsvc-fetch-"))
        self.addCleanup(shutil.rmtree, directory)
        root, state, to = (directory / name for name in ("root", "state", "to"))
        for one in (root, state, to):
            one.mkdir()
        data = os.urandom(3_000_000)
        (root / "a").write_bytes(data)
        # It holds the rest back for as long as it lives.
        held = f"location /held/ {{ alias {root}/; limit_rate_after 1m; limit_rate 1k; }}"
        with nginx(root, state, held) as origin, contextlib.ExitStack() as after:
            words = [NETSVC, "fetch", "--private-addresses", "--json", f"{origin.url}/held/a"]
            fetch = subprocess.Popen(words, cwd=to, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            after.callback(fetch.kill)
            wait_until(lambda: any(one.stat().st_size > 700_000 for one in to.glob(".netsvc-*.part")))
            master = int((state / "pid").read_text())
            workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            for pid in (master, *map(int, workers)):
                os.kill(pid, signal.SIGKILL)
            conf = state / "nginx.conf"
            conf.write_text(conf.read_text().replace("limit_rate 1k;", ""))
            command = ["nginx", "-p", str(state), "-e", str(state / "error.log"), "-c", str(conf)]
            again = subprocess.Popen(command)
            after.callback(again.wait, BOUND)
            after.callback(again.terminate)
            told, errors = fetch.communicate(timeout=BOUND)
        self.assertEqual(fetch.returncode, 0, errors)
        end = json.loads(told.splitlines()[-1])
        self.assertEqual((end["event"], end["status"]), ("done", 206))
        self.assertEqual((to / "a").read_bytes(), data)
