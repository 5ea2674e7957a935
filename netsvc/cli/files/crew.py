"""Runs transfers, some at a time, each in a thread; shows them, tells their errors, and stops them at Ctrl-C.

SIGTERM is taken as Ctrl-C is: what has come is kept.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from attrs import frozen

from netsvc.cli.files.errors import EXIT_FAILED, EXIT_INTERRUPTED, StoppedError, TransferError, status_of
from netsvc.cli.files.local import reason_of
from netsvc.cli.files.meter import Meter, Stop
from netsvc.cli.files.pace import Pace
from netsvc.cli.files.ways import Facts
from netsvc.cli.progress import Progress
from netsvc.filestore.errors import StoreError

LISTEN = 0.5  # seconds; between two looks whether there was a signal


@frozen
class Job:
    """One transfer.

    :param name: what the bar says.
    :param where: what an error begins with.
    :param work: does it, and gives the facts.
    """

    name: str
    where: str
    work: Callable[[Meter], Facts]


def run(jobs: Sequence[Job], *, command: str, at_once: int, pace: Pace, progress: Progress) -> int:
    """Run them; the exit status.

    :param command: what an error is said to come from, such as ``netsvc get``.
    """
    stop = Stop()
    statuses: list[int] = []

    def one(job: Job) -> int:
        if stop.event.is_set():
            return EXIT_INTERRUPTED
        task = progress.add(job.name)
        try:
            facts = job.work(Meter(progress, task, pace, stop))
        except (TransferError, StoreError, OSError) as error:
            if stop.event.is_set() or isinstance(error, StoppedError):
                progress.failed(task, "interrupted")
                return EXIT_INTERRUPTED
            reason = reason_of(error)
            status = error.status if isinstance(error, TransferError) else EXIT_FAILED
            progress.failed(task, reason, status=status)
            progress.say(f"{command}: {job.where}: {reason}")
            return status
        progress.done(task, **facts)
        return 0

    with progress, ThreadPoolExecutor(at_once) as pool:
        futures: set[Future[int]] = set()
        terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for job in jobs:
                futures.add(pool.submit(one, job))
            while futures:
                # Bounded: Ctrl-C in the moment in which a wait begins does not end it, but is heard behind it.
                done, futures = wait(futures, LISTEN, return_when=FIRST_COMPLETED)
                statuses += [future.result() for future in done]
        except KeyboardInterrupt:
            stop.now()
            for future in futures:
                future.cancel()
            wait(futures)
            progress.say(f"{command}: interrupted; -c goes on from there, where a part could be kept")
            return EXIT_INTERRUPTED
        finally:
            signal.signal(signal.SIGTERM, terminated)
    bad = {status for status in statuses if status}
    return status_of(bad)
