"""The sink is down, thousands of messages are taken meanwhile, the sink returns: how fast they go out then.

Both peers have the delays that they come with, and are told to try everything (`postqueue -f`, `netsvc mail flush
--all`) once the sink is back; the clock starts with that and stops with the last message.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median

from benchmarks.contestants import Running
from benchmarks.mail import contestants
from benchmarks.mail.loads import Load, await_delivery, hand_in, through
from benchmarks.mail.sinks import CountingSink
from benchmarks.processes import PATIENCE
from benchmarks.result import MIB, Effort, Result

MESSAGES = 10_000
RATE = 5000  # of them for each second of a round, so that a short run has fewer
LOAD = Load(sessions=20)


def _settle(peer: Running, count: int) -> None:
    """Wait until Postfix has put everything off: what it is still about to would not be flushed, and wait for minutes.

    netsvc needs no such time: what it has not tried is due.
    """
    if peer.name != "postfix":
        return
    deferred, began = peer.directory / "queue" / "deferred", time.monotonic()
    while sum(1 for one in deferred.rglob("*") if one.is_file()) < count:
        if time.monotonic() - began > PATIENCE + count / 100:
            raise TimeoutError("postfix: not everything was put off")
        time.sleep(0.1)


def scenario(effort: Effort, names: list[str]) -> Result:
    """Messages a second from the return of the sink on."""
    result = Result("mail-deferred", "messages/s")
    count = min(MESSAGES, int(RATE * effort.seconds))
    taken: dict[str, list[float]] = {}
    with ExitStack() as stack:
        sink = CountingSink()
        stack.callback(sink.stop)
        peers = []
        for one in names:
            peer = contestants.ALL[one](sink.port)
            stack.callback(peer.stop)
            peers.append(peer)
            through(peer, sink, LOAD, 50)
        for _ in range(max(1, effort.rounds // 2)):
            for peer in peers:
                before, wanted = peer.server.processor_seconds(), sink.delivered() + count
                sink.cease()
                taken.setdefault(peer.name, []).append(hand_in(peer, LOAD, count))
                _settle(peer, count)
                result.memory[peer.name] = max(peer.server.proportional() / MIB, result.memory.get(peer.name, 0))
                sink.start()
                began = time.monotonic()
                contestants.flush(peer)
                await_delivery(peer.name, sink, wanted)
                result.add(peer.name, count / (time.monotonic() - began))
                spent = (peer.server.processor_seconds() - before) / count
                result.processor.setdefault(peer.name, []).append(spent * 1e6)
        for peer in peers:
            peak = peer.server.family_peak() / MIB
            rate = median(taken[peer.name])
            result.notes[peer.name] = f"{count:,} taken in at {rate:,.0f}/s without it, peak RSS {peak:,.0f} MiB"
    return result
