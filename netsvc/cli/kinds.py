"""``netsvc kinds [KIND]``: the kinds of service that are installed, or every option of one."""

from __future__ import annotations

import argparse
import sys

from netsvc.config import report
from netsvc.config.daemon import SECTION
from netsvc.config.manual import manual_lines
from netsvc.config.values import nearest
from netsvc.errors import RegistryError, printable
from netsvc.registry import kinds


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("kind", metavar="KIND", nargs="?", help=f"show its options; {SECTION!r} is the daemon itself")
    parser.add_argument(
        "--format",
        choices=("text", "json", "markdown"),
        default="text",
        help="text for people, JSON, or the whole reference as Markdown",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print; 0, or 1 when the kinds cannot be listed, or 2 when there is no such kind."""
    word: str | None = arguments.kind
    as_json = arguments.format == "json"
    try:
        known = kinds()
    except RegistryError as error:
        print("\n".join(report.fault_lines(error.faults)), file=sys.stderr)
        return 1
    if word is None and arguments.format == "markdown":
        print("\n".join(manual_lines(known)))
        return 0
    if word is None:
        print(report.kinds_json(known) if as_json else "\n".join(report.kinds_lines(known)))
        return 0
    if word != SECTION and word not in known:
        near = nearest(word, [*known, SECTION])
        hint = f"; did you mean {near!r}?" if near else ""
        print(printable(f"netsvc kinds: {word!r} is not a kind of service{hint}"), file=sys.stderr)
        return 2
    kind = known.get(word)
    print(report.reference_json(word, kind) if as_json else "\n".join(report.reference_lines(word, kind)))
    return 0
