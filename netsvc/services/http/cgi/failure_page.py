"""The page that shows a person on the same machine how a script failed. No I/O."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping
from html import escape

from netsvc.services.http.cgi.child import Command
from netsvc.services.http.pages import page

_STYLE = (
    "h2{font-size:1rem;margin:1.5rem 0 .5rem}"
    "pre{margin:0;padding:.75rem;border:1px solid var(--line);border-radius:.4rem;"
    "white-space:pre-wrap;overflow-wrap:anywhere}"
)

HIDDEN = "[hidden]"
# Credentials of the peer, and what the names of variables of `cgi_env` say of their values.
_SECRET = re.compile(
    r"HTTP_COOKIE|HTTP_(?:PROXY_)?AUTHORIZATION|.*(?:SECRET|PASSW|TOKEN|API_?KEY|PRIVATE|CREDENTIAL).*", re.I
)


def shown(environment: Mapping[str, str]) -> list[str]:
    """The variables as NAME=value, sorted, without secrets: pages end up in screenshots and bug reports."""
    return [f"{name}={HIDDEN if _SECRET.fullmatch(name) else value}" for name, value in sorted(environment.items())]


def is_loopback(host: str) -> bool:
    """Whether a peer is on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def replay_command(command: Command) -> str:
    """A shell command that runs a script as it was run, but for its body and its limits."""
    return (
        f"cd {shlex.quote(str(command.directory))} && umask {command.umask:04o} && "
        f"env -i {shlex.join(shown(command.environment))} {shlex.join(command.arguments)}"
    )


def failure_page(
    *,
    script: str,
    reason: str,
    ending: str,
    request_id: str,
    stderr: str,
    command: Command,
) -> bytes:
    """The page, UTF-8. Every value is text from outside and is escaped."""
    sections = (
        ("The end of stderr", stderr or "(nothing)"),
        ("Run it again", replay_command(command)),
        ("Its environment", "\n".join(shown(command.environment))),
    )
    body = "\n".join(f"<h2>{title}</h2>\n<pre>{escape(text)}</pre>" for title, text in sections)
    return page(
        f"{script} failed",
        f"<h1>{escape(script)} failed</h1>\n"
        f"<p>No answer: {escape(reason)}. It ended with {escape(ending)}.</p>\n{body}\n"
        f'<p class="dim">Request {escape(request_id)}. Shown on this machine only, because of cgi_debug.</p>',
        _STYLE,
    )
