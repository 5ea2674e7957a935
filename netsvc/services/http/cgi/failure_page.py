"""The page that shows a person on the same machine how a script failed. No I/O, no Twisted."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status} {script}</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
pre {{ overflow: auto; padding: .75rem; border: 1px solid #8886; border-radius: .4rem; white-space: pre-wrap; }}
</style>
</head>
<body>
<h1>{script} failed</h1>
<p>{reason}. It ended with <strong>{ending}</strong>. Request {request_id}.</p>
<h2>The end of stderr</h2>
<pre>{stderr}</pre>
<h2>Run it again</h2>
<pre>{command}</pre>
<h2>Its environment</h2>
<pre>{environment}</pre>
<p>Shown to peers on this machine only, because <code>cgi_debug</code> is on.</p>
</body>
</html>
"""


def replay_command(arguments: Sequence[str], directory: str, environment: Mapping[str, str]) -> str:
    """A shell command that runs a script as it was run, but for its body and its limits."""
    assignments = " ".join(shlex.quote(f"{name}={value}") for name, value in sorted(environment.items()))
    return f"cd {shlex.quote(directory)} && env -i {assignments} {shlex.join(arguments)}"


def failure_page(
    *,
    status: int,
    script: str,
    reason: str,
    ending: str,
    request_id: str,
    stderr: str,
    arguments: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
) -> bytes:
    """The page, UTF-8. Every value is text from outside and is escaped."""
    values = {
        "status": str(status),
        "script": script,
        "reason": reason,
        "ending": ending,
        "request_id": request_id,
        "stderr": stderr or "(nothing)",
        "command": replay_command(arguments, directory, environment),
        "environment": "\n".join(f"{name}={value}" for name, value in sorted(environment.items())),
    }
    escaped = {name: html.escape(value) for name, value in values.items()}
    return _PAGE.format(**escaped).encode("utf-8", "backslashreplace")
