"""The options of CGI, which the settings of the http kind inherit. Imports no Twisted."""

from __future__ import annotations

import re

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.config.server import DAY, HOUR
from netsvc.errors import BadValue
from netsvc.services.http.cgi.warm.settings import WarmSettings

# What login(1) and systemd give a process of the system; nothing of the daemon's own.
SANE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")


def directory_name(text: str) -> str:
    """One segment of a path: the name of a directory."""
    if "/" in text or "\0" in text or text in (".", ".."):
        raise BadValue(f"{text!r} is not the name of a directory, such as cgi-bin")
    return text


def variable_name(text: str) -> str:
    """The name of an environment variable (POSIX.1, 8.1: letters, digits and the underscore)."""
    if not _VARIABLE.match(text):
        raise BadValue(f"{text!r} is not the name of an environment variable")
    return text


def assignments() -> ValueType[tuple[tuple[str, str], ...]]:
    """``NAME=value``, one a line; what stands behind the first ``=`` is the value as it is."""

    def parse(text: str, _: Context) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for match in re.finditer(r"[^\n]+", text):
            line = match[0].strip()
            if not line:
                continue
            at = match.start() + match[0].index(line[0])
            name, equals, value = line.partition("=")
            if not equals:
                raise BadValue(f"{line!r} is not NAME=value", at=at)
            if "\0" in value:
                raise BadValue("an environment variable has no NUL", at=at)
            try:
                name = variable_name(name.strip())
            except BadValue as bad:
                raise BadValue(bad.message, at=at) from None
            if name in found:
                raise BadValue(f"{name} is given twice", at=at)
            found[name] = value.strip()
        return tuple(found.items())

    def show(value: tuple[tuple[str, str], ...]) -> str:
        return "\n".join(f"{name}={text}" for name, text in value)

    return ValueType(name="assignments", bounds="NAME=value, one a line", parse=parse, show=show, multiline=True)


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside ServerSettings
class CgiSettings(WarmSettings):
    """How scripts are found, run and limited."""

    cgi_directories: tuple[str, ...] = option(
        values.items(directory_name, name="names", bounds="names of directories"),
        default=("cgi-bin", "htbin"),
        help="Names of the directories, at any depth, whose files are run and never shown; empty turns CGI off.",
    )
    cgi_path: str = option(
        values.text(longest=4096, empty=False),
        default=SANE_PATH,
        help="PATH of scripts; env in a first line looks there.",
    )
    cgi_env: tuple[tuple[str, str], ...] = option(
        assignments(), default=(), help="Variables added to the environment of scripts; they win over all others."
    )
    cgi_pass_env: tuple[str, ...] = option(
        values.items(variable_name, name="names", bounds="names of environment variables"),
        default=(),
        help="Variables of the daemon's own environment that scripts get as well.",
    )
    cgi_pass_authorization: bool = option(
        values.boolean(), default=False, help="Pass the Authorization field to scripts, as HTTP_AUTHORIZATION."
    )
    cgi_query_arguments: bool = option(
        values.boolean(),
        default=False,
        help="Pass a query without '=' as arguments (RFC 3875, 4.4); none when a word begins with '-'.",
    )
    cgi_legacy: bool = option(
        values.boolean(),
        default=True,
        help="Offer Python scripts the modules cgi and cgitb where their Python has none.",
    )
    cgi_source: str = option(
        values.choice("refuse", "text"),
        default="refuse",
        help="A file in a CGI directory without the execute bit: 'refuse' it with 403, or show its 'text'.",
    )
    cgi_timeout: float = option(
        values.duration(0, 7 * DAY), default=HOUR, help="Time a script has from its start to its last octet; 0 is any."
    )
    cgi_idle_timeout: float = option(
        values.duration(0, 7 * DAY),
        default=60.0,
        help="Time a script may neither take nor print an octet while it is waited for; 0 is any.",
    )
    cgi_kill_grace: float = option(
        values.duration(0.1, 300), default=3.0, help="Time from SIGTERM to SIGKILL for a script that has to end."
    )
    cgi_max_scripts: int = option(
        values.integer(1, 10_000), default=32, help="Scripts that run at the same time; more wait in the queue."
    )
    cgi_max_scripts_per_source: int = option(
        values.integer(0, 10_000),
        default=0,
        help="Scripts that run at the same time for one source address; more wait in the queue; 0 is any.",
    )
    cgi_queue: int = option(
        values.integer(0, 100_000),
        default=256,
        help="Requests that wait for a script to end; more are answered with 503.",
    )
    cgi_queue_timeout: float = option(
        values.duration(0.1, HOUR), default=30.0, help="Time a request may wait in the queue before its 503."
    )
    cgi_max_body: int = option(
        values.size(0, 1 << 50), default=1 << 30, help="The longest request body passed to a script; longer is 413."
    )
    cgi_max_spool: int = option(
        values.size(0, 1 << 50),
        default=4 << 30,
        help="Room on the disk for all bodies without a length (chunked) together; beyond it the answer is 503.",
    )
    cgi_cpu_limit: float = option(
        values.duration(0, 30 * DAY),
        default=0.0,
        help="CPU time of each process of a script, rounded up to seconds; 0 is any.",
    )
    cgi_memory_limit: int = option(
        values.size(0, 1 << 50), default=0, help="Address space of each process of a script (RLIMIT_AS); 0 is any."
    )
    cgi_umask: int = option(values.octal_mode(), default=0o022, help="The umask of scripts.")
    cgi_nice: int = option(values.integer(0, 19), default=0, help="How much scripts yield to others (nice(1)).")
    cgi_background: bool = option(
        values.boolean(),
        default=False,
        help="Let processes that a script leaves behind live on; otherwise they get SIGTERM, then SIGKILL.",
    )
    cgi_crash_on: str = option(
        values.choice("signal", "stderr", "status"),
        default="stderr",
        help="What a crash is once headers were printed: a fatal signal; or also an exit status other than 0, with "
        "something on stderr; or any such status. The answer is then cut.",
    )
    cgi_debug: bool = option(
        values.boolean(),
        default=False,
        help="Show loopback peers how a script failed: status, stderr, environment. Not behind a local proxy.",
    )
