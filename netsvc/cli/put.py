"""``netsvc put FILE... URL``: sends files."""

from __future__ import annotations

import argparse
from pathlib import Path

from netsvc.cli.files.crew import Job
from netsvc.cli.files.crew import run as run_jobs
from netsvc.cli.files.errors import UsageError
from netsvc.cli.files.local import Source
from netsvc.cli.files.locations import Location, parse_location
from netsvc.cli.files.meter import Meter
from netsvc.cli.files.options import add_transfer, pace_of, refuse, shown, wishes_of
from netsvc.cli.files.ways import Facts, Wishes, way_of

COMMAND = "netsvc put"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_transfer(parser)
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="what to send")
    parser.add_argument("url", metavar="URL", help="where to; one that ends with a slash is a directory")


def run(arguments: argparse.Namespace) -> int:
    """Send; the exit status."""
    try:
        wishes = wishes_of(arguments)
        location = parse_location(arguments.url)
        if len(arguments.files) > 1 and location.name:
            raise UsageError(f"{location} names one file; a directory ends with a slash")
    except UsageError as error:
        return refuse(COMMAND, error)
    jobs = [Job(one.name, f"{one} to {location}", _Sending(one, location, wishes)) for one in arguments.files]
    return run_jobs(jobs, command=COMMAND, at_once=arguments.jobs, pace=pace_of(arguments), progress=shown(arguments))


class _Sending:
    """Sends one file when it is its turn, so that no more are open than run."""

    def __init__(self, file: Path, location: Location, wishes: Wishes) -> None:
        self._file, self._location, self._wishes = file, location, wishes

    def __call__(self, meter: Meter) -> Facts:
        with Source(self._file) as source:
            return way_of(self._location).put(source, self._location, self._wishes, meter)
