"""One point: a queue, a life that is killed, perhaps a second one, and one that brings all to its end."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.mail_deaths.books import Books, judge
from benchmarks.mail_deaths.client import Receipt, hand_in
from benchmarks.mail_deaths.life import Kill, Killed, Life, LifeFailedError, configure
from benchmarks.mail_deaths.script import Message, messages
from benchmarks.mail_deaths.sink import Sink
from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import Connection
from netsvc.cli.torture.content import mark_of

PATIENCE = 60.0  # seconds until what still waits is called stuck
LOOK = 0.1  # seconds between two looks at the queue
LONE = 2.0  # seconds that a daemon has whose agent was killed: so will the next one be, at the same call
LINGER = 0.2  # seconds: the record of the last attempt is on the disk after a while only


@frozen
class Queue:
    """A state directory to begin with.

    :param agents: how many delivery processes its daemon has.
    :param state: is copied; None for none at all.
    """

    name: str
    agents: int
    state: Path | None = None


@frozen
class Point:
    """What is to be done.

    :param kills: the ends of the first lives.
    """

    number: int
    queue: Queue
    kills: tuple[Kill, ...]

    def __str__(self) -> str:
        return f"point {self.number} ({self.queue.name} queue; {', then '.join(map(str, self.kills))})"


@frozen(kw_only=True)
class Found:
    """What came of it.

    :param killed: how many daemons were, by strace.
    :param agents: how many lives only lost their agent.
    :param acknowledged: messages.
    :param copies: messages that the peer took, each recipient counted, but for bounces.
    :param unknown: attempts of unknown result in the ledger.
    """

    killed: int
    agents: int = 0
    acknowledged: int = 0
    copies: int = 0
    duplicates: int = 0
    unknown: int = 0
    faults: tuple[str, ...] = ()


def prepare(directory: Path, queue: Queue) -> None:
    """Lay out the queue to begin with."""
    directory.mkdir()
    if queue.state is not None:
        shutil.copytree(queue.state, directory / "state", ignore=shutil.ignore_patterns("*.sock"))


def visit(directory: Path, point: Point) -> Found:
    """Do it.

    :param directory: is made; what is in it in the end can be studied.
    """
    script = messages()
    receipts = [Receipt(one) for one in script]
    prepare(directory, point.queue)
    ends: Counter[Killed] = Counter()
    try:
        with Sink(script) as sink:
            configure(directory, sink.ports, point.queue.agents)
            for number, kill in enumerate(point.kills):
                with Life(directory, f"life-{number}", kill) as life:
                    if live(life, receipts):
                        life.wait(LINGER)
                    ends[life.finish()] += 1
            with Life(directory, "life-last") as life:
                if not live(life, receipts):
                    raise LifeFailedError(f"it ended by itself, or something waits for ever:\n{life.log()[-2000:]}")
                books = _read(directory, life, receipts, sink)
    except (LifeFailedError, CommandError, OSError) as error:
        return Found(killed=ends["daemon"], agents=ends["agent"], faults=(f"{type(error).__name__}: {error}",))
    return Found(
        killed=ends["daemon"],
        agents=ends["agent"],
        acknowledged=sum(bool(one.ids) for one in receipts),
        copies=books.counted.total(),
        duplicates=books.duplicates,
        unknown=books.audit["unknown_attempts"],
        faults=tuple(judge(books)),
    )


def live(life: Life, receipts: Sequence[Receipt]) -> bool:
    """Hand in what is due and wait until nothing waits; False when the daemon died first, or time is over."""
    if not life.ready():
        return False
    hand_in(life, receipts)
    end = time.monotonic() + PATIENCE
    while not life.wait(LOOK) and time.monotonic() < end:
        if life.who == "agent":
            end = min(end, time.monotonic() + LONE)
        try:
            with Connection(life.socket) as connection:
                if not connection.ask({"command": "queue", "limit": 1})["items"]:
                    return True
        except CommandError:
            continue  # it is dying
    return False


def _read(directory: Path, life: Life, receipts: Sequence[Receipt], sink: Sink) -> Books:
    with Connection(life.socket) as connection:
        ids = [one["id"] for one in connection.ask({"command": "queue", "done": True})["items"]]
        items: list[dict[str, Any]] = [connection.ask({"command": "show", "id": one})["item"] for one in ids]
        audit = connection.ask({"command": "audit"})["audit"]
    ours = {address for one in receipts for address in (*one.message.recipients, one.message.sender)}
    is_ours = [any(one["address"] in ours for one in item["targets"]) for item in items]
    return Books(
        receipts=receipts,
        copies=sink.copies,
        flaws=sink.flaws,
        items=[item for item, it in zip(items, is_ours, strict=True) if it],
        before=[item for item, it in zip(items, is_ours, strict=True) if not it],
        audit=audit,
        dead=Counter(_dead(directory / "state" / "dead")),
    )


def _dead(maildir: Path) -> Iterator[str]:
    """The names of the messages of which there are dead letters."""
    for file in maildir.glob("new/*"):
        yield mark_of(file.read_bytes())


def make_queue(directory: Path, name: str, agents: int, history: Sequence[Message]) -> Queue:
    """A queue that has delivered some messages and whose daemon was killed."""
    directory.mkdir()
    with Sink(history) as sink:
        configure(directory, sink.ports, agents)
        with Life(directory, "life") as life:
            receipts = [Receipt(one) for one in history]
            if not live(life, receipts) or not all(one.ids for one in receipts):
                raise LifeFailedError(f"the {name} queue could not be made:\n{life.log()[-2000:]}")
            life.wait(LINGER)
    return Queue(name, agents, directory / "state")
