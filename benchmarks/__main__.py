"""The command: ``python -m benchmarks [--quick] [--json FILE] [--only SCENARIO] [--peers NAMES]``.

Exit status 0 when every target was reached, 1 when one was not, 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks import contestants, scenarios, table
from benchmarks.processes import ServerFailedError, raise_file_limit
from benchmarks.scenarios import Effort, Result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure netsvc beside its peers.")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.5 s instead of 5 of 2 s, and less data")
    parser.add_argument("--rounds", type=int, help="medians over so many rounds")
    parser.add_argument("--seconds", type=float, help="length of one round with one peer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--only", action="append", choices=list(scenarios.ALL), help="this scenario; may be repeated")
    parser.add_argument("--peers", help=f"of {','.join(contestants.ALL)}, separated by commas")
    return parser.parse_args()


def main() -> int:
    """Run the scenarios and print the table."""
    given = _arguments()
    names = given.peers.split(",") if given.peers else list(contestants.ALL)
    if unknown := [name for name in names if name not in contestants.ALL]:
        print(f"benchmarks: no such peer: {', '.join(unknown)}", file=sys.stderr)
        return 2
    effort = Effort(descriptors=raise_file_limit())
    if given.quick:
        effort.rounds, effort.seconds, effort.bulk = 3, 0.5, 1 << 27
    effort.rounds = given.rounds or effort.rounds
    effort.seconds = given.seconds or effort.seconds
    results: list[Result] = []
    for name in given.only or scenarios.ALL:
        began = time.monotonic()
        print(f"{name} ...", end="", file=sys.stderr, flush=True)
        try:
            results.append(scenarios.ALL[name](effort, names))
        except (ServerFailedError, RuntimeError, OSError) as error:
            results.append(Result(name, "", faults=[str(error)]))
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
