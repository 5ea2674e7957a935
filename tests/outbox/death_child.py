"""A process that works on a queue until something stops it, and says on its output what it was promised.

    python death_child.py DIRECTORY COUNT

Each line is one word and an argument: ``accepted ID``, ``delivered ID``, ``refused REASON``; ``end`` when all is done.
"""

from __future__ import annotations

import os
import queue
import sys
from pathlib import Path
from typing import Any

from netsvc.outbox.custody import Custody
from netsvc.outbox.model import OutboxError, Outcome, Submission
from netsvc.outbox.sqlite_store import SqliteStore

calls: queue.Queue[Any] = queue.Queue()


def wait(deferred: Any) -> Any:
    """The result of a Deferred of the store, or its error."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    while not results:
        function, arguments = calls.get()
        function(*arguments)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def say(*words: str) -> None:
    """One whole line, at once."""
    os.write(1, (" ".join(words) + "\n").encode())


def main(directory: str, count: str) -> None:
    """Accept and deliver in turns."""
    store, _ = SqliteStore.open(
        Path(directory), call_from_thread=lambda f, *a: calls.put((f, a)), custody=Custody(), now=1.0
    )
    say("open")
    for number in range(int(count)):
        content = f"{os.getpid()} {number} ".encode() * 700  # more than a page
        ways = ("x", "y") if number % 2 == 0 else ("x", "x")  # two parcels are claimed, one is leased at once
        item = Submission(submitter="uid:1", sender="a@x", targets=("b@x", "c@y"), destinations=ways, content=content)
        try:
            accepted = wait(store.accept(item, 1.0, "me"))
            say("accepted", accepted.queue_id)
            for lease in [accepted.lease] if accepted.lease else wait(store.claim("me", 1, 1 << 30, 2.0)):
                outcomes = [Outcome(target=one.address, result="delivered") for one in lease.targets]
                settlement = Custody().settle(lease, outcomes, now=2.0, random=lambda: 0.5)
                wait(store.settle(lease, settlement, 2.0))
                say("delivered", f"{lease.item.queue_id}/{lease.parcel}")
        except OutboxError as error:
            say("refused", str(error))
    wait(store.close())
    say("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
