"""Kills one of two runners on a queue in PostgreSQL, at one system call after the other (faults 53, 60, 61).

    python -m benchmarks.postgres_deaths [--points 120] [--restart-every 20] [--lease-timeout 3]

A survivor works on the queue all the time; each point is another runner beside it that is killed at its Nth send to the
server, its Nth answer from there, or its Nth line for the peer. Now and then the server itself is killed and started
again. In the end all must be delivered. Needs strace and PostgreSQL. Exit status 1 when anything was lost, altered,
sent by two at once, or came twice without a record.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.postgres_deaths.books import Receipt, compare, sendings
from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import connect
from tests.outbox.cluster import Cluster

ROOT = Path(__file__).parents[2]
CALLS = ("sendto", "recvfrom", "write")
MESSAGES = 12  # of one life
PATIENCE = 60.0  # seconds; strace is slow
DRAIN = 60.0  # seconds until nothing may wait any more


class Campaign:
    """One run over many points.

    :param directory: for the sink's file and the traces.
    """

    def __init__(self, directory: Path, cluster: Cluster, lease_timeout: float) -> None:
        self._cluster = cluster
        self._directory = directory
        self._lease_timeout = lease_timeout
        self.sink = directory / "sink"
        self.sink.touch()
        self.receipts: list[Receipt] = []
        self.deaths: dict[int, float] = {}
        self.ends: Counter[tuple[str, str]] = Counter()
        self.refused = 0
        self.survivor_pid = 0

    def _command(self, name: str, count: int) -> list[Any]:
        module = "benchmarks.postgres_deaths.child"
        words = (self._cluster.conninfo, self.sink, name, str(count), str(self._lease_timeout))
        return [sys.executable, "-m", module, *words]

    def hear(self, stream: Any, point: str) -> list[str]:
        """Take the acknowledgements that a child gives; its other words."""
        others = []
        for line in stream:
            word, *rest = line.split()
            if word == "accepted" and line.endswith("\n"):
                self.receipts.append(Receipt(rest[0], rest[1], point))
            else:
                self.refused += word == "refused"
                others.append(word)
        return others

    def survivor(self) -> tuple[subprocess.Popen[str], threading.Thread]:
        """Start the one that stays."""
        process = subprocess.Popen(
            self._command("survivor", 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.survivor_pid = process.pid
        reader = threading.Thread(target=self.hear, args=(process.stdout, "survivor"), daemon=True)
        reader.start()
        return process, reader

    def point(self, call: str, place: int) -> int:
        """One life that ends at a call; how many of these calls it has when it does not."""
        name = f"{call}:{place}"
        trace = self._directory / "trace"
        injection = f"{call}:signal=KILL:when={place}"
        strace = ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={call}", "-e", f"inject={injection}"]
        process = subprocess.Popen(
            [*strace, *self._command(name, MESSAGES)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        words = self.hear(process.stdout, name)
        process.wait(PATIENCE)
        died = time.monotonic()
        pids = Counter(int(line.split()[0]) for line in trace.read_text().splitlines() if f" {call}(" in line)
        for pid in {int(line.split()[2]) for line in self.sink.read_text().splitlines()} - {self.survivor_pid}:
            self.deaths.setdefault(pid, died)
        self.ends[call, "lived" if "end" in words else "killed"] += 1
        return max(pids.values(), default=0)


def run(campaign: Campaign, cluster: Cluster, points: int, restart_every: int) -> None:
    """All points, spread evenly over the calls of a life."""
    most = {call: campaign.point(call, 65_535) for call in CALLS}
    dice = random.Random(1)
    each = max(1, points // len(CALLS))
    places = [(call, 1 + most[call] * at // each) for call in CALLS for at in range(each)]
    dice.shuffle(places)
    for number, (call, place) in enumerate(places, 1):
        restart = threading.Timer(dice.uniform(0.5, 1.5), cluster.restart)
        if restart_every and number % restart_every == 0:
            restart.start()
        campaign.point(call, place)
        if restart_every and number % restart_every == 0:
            restart.join()
            campaign.ends["server", "killed"] += 1
        if number % 20 == 0:
            print(f"{number} of {len(places)} points", flush=True)


def drained(database: PostgresDatabase) -> None:
    """Wait until nothing waits any more, but not for ever."""
    end = time.monotonic() + DRAIN
    while database.audit().waiting and time.monotonic() < end:
        time.sleep(0.2)


def main() -> int:
    """The whole campaign; whether anything was found decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=120)
    parser.add_argument("--restart-every", type=int, default=20, help="points; 0: the server lives")
    parser.add_argument("--lease-timeout", type=float, default=3.0, help="seconds")
    arguments = parser.parse_args()
    cluster = Cluster()
    try:
        with tempfile.TemporaryDirectory(prefix="netsvc-postgres-deaths-") as directory:
            began = time.monotonic()
            campaign = Campaign(Path(directory), cluster, arguments.lease_timeout)
            survivor, reader = campaign.survivor()
            try:
                run(campaign, cluster, arguments.points, arguments.restart_every)
                database = PostgresDatabase(connect(cluster.conninfo, "deaths"), random.random, "books")
                assert survivor.stdin is not None
                # Its last words are the last messages; then it goes on until nothing is left.
                survivor.send_signal(signal.SIGUSR1)
                drained(database)
                survivor.stdin.close()
                survivor.wait(PATIENCE)
                reader.join()
            finally:
                if survivor.poll() is None:
                    survivor.kill()
            sent = sendings(campaign.sink.read_text().splitlines(), campaign.deaths)
            wrong = list(compare(database, campaign.receipts, sent))
            _report(campaign, database, len(sent), time.monotonic() - began)
    finally:
        cluster.remove()
    print("\n".join(wrong) or "nothing was lost, altered, sent by two at once, or came twice without a record")
    return 1 if wrong else 0


def _report(campaign: Campaign, database: PostgresDatabase, sent: int, seconds: float) -> None:
    print(f"{'killed at':<12} {'killed':>7} {'lived':>7}")
    for call in (*CALLS, "server"):
        print(f"{call:<12} {campaign.ends[call, 'killed']:>7} {campaign.ends[call, 'lived']:>7}")
    audit = database.audit()
    print(
        f"{len(campaign.receipts)} acknowledged, {campaign.refused} refused, {sent} sendings,"
        f" {audit.unknown_attempts} attempts of unknown result, {audit.accepted} accepted, {audit.delivered} delivered,"
        f" {audit.waiting} waiting, balanced: {audit.balanced}, {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
