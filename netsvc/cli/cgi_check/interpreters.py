"""Asks each interpreter, once, what is wrong with its scripts. Nothing of a script is run."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from netsvc.cli.cgi_check.look import Script
from netsvc.cli.cgi_check.problem import ERROR, NOTE, WARNING

PROGRAM = Path(__file__).with_name("asked.py")
LIMIT = 60.0  # seconds for one interpreter
OFFERED = frozenset({"cgi", "cgitb"})  # by cgi_legacy, to Python 3.8 and later
# PEP 594 and 632, and the release notes: in which Python a module of the library was last.
GONE: Mapping[str, str] = {
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.11"),
    **dict.fromkeys(
        (
            *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis"),
            *("nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"),
        ),
        "3.12",
    ),
    **dict.fromkeys(("urllib2", "urlparse", "ConfigParser", "StringIO", "cStringIO", "Cookie", "commands"), "2.7"),
    **dict.fromkeys(("httplib", "HTMLParser", "cPickle", "md5", "sha", "sets", "Queue", "thread"), "2.7"),
}
_PRINT = "Missing parentheses in call to"


def ask(scripts: Iterable[Script], environment: Mapping[str, str], *, legacy: bool) -> None:
    """Add what the interpreters say to the scripts' problems.

    :param environment: of the interpreters.
    :param legacy: whether cgi_legacy is on.
    """
    by_python: dict[tuple[str, ...], list[Script]] = defaultdict(list)
    for script in scripts:
        if script.python:
            by_python[script.python].append(script)
    for python, theirs in by_python.items():
        answer = _answer(python, [os.fspath(one.path) for one in theirs], environment)
        if not answer:
            for script in theirs:
                script.say(ERROR, "broken-interpreter", f"{python[0]!r} does not start.", "", 1)
                script.runs = False
            continue
        version = ".".join(map(str, answer["version"][:2]))
        for script in theirs:
            _judge(script, answer["files"][os.fspath(script.path)], version, legacy)


def _answer(python: tuple[str, ...], files: list[str], environment: Mapping[str, str]) -> Any:
    # Its flags say where it looks for modules; one that it does not know is for the run to show.
    flags = [one for one in python[1:] if one.startswith("-") and set(one[1:]) <= set("EIsSPB")]
    try:
        done = subprocess.run(
            [python[0], *flags, PROGRAM],
            input=json.dumps(files).encode(),
            capture_output=True,
            timeout=LIMIT,
            env=dict(environment),
            cwd="/",
        )
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _judge(script: Script, found: Mapping[str, Any], version: str, legacy: bool) -> None:
    if version.startswith("2."):
        script.say(
            WARNING, "python-2", f"It is written for Python {version}, which has not been maintained since 2020."
        )
    if found["error"] is not None:
        line, text = found["error"]
        old = text.startswith(_PRINT) or ("except" in text and "," in text)
        remedy = "it looks like Python 2: 2to3, or name a Python 2 in its first line" if old else ""
        script.say(ERROR, "syntax", f"Python {version} does not take it: {text}.", remedy, line)
    for name, line in found["missing"]:
        last = GONE.get(name)
        if name in OFFERED and legacy and not version.startswith("2."):
            script.say(
                NOTE,
                "legacy-module",
                f"Python {version} has no module {name}; netsvc offers it (cgi_legacy).",
                "",
                line,
            )
        elif name in OFFERED:
            script.say(ERROR, "no-module", f"Python {version} has no module {name}.", "set cgi_legacy = yes", line)
        elif last is not None:
            script.say(
                ERROR,
                "no-module",
                f"Python {version} has no module {name}: the last one to have it is {last}.",
                f"name python{last} in its first line, or use what came after {name}",
                line,
            )
        else:
            script.say(
                ERROR,
                "no-module",
                f"Python {version} finds no module {name}.",
                f"install it for {script.python[0]}, or set PYTHONPATH (cgi_env)",
                line,
            )
