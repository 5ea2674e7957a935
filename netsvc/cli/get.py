"""``netsvc get URL...``: fetches files. A name stands for a whole file, or is not there."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from netsvc.cli.files.crew import Job
from netsvc.cli.files.crew import run as run_jobs
from netsvc.cli.files.errors import UsageError
from netsvc.cli.files.local import Target
from netsvc.cli.files.options import add_transfer, locations_of, pace_of, refuse, shown, wishes_of
from netsvc.cli.files.ways import way_of

COMMAND = "netsvc get"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_transfer(parser)
    parser.add_argument("urls", metavar="URL", nargs="+", help="what to fetch")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to; what is there is replaced")
    where.add_argument(
        "-d", "--directory", metavar="DIR", type=Path, default=Path(), help="where to, under its own name"
    )


def run(arguments: argparse.Namespace) -> int:
    """Fetch; the exit status."""
    try:
        wishes = wishes_of(arguments)
        locations = locations_of(arguments.urls)
        target = _target(arguments)
    except UsageError as error:
        return refuse(COMMAND, error)
    jobs = [Job(one.name or str(one), str(one), partial(way_of(one).get, one, target, wishes)) for one in locations]
    return run_jobs(jobs, command=COMMAND, at_once=arguments.jobs, pace=pace_of(arguments), progress=shown(arguments))


def _target(arguments: argparse.Namespace) -> Target:
    file: Path | None = arguments.output
    directory: Path = arguments.directory if file is None else file.parent
    if file is not None and len(arguments.urls) > 1:
        raise UsageError("-o is for one URL; of several, -d says where to")
    if file is not None and (not file.name or file.is_dir()):
        raise UsageError(f"{file} is a directory: -d says where to")
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory")
    return Target(directory, None if file is None else file.name)
