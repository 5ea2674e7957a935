"""Kills a whole daemon at many of its system calls while files come in by all its doors, and looks what is left.

    python -m benchmarks.file_deaths [--points 300] [--seed 1] [--lanes 2] [--keep DIRECTORY]

Every published name must be whole and have its right digest, every acknowledged upload must be there, and what was cut
off is continued or swept. Needs strace and OpenSSH's sftp. Exit status 1 when anything was wrong; the directories of
such points are kept.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from benchmarks.file_deaths.campaign import run, table


def main() -> int:
    """The whole campaign; whether anything was found decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="points at the same time")
    parser.add_argument("--keep", type=Path, help="where the directories of points that went wrong go")
    arguments = parser.parse_args()
    keep = arguments.keep or Path(tempfile.gettempdir()) / "netsvc-file-deaths-wrong"
    with tempfile.TemporaryDirectory(prefix="netsvc-file-deaths-") as directory:
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
