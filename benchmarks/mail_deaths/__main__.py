"""Kills a whole daemon at many of its system calls and looks each time what it owes and what came (fault 53).

    python -m benchmarks.mail_deaths [--points 500] [--seed 1] [--lanes 2] [--keep DIRECTORY]

Needs strace. Exit status 1 when anything was lost, altered, or came twice without a record; the directories of such
points are kept.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from benchmarks.mail_deaths.campaign import run, table


def main() -> int:
    """The whole campaign; whether anything was found decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="points at the same time")
    parser.add_argument("--keep", type=Path, help="where the directories of points that went wrong go")
    arguments = parser.parse_args()
    keep = arguments.keep or Path(tempfile.gettempdir()) / "netsvc-mail-deaths-wrong"
    with tempfile.TemporaryDirectory(prefix="netsvc-mail-deaths-") as directory:
        results = run(
            Path(directory),
            points=arguments.points,
            dice=random.Random(arguments.seed),
            lanes=arguments.lanes,
            keep=keep,
            say=lambda text: print(text, flush=True),
        )
    print(table(results))
    return 1 if any(found.faults for _, found in results) else 0


if __name__ == "__main__":
    sys.exit(main())
