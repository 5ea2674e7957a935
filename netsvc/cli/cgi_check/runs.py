"""Has scripts run both ways, and compares what they give."""

from __future__ import annotations

import base64
import difflib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from netsvc.cli.cgi_check.look import Script
from netsvc.cli.cgi_check.problem import ERROR, NOTE, WARNING, Problem
from netsvc.services.http.cgi.settings import CgiSettings

SHOWN = 12  # lines of a difference, or of what a script complained of
WIDEST = 200  # characters of such a line

Told = dict[str, Any]


@frozen(kw_only=True)
class Where:
    """Where the scripts stand on a site.

    :param docroot: absolute.
    :param url: the path of the directory, decoded, without a slash at its end.
    :param host: of the site; "" is the one that answers for all.
    """

    docroot: str
    url: str
    host: str = ""


def play(
    scripts: Sequence[Script], settings: CgiSettings, where: Where, timeout: float, told: Callable[[Script], object]
) -> str:
    """Run them; what came of it is added to their problems.

    :param settings: the options of CGI, and no others.
    :param timeout: seconds for each run.
    :param told: called with each script when it has run.
    :return: why they could not be run; "" when they were.
    """
    with tempfile.TemporaryDirectory(prefix="netsvc-cgi-check-") as state:
        os.chmod(state, 0o755)  # noqa: S103 - scripts read the modules there, whoever they are
        job = {
            "scripts": [
                {"file": os.fspath(one.path), "name": f"{where.url}/{one.name}", "docroot": where.docroot}
                for one in scripts
            ],
            "settings": base64.b64encode(pickle.dumps(settings)).decode(),
            "host": where.host,
            "state": state,
            "timeout": timeout,
        }
        done: dict[str, dict[str, Told]] = defaultdict(dict)
        by_file = {os.fspath(one.path): one for one in scripts}
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as complaints:
            given.write(json.dumps(job).encode())
            given.seek(0)
            with subprocess.Popen(
                [sys.executable, "-P", "-m", "netsvc.services.http.cgi.rehearsal"],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=complaints,
            ) as process:
                for line in process.stdout or ():
                    run = json.loads(line)
                    done[run["file"]][run["way"]] = run
                    if run["last"]:
                        script = by_file[run["file"]]
                        script.problems += judge(script.name, done[run["file"]])
                        told(script)
            complaints.seek(0)
            complaint = complaints.read().decode("utf-8", "replace").strip()
    return "" if process.returncode == 0 else complaint.rpartition("\n")[2] or f"status {process.returncode}"


def judge(name: str, runs: dict[str, Told]) -> list[Problem]:
    """What the runs of one script tell."""
    first, again, warm = runs["exec"], runs["again"], runs.get("warm")
    found = list(_of_one(name, first))
    if warm is None:
        return found
    if warm["fallback"]:
        found.append(Problem(name, 0, NOTE, "not-warm", f"It does not run warm: {warm['fallback']}."))
        return found
    changing = [part for part in first if part not in ("way", "last") and first[part] != again[part]]
    different = [part for part in _PARTS if not _same(part, first, again, warm)]
    if different:
        details = [line for part in different for line in _difference(part, first, again, warm)]
        found.append(
            Problem(
                name,
                0,
                ERROR,
                "different",
                f"It does not do the same when it runs warm: {', '.join(_PARTS[one] for one in different)}.",
                "set cgi_warm = off for this directory, and please tell us",
                tuple(details[:SHOWN]),
            )
        )
    elif changing:
        found.append(
            Problem(
                name,
                0,
                NOTE,
                "changes",
                "It gives something else at every run; what stays the same is the same both ways.",
            )
        )
    return found


_PARTS = {
    "status": "the status",
    "headers": "the header fields",
    "body": "the body",
    "stderr": "what it says on stderr",
    "said": "how it ended",
    "end": "how its answer ended",
}


def _of_one(name: str, run: Told) -> list[Problem]:
    """What one run under exec tells."""
    stderr = tuple(line[:WIDEST] for line in run["stderr"][-SHOWN:])
    if run["outcome"] == "time-up":
        text = "It was not done within the time for each script."
        return [Problem(name, 0, WARNING, "slow", text, "try again with a longer --timeout", stderr)]
    if run["end"] == "refused" or run["status"] >= 500:
        text = f"A plain GET is answered with {run['status']}"
        text += f": {'; '.join(run['said'])}." if run["said"] else "."
        return [Problem(name, 0, ERROR, "fails", text, "", stderr)]
    if run["end"] == "aborted":
        text = f"It crashes in the middle of its answer: {'; '.join(run['said'])}."
        return [Problem(name, 0, ERROR, "fails", text, "", stderr)]
    found = []
    if not run["typed"] and 200 <= run["status"] < 300 and not os.path.basename(name).startswith("nph-"):
        found.append(
            Problem(
                name,
                0,
                WARNING,
                "no-content-type",
                "Its answer has no Content-Type, so browsers have to guess.",
                "print 'Content-Type: text/html; charset=utf-8' before the empty line",
            )
        )
    if stderr:
        found.append(Problem(name, 0, NOTE, "complains", "It says something on stderr:", "", stderr))
    return found


def _lines(part: str, run: Told) -> list[str]:
    value = run[part]
    if part == "body":
        text = base64.b64decode(value).decode("utf-8", "backslashreplace")
        return [*text.split("\n"), *([f"({run['octets']} octets in all)"] if run["octets"] > len(text) else [])]
    if part == "headers":
        return [": ".join(pair) for pair in value]
    return list(map(str, value)) if isinstance(value, list) else [str(value)]


def _same(part: str, first: Told, again: Told, warm: Told) -> bool:
    """Whether warm gives what exec gives; of what differs between two runs under exec, nothing can be said."""
    if warm[part] in (first[part], again[part]):
        return True
    if first[part] == again[part]:
        return False
    one, two, three = (_lines(part, run) for run in (first, again, warm))
    if not len(one) == len(two) == len(three):
        return True
    return all(c == a for a, b, c in zip(one, two, three, strict=True) if a == b)


def _difference(part: str, first: Told, again: Told, warm: Told) -> list[str]:
    one, two, three = (_lines(part, run) for run in (first, again, warm))
    if len(one) == len(two) == len(three):  # without what differs between two runs under exec
        kept = [at for at, line in enumerate(one) if line == two[at]]
        one, three = [one[at] for at in kept], [three[at] for at in kept]
    lines = difflib.unified_diff(one, three, lineterm="", n=0)
    return [line[:WIDEST] for line in lines if not line.startswith(("---", "+++", "@@"))]
