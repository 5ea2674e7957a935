"""The command: ``python -m benchmarks [--quick] [--json FILE] [--only PATTERN] [--peers NAMES]``.

Exit status 0 when every target was reached, 1 when one was not, 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import sys
import time
from collections.abc import Container
from pathlib import Path

from benchmarks import contestants, scenarios, table
from benchmarks.files import scenarios as files_scenarios
from benchmarks.http import contestants as http_contestants
from benchmarks.http import scenarios as http_scenarios
from benchmarks.mail import contestants as mail_contestants
from benchmarks.mail import scenarios as mail_scenarios
from benchmarks.processes import raise_file_limit
from benchmarks.result import Effort, Result

SCENARIOS = scenarios.ALL | http_scenarios.ALL | mail_scenarios.ALL | files_scenarios.ALL
PEERS = tuple(dict.fromkeys((*contestants.ALL, *http_contestants.ALL, *mail_contestants.ALL)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure netsvc beside its peers.")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.5 s instead of 5 of 2 s, and less data")
    parser.add_argument("--rounds", type=int, help="medians over so many rounds")
    parser.add_argument("--seconds", type=float, help="length of one round with one peer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="a scenario, or 'cgi-*'; may be repeated")
    parser.add_argument("--peers", help=f"of {','.join(PEERS)}, separated by commas")
    parser.add_argument("--list", action="store_true", help="name the scenarios, and end")
    return parser.parse_args()


def _chosen(patterns: list[str] | None) -> list[str]:
    """The names of scenarios, in their order; those of a pattern that matches none are its own."""
    if not patterns:
        return list(SCENARIOS)
    unmatched = [one for one in patterns if not fnmatch.filter(SCENARIOS, one)]
    return [name for name in SCENARIOS if any(fnmatch.fnmatch(name, one) for one in patterns)] + unmatched


def _known(name: str) -> Container[str]:
    """The peers that a scenario can have."""
    if name in files_scenarios.ALL:
        return ()  # each has its own, all of them always
    if name in mail_scenarios.ALL:
        return mail_contestants.ALL
    return contestants.ALL if name in scenarios.ALL else http_contestants.ALL


def _short(error: Exception) -> str:
    """The first and the last line of what went wrong."""
    lines = str(error).strip().splitlines() or [repr(error)]
    return lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"


def main() -> int:
    """Run the scenarios and print the table."""
    given = _arguments()
    if given.list:
        print("\n".join(SCENARIOS))
        return 0
    names = given.peers.split(",") if given.peers else list(PEERS)
    chosen = _chosen(given.only)
    if unknown := [name for name in names if name not in PEERS] + [name for name in chosen if name not in SCENARIOS]:
        print(f"benchmarks: no such peer or scenario: {', '.join(unknown)}", file=sys.stderr)
        return 2
    effort = Effort(descriptors=raise_file_limit())
    if given.quick:
        effort.rounds, effort.seconds, effort.bulk = 3, 0.5, 1 << 27
    effort.rounds = given.rounds or effort.rounds
    effort.seconds = given.seconds or effort.seconds
    results: list[Result] = []
    for name in chosen:
        began = time.monotonic()
        print(f"{name} ...", end="", file=sys.stderr, flush=True)
        try:
            found = SCENARIOS[name](effort, [peer for peer in names if peer in _known(name)])
            results += found if isinstance(found, list) else [found]
        except Exception as error:  # noqa: BLE001  (one scenario that cannot run costs none of the others)
            results.append(Result(name, "", faults=[_short(error)]))
        print(f" {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(table.text(results))
    if given.json:
        machine = {
            "machine": platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "rounds": effort.rounds,
            "seconds": effort.seconds,
        }
        given.json.write_text(json.dumps({"environment": machine, "results": table.as_json(results)}, indent=2) + "\n")
    return 0 if table.passed(results) else 1


sys.exit(main())
