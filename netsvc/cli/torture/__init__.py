"""``netsvc mail torture``: plays every fault of a mail server against a daemon with the user's own options.

It has a queue, a daemon and an adversary of its own, in a temporary directory and on loopback; the user's queue, relay
and password are not touched. Three books are compared in the end: acknowledgements, what the adversary holds (by
content), and what the queue says. Nothing here is loaded until it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netsvc.cli.torture.options import Own
    from netsvc.cli.torture.terms import Fault

PATIENCE = 60.0  # seconds until a message that waits is called stuck
EX_FAILED = 1


def configure(parsers: Any) -> None:
    """Add the subcommand to those of ``netsvc mail``."""
    parser: argparse.ArgumentParser = parsers.add_parser(
        "torture",
        help="prove with your options that nothing is lost, whatever a server does",
        description="Play the faults of mail servers against your options, with a queue and a daemon of its own.",
        epilog="Exit status: 0 all went as it must; 1 something was lost, or did not; others are of sysexits(3).",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration to take options from (or $NETSVC_CONFIG)")
    parser.add_argument("--service", metavar="NAME", help="which, if the configuration has several: smtp_client:NAME")
    parser.add_argument("--only", metavar="N,N", type=_numbers, help="only the faults with these numbers")
    parser.add_argument("--list", action="store_true", help="only list the faults")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(mail=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it.

    :raises CommandError: it cannot be done.
    """
    from netsvc.cli.torture import report
    from netsvc.cli.torture.play import torture
    from netsvc.cli.torture.verdict import PASSED

    faults = _chosen(arguments.only)
    if arguments.list:
        if arguments.json:
            print(json.dumps([{"number": one.number, "name": one.name, "does": one.does} for one in faults]))
        else:
            print("\n".join(report.catalogue(faults)))
        return 0
    mine = _own(arguments)
    directory = Path(tempfile.mkdtemp(prefix="netsvc-torture-"))
    passed = False
    try:
        verdicts = torture(directory, faults, mine.way, mine.kept, patience=PATIENCE)
        passed = all(one.kind == PASSED for one in verdicts)
    finally:
        if passed:
            shutil.rmtree(directory)
        else:
            print(f"The daemon's log and queues are in {directory}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({**report.as_json(verdicts, mine.way), "left_out": mine.left}))
    else:
        print("\n".join((*report.table(verdicts), "", *report.summary(verdicts, mine.way), *report.notes(mine.left))))
    return 0 if passed else EX_FAILED


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,38") from None


def _chosen(numbers: frozenset[int] | None) -> tuple[Fault, ...]:
    from netsvc.cli.connection import CommandError
    from netsvc.cli.mail_connection import EX_USAGE
    from netsvc.cli.torture.faults import FAULTS

    if numbers is None:
        return FAULTS
    unknown = numbers - {one.number for one in FAULTS}
    if unknown:
        raise CommandError(EX_USAGE, f"there is no fault {min(unknown)}; --list shows all")
    return tuple(one for one in FAULTS if one.number in numbers)


def _own(arguments: argparse.Namespace) -> Own:
    """The user's way and options; without a configuration plain SMTP and the defaults."""
    from netsvc.cli.torture.options import Own, own

    config = arguments.config or os.environ.get("NETSVC_CONFIG")
    if not config:
        return Own()
    from netsvc.cli.instances import instance_of
    from netsvc.services.smtp_client.settings import KIND_WORD

    return own(instance_of(config, KIND_WORD, arguments.service, plural="mail services")[1].settings)
