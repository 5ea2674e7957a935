"""What is measured, and the ratios that netsvc must reach.

Rounds go from peer to peer, so that noise hits all alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks import contestants
from benchmarks.contestants import Running
from benchmarks.load import SOURCES, IdleLoad, load
from benchmarks.result import MIB, Effort, Result, Target

IDLE_CONNECTIONS = 10_000
FILE_PATIENCE = 60.0  # seconds for eight transfers
CONCURRENCY = 50  # connections at the same time where they come and go


@contextmanager
def _running(names: list[str]) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        peers = []
        for name in names:
            peer = contestants.ALL[name]()
            stack.callback(peer.stop)
            peers.append(peer)
        yield peers


def _rounds(result: Result, effort: Effort, names: list[str], one: Callable[[Running], float]) -> Result:
    with _running(names) as peers:
        for peer in peers:
            one(peer)  # warm-up: caches, lazy imports, the first growth of memory
        for _ in range(effort.rounds):
            for peer in peers:
                result.add(peer.name, one(peer))
    return result


def tcp_echo(effort: Effort, names: list[str]) -> Result:
    """64 octets there and back on 50 connections."""
    targets = (Target("xinetd", least=1.1), Target("twisted", least=1.5))
    result = Result("tcp-echo-64", "round trips/s", targets)

    def one(peer: Running) -> float:
        found = load("echo", peer.ports["echo"], connections=CONCURRENCY, size=64, seconds=effort.seconds)
        if found["failed"]:
            result.faults.append(f"{peer.name}: {found['failed']} connections failed")
        result.notes[peer.name] = f"p50 {found['p50_us']} us, p99 {found['p99_us']} us"
        return float(found["per_second"])

    return _rounds(result, effort, names, one)


def connect_echo_close(effort: Effort, names: list[str]) -> Result:
    """Connect, echo 64 octets, close; 50 at a time."""
    return _open_and_close(
        effort, names, "connect", "echo", Result("connect-echo-close", "connections/s", (Target("xinetd", least=10),))
    )


def daytime(effort: Effort, names: list[str]) -> Result:
    """Connect, read the line, close; 50 at a time."""
    return _open_and_close(
        effort, names, "read", "daytime", Result("daytime", "connections/s", (Target("xinetd", least=1.4),))
    )


def _open_and_close(effort: Effort, names: list[str], mode: str, service: str, result: Result) -> Result:

    def one(peer: Running) -> float:
        # xinetd's children look up the peer's name. That of 127.0.0.1 stands in /etc/hosts; others would cost it a
        # question to a name server. At its rate one source address has ports enough.
        sources = 1 if peer.name == "xinetd" else SOURCES
        found = load(mode, peer.ports[service], connections=CONCURRENCY, seconds=effort.seconds, sources=sources)
        if found["failed"]:
            result.faults.append(f"{peer.name}: {found['failed']} of {found['done']} connections failed")
        return float(found["per_second"])

    return _rounds(result, effort, names, one)


def idle_memory(effort: Effort, names: list[str]) -> Result:
    """Growth of resident memory by 10,000 idle connections, in a fresh process; then every one is answered."""
    result = Result("idle-memory", "octets/connection", (Target(most=3 * 1024),))
    connections = min(IDLE_CONNECTIONS, effort.descriptors - 200)
    if connections < IDLE_CONNECTIONS:
        result.faults.append(f"only {connections} connections: raise the limit of open files")
    for name in names:
        if name == "xinetd":
            continue  # a process a connection: 10,000 of them
        with _running([name]) as (peer,):
            load("echo", peer.ports["echo"], connections=10, size=64, seconds=0.2)
            before = peer.server.resident()
            with IdleLoad(peer.ports["echo"], connections) as idle:
                idle.wait_open()
                time.sleep(0.5)  # until the server has accepted what stands in its backlog
                grown = peer.server.resident() - before
                found = idle.finish()
            result.add(name, grown / connections)
            result.notes[name] = f"{found['done']} of {connections} answered"
            if found["done"] != connections:
                result.faults.append(f"{name}: {found['failed']} connections were not answered")
    return result


def bulk_echo(effort: Effort, names: list[str]) -> Result:
    """1 GiB through one echo connection, every octet compared."""
    result = Result("bulk-echo", "MB/s")
    growth = Result("bulk-echo growth", "MiB", (Target(most=16),))
    with _running(names) as peers:
        for peer in peers:
            load("bulk", peer.ports["echo"], octets=MIB)
            before = peer.server.resident()
            peer.server.forget_peak()
            found = load("bulk", peer.ports["echo"], octets=effort.bulk)
            result.add(peer.name, found["octets_per_second"] / 1e6)
            if peer.name != "xinetd":  # its echo is in a child
                growth.add(peer.name, (peer.server.peak() - before) / MIB)
            if not found["done"]:
                result.faults.append(f"{peer.name}: the stream did not come back whole")
    result.notes = {name: f"peak memory grew by {median(values):.1f} MiB" for name, values in growth.values.items()}
    if growth.holds(growth.targets[0]) is False:
        result.faults.append("netsvc: memory grew by more than 16 MiB")
    return result


def filetransfer(effort: Effort, _: list[str]) -> Result:
    """A file as JSON to 8 peers, against the tutorials' threaded server: 500 MB/s, or 5 times as fast."""
    result = Result("filetransfer-json", "MB/s")
    with tempfile.TemporaryDirectory(prefix="netsvc-bench-") as directory, ExitStack() as stack:
        file = Path(directory) / "offered.bin"
        with file.open("wb") as out:
            for left in range(effort.file, 0, -MIB):
                out.write(os.urandom(min(MIB, left)))
        peers = [contestants.netsvc_files(file)]
        stack.callback(peers[0].stop)
        peers.append(contestants.threaded_files(file))
        stack.callback(peers[1].stop)
        for peer in peers:
            load("read", peer.ports["filetransfer"], connections=1, count=1, seconds=FILE_PATIENCE)
        before = peers[0].server.resident()
        peers[0].server.forget_peak()
        for _ in range(effort.rounds):
            for peer in peers:
                # Whole transfers: the threaded server encodes for long before it sends anything.
                found = load("read", peer.ports["filetransfer"], connections=8, count=8, seconds=FILE_PATIENCE)
                if found["done"] != 8:
                    result.faults.append(f"{peer.name}: {found['done']} of 8 transfers came to their end")
                result.add(peer.name, found["octets_per_second"] / 1e6)
        growth = (peers[0].server.peak() - before) / MIB
    result.notes["netsvc"] = f"peak memory grew by {growth:.1f} MiB"
    if growth > 16:
        result.faults.append(f"netsvc: memory grew by {growth:.1f} MiB, more than 16")
    fast = result.median("netsvc") >= 500
    result.targets = (Target(least=500),) if fast else (Target("threaded", least=5),)
    return result


