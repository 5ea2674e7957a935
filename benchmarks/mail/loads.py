"""Hands messages in, and waits until the sink has them: smtp-source for rates, send.c for times of acceptance."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import Running
from benchmarks.load import program
from benchmarks.mail.sinks import Sink
from benchmarks.processes import LOOPBACK, PATIENCE

SOURCE = Path(__file__).with_name("send.c")
LOOK = 0.002  # seconds between two looks at the sink


@dataclass(frozen=True)
class Load:
    """What is handed in.

    :param sessions: connections at the same time; each message has its own.
    :param size: octets of a message's body.
    :param recipients: of each message.
    """

    sessions: int = 20
    size: int = 4096
    recipients: int = 1


def hand_in(peer: Running, load: Load, count: int) -> float:
    """Hand messages in; messages a second."""
    several = ["-r", str(load.recipients)] if load.recipients > 1 else []
    began = time.monotonic()
    subprocess.run(
        [
            *("smtp-source", "-s", str(min(load.sessions, count)), "-m", str(count), "-l", str(load.size), *several),
            *("-f", "a@example.com", "-t", "b@example.org", f"{LOOPBACK}:{peer.ports['smtp']}"),
        ],
        check=True,
        capture_output=True,
    )
    return count / (time.monotonic() - began)


def await_delivery(name: str, sink: Sink, wanted: int, *, whole: bool = True) -> None:
    """Return once the sink has mail for so many recipients since its start.

    :param whole: no more shall come.
    :raises TimeoutError: it does not come.
    :raises RuntimeError: there is more than was handed in.
    """
    began, before = time.monotonic(), sink.delivered()
    while (there := sink.delivered()) < wanted:
        if time.monotonic() - began > PATIENCE + (wanted - before) / 10:
            raise TimeoutError(f"{name}: {wanted - there} of {wanted - before} did not come to the sink")
        time.sleep(LOOK)
    if whole and there > wanted:
        raise RuntimeError(f"{name}: the sink has mail for {there - wanted} recipients too many")


@dataclass(frozen=True)
class Passed:
    """How messages came through.

    :param rate: each second, from the first octet until the last was at the sink, of those that count.
    :param taken: the same until the last was taken in.
    :param seconds: until all were at the sink.
    """

    rate: float
    taken: float
    seconds: float


def through(peer: Running, sink: Sink, load: Load, count: int, share: float = 1.0) -> Passed:
    """Hand messages in and wait for all of them.

    :param share: of them that the rate is of.
    """
    before, began = sink.delivered(), time.monotonic()
    taken = hand_in(peer, load, count)
    counting = int(count * share)
    await_delivery(peer.name, sink, before + counting * load.recipients, whole=share == 1)
    rate = counting / (time.monotonic() - began)
    await_delivery(peer.name, sink, before + count * load.recipients)
    return Passed(rate, taken, time.monotonic() - began)


def acceptance(peer: Running, sink: Sink, load: Load, count: int) -> float:
    """The 99th percentile of the time from a message's final dot to its 250, ms."""
    wanted = sink.delivered() + count * load.recipients
    values = {"sessions": load.sessions, "count": count, "size": load.size, "recipients": load.recipients}
    ran = subprocess.run(
        [str(program(SOURCE)), str(peer.ports["smtp"]), *(f"{name}={value}" for name, value in values.items())],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{peer.name}: {ran.stderr.strip()}")
    await_delivery(peer.name, sink, wanted)
    return float(json.loads(ran.stdout)["p99"]) / 1000
