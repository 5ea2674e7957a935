"""A whole torture: the stage, the daemon, the messages, the wait until all is decided, and the verdicts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import evolve

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import EX_DATAERR, EX_SOFTWARE, Connection
from netsvc.cli.torture import certificates
from netsvc.cli.torture.content import digest
from netsvc.cli.torture.daemon import PASSWORD_FILE, PHASE_TIMEOUT, TortureDaemon, configuration, socket_of
from netsvc.cli.torture.stage import HOST, Stage
from netsvc.cli.torture.terms import Fault, Message, Way
from netsvc.cli.torture.verdict import Handed, Verdict, judge

LOOK = 0.1  # seconds between two looks at the queues


def torture(
    directory: Path, faults: Sequence[Fault], way: Way, options: Mapping[str, str], *, patience: float
) -> list[Verdict]:
    """Play faults against a daemon of its own.

    :param directory: empty, private and not to be kept.
    :param options: further options of the sections, as INI text.
    :param patience: seconds until a message that still waits is called stuck.
    :raises CommandError: the daemon does not start, or ends.
    """
    contexts = certificates.make(directory, HOST)
    password = secrets.token_urlsafe()
    file = directory / PASSWORD_FILE
    file.touch(0o600)
    file.write_text(password)
    stage = Stage(faults, way, password=password, contexts=contexts, patience=2.0 * PHASE_TIMEOUT)
    with stage, TortureDaemon(directory, configuration(directory, stage.scenes.values(), options)) as daemon:
        with ExitStack() as stack:
            queues = {one.number: stack.enter_context(Connection(socket_of(directory, one.number))) for one in faults}
            handed = {one.number: _hand_in(queues[one.number], one) for one in faults}
            try:
                _wait(stage, queues, handed, patience)
                books = {number: queue.ask({"command": "audit"})["audit"] for number, queue in queues.items()}
            except CommandError:
                if daemon.running:
                    raise
                raise CommandError(EX_SOFTWARE, f"the daemon ended: {daemon.last_words()}") from None
        return [
            judge(
                one,
                handed[one.number],
                stage.scenes[one.number].ledger,
                stage.scenes[one.number].flaws,
                books[one.number]["balanced"],
            )
            for one in faults
        ]


def _hand_in(queue: Connection, fault: Fault) -> list[Handed]:
    return [
        _hand_in_one(queue, message, f"{fault.number}.{at}.{secrets.token_hex(8)}")
        for at, message in enumerate(fault.messages, 1)
    ]


def _hand_in_one(queue: Connection, message: Message, mark: str) -> Handed:
    content = message.content(mark)
    request = {"command": "send", "sender": message.sender, "recipients": list(message.ends), "length": len(content)}
    try:
        queue_id: str = queue.ask(request, content)["id"]
    except CommandError as error:
        if error.status != EX_DATAERR:
            raise
        queue_id = ""
    return Handed(message, mark, digest(content), queue_id)


def _wait(stage: Stage, queues: Mapping[int, Connection], handed: Mapping[int, list[Handed]], patience: float) -> None:
    """Look until no recipient waits any more, and keep what was seen last."""
    end = time.monotonic() + patience
    open_ones = [(number, at) for number, some in handed.items() for at, one in enumerate(some) if one.queue_id]
    while open_ones:
        late = time.monotonic() > end
        left = []
        for number, at in open_ones:
            one = handed[number][at]
            item = queues[number].ask({"command": "show", "id": one.queue_id})["item"]
            handed[number][at] = evolve(one, item=item)
            if number in stage.closed and item["ledger"]:
                stage.open(number)
            if _waits(item):
                left.append((number, at))
        if late:
            return
        open_ones = left
        if left:
            time.sleep(LOOK)


def _waits(item: Mapping[str, Any]) -> bool:
    return any(target["state"] == "waiting" for target in item["targets"])
