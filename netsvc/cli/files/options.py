"""The arguments that get, put, ls and rm share."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from netsvc.cli.files.errors import EXIT_USAGE, STATUSES, TRANSFER_STATUSES, UsageError
from netsvc.cli.files.locations import Location, parse_location
from netsvc.cli.files.pace import Pace
from netsvc.cli.files.ways import Wishes
from netsvc.cli.progress import Progress, progress_for
from netsvc.config import values
from netsvc.config.options import Context
from netsvc.errors import BadValue, printable

URLS = """\
http://, https://HOST/...  this daemon, or any server; a name and a password
                           stand in the URL or, better, in ~/.netrc
sftp://[USER@]HOST/...     by the system's ssh, with its keys, agent and
                           configuration; the path begins at the root, /~/ is
                           the home directory
"""
TUTORIALS = """netsvc://HOST:PORT/        a filetransfer service: get receives what it offers,
                           put sends
"""
GOING_ON = """What Ctrl-C, SIGTERM or a broken connection cut is kept where it can be, and -c
goes on from there: with sftp; get by http if the server has named the file's
version (ETag); put by http if the server speaks tus and the first run had -c.
"""
_MOST_AT_ONCE = 64


def _rate(text: str) -> int:
    try:
        return values.size(1, 1 << 40).parse(text.strip().removesuffix("/s"), Context(Path()))
    except BadValue as bad:
        raise argparse.ArgumentTypeError(f"{bad.message}: a rate is such as 1MiB/s") from None


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return found


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_AT_ONCE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST_AT_ONCE}")
    return int(text)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What all four have."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"{URLS}\n{STATUSES}"
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="how long to wait for a sign of life (60)"
    )
    parser.add_argument("--cafile", metavar="FILE", help="the authorities for https, in PEM form")
    parser.add_argument("--ssh", metavar="COMMAND", default="ssh", help="what sftp:// runs, with options (ssh)")


def add_transfer(parser: argparse.ArgumentParser) -> None:
    """What those have that move files."""
    add_common(parser)
    parser.epilog = f"{TUTORIALS}{URLS}\n{GOING_ON}\n{TRANSFER_STATUSES}"
    parser.add_argument(
        "-c", "--continue", dest="resume", action="store_true", help="go on where an earlier run stopped"
    )
    parser.add_argument("--verify", action="store_true", help="fail unless the peer tells the same SHA-256")
    parser.add_argument("--limit-rate", type=_rate, metavar="SIZE/s", help="of all together, such as 1MiB/s")
    parser.add_argument("-j", "--jobs", type=_count, default=1, metavar="N", help="so many at once (1)")
    parser.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")


def wishes_of(arguments: argparse.Namespace) -> Wishes:
    """How files are to be moved.

    :raises UsageError: the command of --ssh makes no sense.
    """
    try:
        ssh = tuple(shlex.split(arguments.ssh))
    except ValueError as error:
        raise UsageError(f"--ssh: {error}") from None
    if not ssh:
        raise UsageError("--ssh: there is no command")
    return Wishes(
        resume=getattr(arguments, "resume", False),
        verify=getattr(arguments, "verify", False),
        timeout=arguments.timeout,
        cafile=arguments.cafile,
        ssh=ssh,
    )


def locations_of(urls: list[str]) -> list[Location]:
    """The URLs, taken apart.

    :raises UsageError: one is none.
    """
    return [parse_location(url) for url in urls]


def pace_of(arguments: argparse.Namespace) -> Pace:
    """The rate that all transfers share."""
    return Pace(arguments.limit_rate)


def shown(arguments: argparse.Namespace) -> Progress:
    """How transfers are shown: JSON lines to stdout, or bars to stderr if that is a terminal."""
    stream = sys.stdout if arguments.json else sys.stderr
    return progress_for(stream, arguments.json, arguments.quiet)


def refuse(command: str, error: UsageError) -> int:
    """Say that it cannot be asked for; the exit status."""
    print(printable(f"{command}: {error}"), file=sys.stderr)
    return EXIT_USAGE
