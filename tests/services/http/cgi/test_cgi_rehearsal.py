"""The rehearsal: scripts as the daemon runs them, without a network."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.interfaces import IMetrics
from netsvc.services.http.cgi.rehearsal import Metrics, Rehearsed, main
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.exchange import IExchange
from netsvc.services.http.site.paths import Script


class RehearsalTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.root = Path(made.name).resolve()

    def rehearse(self, *scripts: str, timeout: float = 20, **options: Any) -> list[dict[str, Any]]:
        """What each run of each script gave."""
        named = []
        for number, source in enumerate(scripts):
            file = self.root / f"{number}.py"
            file.write_text(source)
            file.chmod(0o755)
            named.append({"file": str(file), "name": f"/cgi-bin/{number}.py", "docroot": str(self.root)})
        job = {
            "scripts": named,
            "settings": base64.b64encode(pickle.dumps(CgiSettings(**options))).decode(),
            "host": "",
            "state": str(self.root / "state"),
            "timeout": timeout,
        }
        (self.root / "state").mkdir()
        out = io.StringIO()
        main(io.StringIO(json.dumps(job)), out)
        return list(map(json.loads, out.getvalue().splitlines()))

    def test_warm_both_ways(self) -> None:
        """Each script runs twice with exec and once warm, one after the other, and all that it gave is told."""
        runs = self.rehearse(
            f"#!{sys.executable}\nimport os, sys\nprint('Status: 201 X\\nContent-Type: a/b\\n')\n"
            "print(os.environ['UNIQUE_ID'], os.environ['REQUEST_METHOD'])\nprint('oops', file=sys.stderr)\n"
        )
        self.assertEqual(
            [(run["way"], run["last"]) for run in runs], [("exec", False), ("again", False), ("warm", True)]
        )
        for run in runs:
            self.assertEqual((run["status"], run["end"], run["outcome"], run["typed"]), (201, "finished", "ok", True))
            self.assertEqual(base64.b64decode(run["body"]), b"check-run GET\n")
            self.assertEqual((run["stderr"], run["said"], run["fallback"]), (["oops"], [], ""))

    def test_warm_off(self) -> None:
        """With cgi_warm = off there is nothing warm."""
        runs = self.rehearse(
            "#!/bin/sh\necho Content-Type: a/b; echo; exec head -c 3000000 /dev/zero\n", cgi_warm="off"
        )
        self.assertEqual([run["way"] for run in runs], ["exec", "again"])
        self.assertEqual((runs[0]["octets"], len(base64.b64decode(runs[0]["body"]))), (3_000_000, 1 << 20))

    def test_failures(self) -> None:
        """What prints nothing, does not start, is killed in mid-answer or takes too long is told as such."""
        runs = self.rehearse(
            "#!/bin/sh\nexit 3\n",
            "#!/no/such/thing\n",
            "#!/bin/sh\necho Content-Type: a/b; echo; echo x; sleep 0.1; kill -9 $$\n",
            "#!/bin/sh\nexec sleep 60\n",
            timeout=3.0,
            cgi_warm="off",
        )
        found = [(run["status"], run["end"], run["outcome"], "".join(run["said"])) for run in runs[::2]]
        self.assertEqual(found[0], (500, "refused", "failed", "it printed nothing, exit status 3"))
        self.assertEqual(found[1][:3], (500, "refused", "not-started"))
        self.assertEqual(found[2], (200, "aborted", "crashed", "signal SIGKILL"))
        self.assertEqual(found[3][:3], (504, "refused", "time-up"))

    def test_warm_fallback(self) -> None:
        """What is executed in any case has its reason."""
        runs = self.rehearse(f"#!{sys.executable} -d\nprint('Content-Type: a/b\\n')\n")
        self.assertEqual(runs[-1]["fallback"], "the flag -d")

    def test_nothing(self) -> None:
        """No scripts, no runs."""
        self.assertEqual(self.rehearse(), [])

    def test_interfaces(self) -> None:
        """The exchange and the metrics are what the engine expects."""
        script = Script(filename=self.root / "a", script_name="/cgi-bin/a", path_info="", docroot=self.root)
        exchange = Rehearsed(script, "", "id")
        verifyObject(IExchange, exchange)
        exchange.receive_body(self)
        self.assertTrue(self.finished)
        exchange.pause_body()
        self.assertTrue(exchange.take_over())
        file = self.root / "a"
        file.write_bytes(b"0123")
        with file.open("rb") as stream:
            exchange.send_file(stream.fileno(), 1, 2)
        self.assertEqual(exchange.body, b"12")
        exchange.answer(404, (), b"x")
        self.assertEqual((exchange.status, exchange.end, exchange.octets), (404, "finished", 3))
        metrics = Metrics(lambda _: None)
        verifyObject(IMetrics, metrics)
        gauge = metrics.gauge("x", "X.")
        gauge.set(1)
        gauge.remove()

    finished = False

    def body_finished(self) -> None:
        self.finished = True
