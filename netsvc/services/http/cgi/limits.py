"""Sets a process's limits from outside, with prlimit(2): nothing has to run between its fork and its exec.

The process runs already by then, and may have started others: those are found and get the limits, too. What is
started later inherits them.
"""

from __future__ import annotations

import contextlib
import os
import resource

HARD_CPU = 1  # seconds from SIGXCPU to SIGKILL, for a process that catches the first


def _limit(pid: int, kind: int, amount: int, beyond: int = 0) -> None:
    _, hard = resource.prlimit(pid, kind)
    most = amount + beyond if hard == resource.RLIM_INFINITY else min(amount + beyond, hard)
    resource.prlimit(pid, kind, (min(amount, most), most))


def _children(pid: int) -> list[int]:
    """What a process has started and is not reaped (proc(5), needs CONFIG_PROC_CHILDREN); empty when unknown."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:
                found += map(int, stream.read().split())
    return found


def limit_process(pid: int, *, nice: int, cpu: int, memory: int) -> None:
    """Limit a child that is not reaped yet, and all that it has started.

    :param nice: how much it yields, 0 for no change.
    :param cpu: CPU seconds of each process, 0 for any.
    :param memory: octets of address space of each process, 0 for any.
    :raises OSError: it runs without.
    """
    if not (nice or cpu or memory):
        return
    left = [pid]
    while left:
        one = left.pop()
        try:
            if cpu:
                _limit(one, resource.RLIMIT_CPU, cpu, HARD_CPU)
            if memory:
                _limit(one, resource.RLIMIT_AS, memory)
            if nice:
                os.setpriority(os.PRIO_PROCESS, one, nice)
        except ProcessLookupError:
            continue  # a child of it that has ended meanwhile
        left += _children(one)