def start(effort: Effort, _: list[str]) -> Result:
    """From the start of ``twistd -n netsvc`` with etc/netsvc.ini until every port is open; its memory then."""
    result = Result("ready", "s", (Target(most=1.0),))
    memory = []
    for _ in range(effort.rounds):
        peer = contestants.netsvc_sample()
        try:
            result.add("netsvc", peer.server.ready_after)
            memory.append(peer.server.resident() / MIB)
        finally:
            peer.stop()
    result.notes["netsvc"] = f"{median(memory):.1f} MiB resident"
    if median(memory) >= 80:
        result.faults.append("netsvc: 80 MiB or more resident")
    return result


def command_help(effort: Effort, _: list[str]) -> Result:
    """Time of ``netsvc --help``."""
    result = Result("netsvc --help", "ms", (Target(most=150),))
    for _ in range(effort.rounds * 2):
        began = time.monotonic()
        ran = subprocess.run([str(Path(sys.executable).parent / "netsvc"), "--help"], stdout=subprocess.DEVNULL)
        result.add("netsvc", (time.monotonic() - began) * 1000)
        if ran.returncode:
            result.faults.append(f"netsvc: exit status {ran.returncode}")
    return result


ALL: dict[str, Callable[[Effort, list[str]], Result]] = {
    "tcp-echo-64": tcp_echo,
    "connect-echo-close": connect_echo_close,
    "daytime": daytime,
    "idle-memory": idle_memory,
    "bulk-echo": bulk_echo,
    "filetransfer": filetransfer,
    "ready": start,
    "help": command_help,
}
