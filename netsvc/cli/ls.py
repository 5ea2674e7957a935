"""``netsvc ls URL...``: lists directories."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime

from netsvc.cli.files.errors import EXIT_FAILED, TransferError, UsageError, status_of
from netsvc.cli.files.local import reason_of
from netsvc.cli.files.options import add_common, locations_of, refuse, wishes_of
from netsvc.cli.files.ways import Listed, way_of
from netsvc.cli.progress import size_text
from netsvc.errors import printable

COMMAND = "netsvc ls"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_common(parser)
    parser.add_argument("urls", metavar="URL", nargs="+", help="directories")


def run(arguments: argparse.Namespace) -> int:
    """Print the lists; the exit status."""
    try:
        wishes = wishes_of(arguments)
        locations = locations_of(arguments.urls)
    except UsageError as error:
        return refuse(COMMAND, error)
    bad = set()
    for location in locations:
        try:
            entries = way_of(location).ls(location, wishes)
            if len(locations) > 1 and not arguments.json:
                print(printable(f"{location}:"))
            for one in entries:
                print(_as_json(one) if arguments.json else printable(_as_line(one)))
        except (TransferError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            bad.add(error.status if isinstance(error, TransferError) else EXIT_FAILED)
            sys.stdout.flush()
            print(printable(f"{COMMAND}: {location}: {reason_of(error)}"), file=sys.stderr)
    return status_of(bad)


def _as_line(one: Listed) -> str:
    size = "-" if one.size is None or one.directory else size_text(one.size)
    when = "-"
    if one.modified is not None:
        when = datetime.fromtimestamp(one.modified).isoformat(" ", "minutes")
    return f"{size:>9}  {when:16}  {one.name}{'/' if one.directory else ''}"


def _as_json(one: Listed) -> str:
    kind = "directory" if one.directory else "file"
    return json.dumps({"name": one.name, "type": kind, "size": one.size, "modified": one.modified})
