"""``netsvc fetch run``, queue, show, audit, requeue, remove: what is asked of a daemon that runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from netsvc.cli.connection import CommandError
from netsvc.cli.fetch_socket import Connection, find_socket
from netsvc.errors import printable
from netsvc.services.fetch.wire import MAX_PAGE

COMMANDS = ("run", "queue", "show", "audit", "requeue", "remove")
LOOK = 0.2  # seconds between two looks of --wait
WORDS = {"delivered": "done", "bounced": "failed", "expired": "given up"}  # the queue's are those of mail


def operate(command: str, words: list[str], arguments: argparse.Namespace) -> int:
    """Do it; the exit status is 0, 1 (with --wait: some failed) or one of sysexits(3)."""
    try:
        return _operate(command, words, arguments)
    except CommandError as error:
        print(printable(f"netsvc fetch {command}: {error}"), file=sys.stderr)
        return error.status


def _operate(command: str, words: list[str], arguments: argparse.Namespace) -> int:
    service = arguments.service
    if command == "run" and len(words) == 1 and service is None:
        service = words.pop()
        if service.partition(":")[0] != "fetch":
            service = f"fetch:{service}"
    takes_ids = command in {"show", "requeue", "remove"}
    if bool(words) != takes_ids:
        raise CommandError(os.EX_USAGE, "a queue id is missing" if takes_ids else "there are too many words")
    with Connection(find_socket(arguments, service)) as connection:
        if command == "run":
            return _run(connection, arguments)
        if command == "queue":
            return _queue(connection, arguments)
        if command == "audit":
            return _audit(connection, arguments)
        if command == "show":
            for one in words:
                _show(connection.ask({"command": "show", "id": one})["item"], arguments)
            return os.EX_OK
        for one in words:
            count = connection.ask({"command": command, "id": one})["count"]
            print(json.dumps({"id": one, "count": count}) if arguments.json else f"{one}: {count} files")
    return os.EX_OK


def _run(connection: Connection, arguments: argparse.Namespace) -> int:
    reply = connection.ask({"command": "run"})
    queue_id = str(reply["id"])
    if not arguments.wait:
        print(json.dumps({"id": queue_id, "repeated": reply["repeated"]}) if arguments.json else queue_id)
        return os.EX_OK
    while True:
        tally = connection.ask({"command": "tally", "id": queue_id})
        if tally["run"]["state"] != "waiting" and not tally["files"].get("waiting"):
            break
        time.sleep(LOOK)
    if arguments.json:
        print(json.dumps({"id": queue_id, **{key: tally[key] for key in ("run", "files", "failed")}}))
    elif tally["run"]["state"] == "delivered":
        print(f"{queue_id}: {tally['run']['reason']}; {tally['files'].get('delivered', 0)} came")
    if tally["run"]["state"] != "delivered":
        print(printable(f"netsvc fetch run: {_word(tally['run']['state'])}: {tally['run']['reason']}"), file=sys.stderr)
        return 1
    for one in tally["failed"]:
        print(printable(f"netsvc fetch run: {one['url']}: {_word(one['state'])}: {one['reason']}"), file=sys.stderr)
    return 1 if tally["failed"] else os.EX_OK


def _pages(connection: Connection, done: bool) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        reply = connection.ask({"command": "queue", "after": after, "limit": MAX_PAGE, "done": done})
        yield from reply["items"]
        if not reply["more"]:
            return
        after = reply["items"][-1]["id"]


def _queue(connection: Connection, arguments: argparse.Namespace) -> int:
    count = 0
    for item in _pages(connection, arguments.all):
        count += 1
        if arguments.json:
            print(json.dumps(item))
            continue
        when = f"next try {_time(item['next_at'])}" if item["next_at"] is not None else _became(item)
        print(printable(f"{item['id']}  {when:30}  {item['url']}"))
        if item["last"]:
            print(printable(f"{'':17}{item['last']}"))
    if not count and not arguments.json:
        print("The queue is empty.")
    return os.EX_OK


def _became(item: dict[str, Any]) -> str:
    return "under way" if item["state"] == "leased" else _word(item["became"])


def _word(state: str) -> str:
    return WORDS.get(state, state)


def _show(item: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(item))
        return
    lines = [f"queue id   {item['id']} ({item['state']})", f"URL        {item['url']}: {_became(item)} {item['last']}"]
    if item["run"]:
        lines.append(f"run        {item['run']}")
    if item["next_at"] is not None:
        lines.append(f"next try   {_time(item['next_at'])}, after {item['attempts']} attempts")
    for one in item["ledger"]:
        words = " ".join(str(part) for part in (one["code"], one["text"]) if part)
        lines.append(f"ledger     {_time(one['at'])} {one['result']}: {words}")
    print("\n".join(printable(line.rstrip()) for line in lines))


def _audit(connection: Connection, arguments: argparse.Namespace) -> int:
    books = connection.ask({"command": "audit"})["audit"]
    if arguments.json:
        print(json.dumps(books))
    else:
        for name in ("accepted", "delivered", "bounced", "expired", "removed", "ambiguous", "waiting"):
            print(f"{_word(name):10} {books[name]:>10}")
        print("the books balance" if books["balanced"] else "THE BOOKS DO NOT BALANCE")
    return os.EX_OK if books["balanced"] else os.EX_SOFTWARE


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
