"""``netsvc probe URL...``: checks running services from the outside, as ping does for hosts.

Exit status 0 when every round with every service went well, 1 when one failed, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from netsvc.config import values
from netsvc.config.options import Context
from netsvc.errors import BadValue

EPILOG = """\
URLs: echo, discard, chargen, qotd, daytime and time, each also with +udp
(echo+udp://[::1]:9090); greeter, filetransfer, http, https; tcp only connects.
Every service is probed in a thread of its own. Exit status: 0 when all went
well, 1 when a round failed, 2 for bad usage.
"""
LONGEST = 3600.0  # seconds: an hour between two rounds, or for one
MOST_ROUNDS = 1_000_000
MOST_OCTETS = 60_000  # of an echo: what fits in a UDP datagram (65,507) with room


def _duration(text: str) -> float:
    """Seconds, or a duration with a unit as in netsvc.ini."""
    from pathlib import Path

    try:
        if text.replace(".", "", 1).isdecimal():
            text += "s"
        return values.duration(0, LONGEST).parse(text, Context(Path()))
    except BadValue as bad:
        raise argparse.ArgumentTypeError(bad.message) from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text[:12]) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("url", nargs="+", metavar="URL", help="scheme://host:port, as below")
    parser.add_argument("-c", "--count", type=_whole(1, MOST_ROUNDS), default=3, help="rounds with each (3)")
    parser.add_argument("-i", "--interval", type=_duration, default=0.2, help="time between two rounds (0.2s)")
    parser.add_argument("-t", "--timeout", type=_duration, default=5.0, help="time for one round (5s)")
    parser.add_argument("-s", "--size", type=_whole(1, MOST_OCTETS), default=64, help="octets of an echo (64)")
    parser.add_argument("--cafile", help="PEM file of the authorities that https is checked with")
    parser.add_argument("--insecure", action="store_true", help="believe any certificate of https")
    parser.add_argument("--json", action="store_true", help="print JSON; times are in seconds")


def run(arguments: argparse.Namespace) -> int:
    """Probe, print, and return the exit status."""
    from netsvc.cli.probes.checks import Settings
    from netsvc.cli.probes.output import as_json, table
    from netsvc.cli.probes.rounds import probe_all
    from netsvc.cli.probes.target import BadTargetError, Target, parse_target

    targets: list[Target] = []
    faults: list[str] = []
    for url in arguments.url:
        try:
            targets.append(parse_target(url))
        except BadTargetError as error:
            faults.append(str(error))
    if arguments.timeout <= 0:
        faults.append("a round needs some time: --timeout is 0")
    if faults:
        for fault in faults:
            print(f"netsvc probe: {fault}", file=sys.stderr)
        return 2
    settings = Settings(
        timeout=arguments.timeout, size=arguments.size, cafile=arguments.cafile, insecure=arguments.insecure
    )
    reports = probe_all(targets, settings, count=arguments.count, interval=arguments.interval)
    print(as_json(reports) if arguments.json else table(reports))
    return 0 if all(report.ok for report in reports) else 1
