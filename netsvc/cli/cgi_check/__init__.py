"""``netsvc cgi-check DIR``: whether a directory of CGI scripts works here, and warm as under exec. Runs the scripts."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs

from netsvc.cli.cgi_check import report
from netsvc.cli.cgi_check.interpreters import ask
from netsvc.cli.cgi_check.look import Script, of_directory, scripts_in, suspicion
from netsvc.cli.cgi_check.runs import Where, play
from netsvc.config import values
from netsvc.config.options import Context
from netsvc.config.report import fault_lines
from netsvc.errors import BadValue, ConfigError, printable
from netsvc.services.http.cgi.settings import CgiSettings

LONGEST = 3600.0  # seconds for one run
EPILOG = """\
Looks for scripts that cannot be started (execute bits, first lines, line ends), that their
interpreter does not take (syntax, modules that are gone), and that others can write to. Then
RUNS EACH SCRIPT three times, with a plain GET and as whoever runs this command: twice as a
program of its own, once by the warm interpreter, and compares status, header fields, body
and stderr. --no-run only looks: take it where a GET changes something.
Exit status: 0 when all is well, 1 when there are errors or warnings, 2 for bad usage.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("directory", metavar="DIR", help="the directory of scripts, such as /srv/www/cgi-bin")
    parser.add_argument("--no-run", dest="run", action="store_false", help="run no script: only look")
    parser.add_argument(
        "--config", metavar="FILE", help="the INI file whose options of CGI hold; without it the defaults do"
    )
    parser.add_argument("--timeout", type=_duration, default=30.0, metavar="TIME", help="time for each run (30s)")
    parser.add_argument("--quiet", "-q", action="store_true", help="no lines for scripts that are well")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people, or one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Check; 0 when all is well, 1 when something is not, 2 for bad usage."""
    directory = Path(arguments.directory).absolute()
    if not directory.is_dir():
        return _usage(f"{arguments.directory} is not a directory", 2)
    try:
        settings, where = _settings(directory, arguments.config)
    except ConfigError as error:
        print("\n".join(fault_lines(error.faults)), file=sys.stderr)
        return 1
    except LookupError as error:
        return _usage(str(error), 1)
    scripts = list(scripts_in(directory, settings.cgi_path))
    problems = list(of_directory(directory))
    environment = {"PATH": settings.cgi_path, **dict(settings.cgi_env)}
    ask(scripts, environment, legacy=settings.cgi_legacy)
    text = arguments.format == "text"
    width = shutil.get_terminal_size().columns

    def show(script: Script) -> None:
        if text and (script.problems or not arguments.quiet):
            print("\n".join(report.script_lines(arguments.directory, script, arguments.run, width)), flush=True)

    if text:
        print("".join(f"{line}\n" for line in report.directory_lines(problems, arguments.directory, width)), end="")
    failed = _each(scripts, settings, where, arguments, show)
    if failed:
        return _usage(f"the scripts could not be run: {failed}", 1)
    if text:
        print(report.summary(scripts, problems, arguments.run))
    else:
        print(report.as_json(arguments.directory, scripts, problems, arguments.run))
    return int(any(map(report.bad, (*problems, *(one for script in scripts for one in script.problems)))))


def _each(scripts: list[Script], settings: CgiSettings, where: Where, arguments: argparse.Namespace, show: Any) -> str:
    """Run what can be run, and show all, as they come."""
    if not arguments.run:
        for script in scripts:
            suspicion(script)
            show(script)
        return ""
    # Those that cannot be started, and those that their interpreter does not take, say no more when they are run.
    able = [one for one in scripts if one.runs and not any(each.code == "syntax" for each in one.problems)]
    for script in scripts:
        if script not in able:
            script.runs = False
            show(script)
    return play(able, settings, where, arguments.timeout, show) if able else ""


def _settings(directory: Path, config: str | None) -> tuple[CgiSettings, Where]:
    """The options that hold for a directory, and where it stands on a site.

    :raises ConfigError: the configuration is bad.
    :raises LookupError: none of its document roots holds the directory; in words.
    """
    if config is None:
        return CgiSettings(), Where(docroot=str(directory.parent), url=f"/{directory.name}")
    from netsvc.config.load import load
    from netsvc.config.scopes import scope_field
    from netsvc.registry import kinds
    from netsvc.services.http.site.sites import Sites

    plan = load(config, kinds())
    for section in plan.instances:
        if section.kind.word != "http":
            continue
        sites = Sites(section.settings)
        scopes = getattr(section.settings, scope_field(type(section.settings)))
        hosts = {"": None, **{one.prefix.host: None for one in scopes}}
        roots = {section.settings.docroot: None, **{one.settings.docroot: None for one in scopes}}
        for host in hosts:
            for docroot in roots:
                if docroot is None or not directory.is_relative_to(docroot):
                    continue
                url = "/" + os.path.relpath(directory, docroot)
                found = sites.find(host, os.fsencode(url) + b"/")
                if not isinstance(found, tuple) and found.place.docroot == docroot:
                    theirs = found.place.settings
                    only = {one.name: getattr(theirs, one.name) for one in attrs.fields(CgiSettings)}
                    return CgiSettings(**only), Where(docroot=str(docroot), url=url, host=host)
    raise LookupError(f"no document root of {config} holds {directory}")


def _duration(text: str) -> float:
    try:
        if text.replace(".", "", 1).isdecimal():
            text += "s"
        return values.duration(0.1, LONGEST).parse(text, Context(Path()))
    except BadValue as bad:
        raise argparse.ArgumentTypeError(bad.message) from None


def _usage(message: str, status: int) -> int:
    print(printable(f"netsvc cgi-check: {message}"), file=sys.stderr)
    return status
