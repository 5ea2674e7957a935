"""How often each peer syncs for a message: strace counts, in a run of its own, which nothing else is measured in."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants import Running
from benchmarks.mail import contestants
from benchmarks.mail.loads import Load, through
from benchmarks.mail.sinks import SmtpSink
from benchmarks.result import Effort, Result

RATE = 100  # messages for each second of a round
SETTLED = 0.3  # seconds without a sync, and those of a load are over
MANY, ONE = Load(sessions=20), Load(sessions=1)


def _syncs(log: Path) -> int:
    """So far; one that another thread interrupts has two lines, but opens its parenthesis once."""
    return len(re.findall(rb"\b(?:fsync|fdatasync)\(", log.read_bytes()))


def _settled(log: Path) -> int:
    """The count once it stands still."""
    count, since = _syncs(log), time.monotonic()
    while time.monotonic() - since < SETTLED:
        time.sleep(0.02)
        if (now := _syncs(log)) != count:
            count, since = now, time.monotonic()
    return count


def _each(peer: Running, sink: SmtpSink, log: Path, load: Load, count: int) -> float:
    before = _settled(log)
    through(peer, sink, load, count)
    return (_settled(log) - before) / count


def scenario(effort: Effort, names: list[str]) -> Result:
    """fsync and fdatasync for each message of 4 KiB, taken in and delivered, with 20 sessions."""
    result = Result("mail-fsyncs", "for each message")
    count = max(50, int(RATE * effort.seconds))
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="netsvc-bench-strace-")))
        sink = SmtpSink()
        stack.callback(sink.stop)
        for one in names:
            log = place / one
            # The tracer is a grandchild, so that the process that is started is the peer itself; of other system calls
            # (--seccomp-bpf) it does not hear, and they cost what they always do.
            prefix = ("strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(log))
            peer = contestants.ALL[one](sink.port, prefix=prefix)
            stack.callback(peer.stop)
            through(peer, sink, MANY, 50)
            result.add(one, _each(peer, sink, log, MANY, count))
            alone = _each(peer, sink, log, ONE, count)
            result.notes[one] = f"fsync and fdatasync of {count} messages; with one session {alone:.2f}"
    return result
