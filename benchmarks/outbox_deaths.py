"""Kills a queue at every fsync and every write, one after the other, and looks each time what is left (fault 53).

    python -m benchmarks.outbox_deaths [--calls fsync,fdatasync pwrite64] [--from 1] [--to 150] [--fail EIO]

The suite has a short version (tests/outbox/test_outbox_faults.py). Needs strace. Exit status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.outbox.deaths import examine, live


def main() -> int:
    """The whole campaign; how many lives went wrong decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", nargs="+", default=["fsync,fdatasync", "pwrite64"])
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--to", type=int, default=150, dest="last")
    parser.add_argument("--fail", metavar="ERRNO", help="let the call fail with this instead of killing")
    arguments = parser.parse_args()
    wrong = lives = 0
    for call in arguments.calls:
        with tempfile.TemporaryDirectory(prefix="netsvc-deaths-") as directory:
            history = []
            for place in range(arguments.first, arguments.last + 1):
                what = f"error={arguments.fail}" if arguments.fail else "signal=KILL"
                history.append(live(Path(directory), f"{call}:{what}:when={place}"))
                lives += 1
                found = examine(Path(directory), history)
                for one in found:
                    print(f"{call} {place}: {one}")
                wrong += bool(found)
                if history[-1].said("end") == [""] and not arguments.fail:
                    break  # the life has fewer calls than this
            accepted = sum(len(one.said("accepted")) for one in history)
            delivered = sum(len(one.said("delivered")) for one in history)
            print(f"{call}: {len(history)} lives, {accepted} accepted, {delivered} delivered, {wrong} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
