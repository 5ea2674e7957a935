"""``netsvc rm URL...``: removes files of peers."""

from __future__ import annotations

import argparse
import json
import sys

from netsvc.cli.files.errors import EXIT_FAILED, TransferError, UsageError, status_of
from netsvc.cli.files.local import reason_of
from netsvc.cli.files.options import add_common, locations_of, refuse, wishes_of
from netsvc.cli.files.ways import way_of
from netsvc.errors import printable

COMMAND = "netsvc rm"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_common(parser)
    parser.add_argument("urls", metavar="URL", nargs="+", help="what to remove: files, or empty directories (http)")


def run(arguments: argparse.Namespace) -> int:
    """Remove; the exit status."""
    try:
        wishes = wishes_of(arguments)
        locations = locations_of(arguments.urls)
    except UsageError as error:
        return refuse(COMMAND, error)
    bad = set()
    for location in locations:
        reason = None
        try:
            way_of(location).rm(location, wishes)
        except (TransferError, OSError) as error:
            reason = reason_of(error)
            bad.add(error.status if isinstance(error, TransferError) else EXIT_FAILED)
            print(printable(f"{COMMAND}: {location}: {reason}"), file=sys.stderr)
        if arguments.json:
            print(json.dumps({"url": str(location), "removed": reason is None, "reason": reason}), flush=True)
    return status_of(bad)
