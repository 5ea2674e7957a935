"""A queue of 100,000 messages that wait: a page of its listing, the look for what is due next, and memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.contestants import Running
from benchmarks.mail import contestants
from benchmarks.mail.loads import Load, hand_in, through
from benchmarks.mail.sinks import SmtpSink
from benchmarks.processes import free_ports
from benchmarks.result import MIB, Effort, Result, Target
from netsvc.cli.mail_connection import Connection
from netsvc.services.smtp_client.submission_wire import MAX_PAGE

MESSAGES = 100_000
RATE = 50_000  # of them for each second of a round, so that a short run has fewer
FILLER = Path(__file__).parent.parent / "peers" / "mail_queue.py"
SIZE = 4096  # octets of each
PAGE, SMALL_PAGE = MAX_PAGE, 100  # lines; `netsvc mail queue` asks for the larger
PASSING = 200  # messages that pass through beside those that wait
LOAD = Load(sessions=20)
MOST = 50.0  # ms
GROWTH = 16.0  # MiB that a full queue may cost the daemon
TIMES = 3  # that they do


def _filler(*words: str) -> dict[str, float]:
    ran = subprocess.run([sys.executable, str(FILLER), *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _pages(socket: Path, lines: int) -> list[float]:
    """How long pages from the beginning to the end took, ms, the quickest first."""
    found, after = [], ""
    with Connection(socket) as connection:
        while True:
            began = time.monotonic()
            reply = connection.ask({"command": "queue", "after": after, "limit": lines})
            found.append((time.monotonic() - began) * 1000)
            if not reply["more"]:
                return sorted(found)
            after = reply["items"][-1]["id"]


def _worst(times: list[float]) -> float:
    """The 99th percentile of times in their order."""
    return times[(len(times) - 1) * 99 // 100]


def _netsvc(count: int, page: Result, due: Result, memory: Result, whole: Result) -> None:
    """The daemon with an empty queue, then with a full one: the same is done with both."""
    found: dict[int, tuple[float, float]] = {}
    for waiting in (0, count):
        with ExitStack() as stack:
            queue = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="netsvc-bench-queue-")))
            if waiting:
                _filler("fill", str(queue), str(waiting), str(SIZE))
                due.add("netsvc", _filler("look", str(queue))["next_due"])
            sink = SmtpSink()
            stack.callback(sink.stop)
            peer = contestants.netsvc(sink.port, queue=queue)
            stack.callback(peer.stop)
            large, small = (_pages(peer.directory / "state" / "mail.sock", lines) for lines in (PAGE, SMALL_PAGE))
            passed = median(through(peer, sink, LOAD, PASSING).rate for _ in range(TIMES))
            found[waiting] = peer.server.proportional() / MIB, passed
            if waiting:
                page.add("netsvc", _worst(large))
                page.notes["netsvc"] = (
                    f"p99 of {len(large):,} pages of {PAGE:,} lines, median {median(large):.1f} ms;"
                    f" of {SMALL_PAGE} lines {_worst(small):.1f} ms, median {median(small):.1f} ms"
                )
                whole.add("netsvc", _whole_list(contestants.mail_command(peer, "queue")))
                whole.memory["netsvc"] = peer.server.proportional() / MIB
    (empty, alone), (full, among) = found[0], found[count]
    memory.add("netsvc", full - empty)
    memory.memory["netsvc"] = full
    memory.notes["netsvc"] = (
        f"with {count:,} messages; beside them 20 sessions at {among:,.0f}/s, {alone:,.0f}/s with an empty queue"
    )


def _held(peer: Running, count: int) -> None:
    """Let Postfix hold messages: copies of one that it was given, under names of their own."""
    queue = peer.directory / "queue"
    hand_in(peer, Load(sessions=1), 1)
    while not (found := [one for one in (queue / "deferred").rglob("*") if one.is_file()]):
        time.sleep(0.05)
    for n in range(count):
        shutil.copy2(found[0], queue / "hold" / f"{n:010X}")
        # Its time is in the name and its mode says that it is whole: cp -p keeps both.
    shutil.chown(queue / "hold", "postfix")


def _whole_list(command: list[str]) -> float:
    """Seconds that a whole listing takes."""
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return time.monotonic() - began


def scenario(effort: Effort, names: list[str]) -> list[Result]:
    """Four results: a page, the next due, memory, and the whole list beside Postfix's."""
    count = min(MESSAGES, int(RATE * effort.seconds))
    page = Result("mail-queue-page", "ms", (Target(most=MOST),))
    due = Result("mail-queue-next-due", "ms", (Target(most=MOST),))
    memory = Result("mail-queue-memory", "MiB more", (Target(most=GROWTH),))
    whole = Result("mail-queue-list", "s")
    if "netsvc" in names:
        _netsvc(count, page, due, memory, whole)
    if "postfix" in names:
        with ExitStack() as stack:
            peer = contestants.postfix(*free_ports(1))
            stack.callback(peer.stop)
            _held(peer, count)
            whole.add(peer.name, _whole_list(["postqueue", "-c", str(peer.directory), "-p"]))
            whole.memory[peer.name] = peer.server.proportional() / MIB
    return [page, due, memory, whole]
