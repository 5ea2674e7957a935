"""``netsvc check FILE``: every fault of a configuration and of all that it includes; nothing is started."""

from __future__ import annotations

import argparse

from netsvc.config import report
from netsvc.config.load import load
from netsvc.config.plan import Plan
from netsvc.errors import ConfigError, Fault
from netsvc.registry import kinds


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", help="the INI file")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="lines for people, or one JSON object"
    )


def run(arguments: argparse.Namespace) -> int:
    """Check the file; 0 when it is good, 1 when it has a fault."""
    plan: Plan | None = None
    faults: tuple[Fault, ...] = ()
    try:
        plan = load(arguments.file, kinds())
    except ConfigError as error:
        faults = error.faults
    if arguments.format == "json":
        print(report.check_json(arguments.file, plan, faults))
    else:
        print("\n".join(report.check_lines(arguments.file, plan, faults)))
    return 0 if plan is not None else 1
