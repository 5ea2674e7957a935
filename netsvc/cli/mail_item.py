"""``netsvc mail show``, ``log`` and ``explain``: all about one message, what was tried, and why it waits."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from netsvc.cli import mail_text
from netsvc.cli.mail_connection import EX_OK, Connection
from netsvc.cli.mail_socket import find_socket

_LABEL = 11  # columns of the word on the left
_TIME = 21  # columns of a time and the gap behind it


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("id", metavar="ID", help="the queue id")


def run(arguments: argparse.Namespace) -> int:
    """Print it; the exit status."""
    command = "explain" if arguments.what == "explain" else "show"
    with Connection(find_socket(arguments)) as connection:
        item = connection.ask({"command": command, "id": arguments.id})["item"]
    if arguments.json:
        print(json.dumps(item["ledger"] if arguments.what == "log" else item))
        return EX_OK
    limit, indent = mail_text.width(), _TIME if arguments.what == "log" else _LABEL
    for label, text in {"show": _show, "log": _log, "explain": _explain}[arguments.what](item, time.time()):
        for number, line in enumerate(mail_text.lines(text, indent=indent, limit=limit)):
            print(f"{'' if number else label:{indent}}{line.strip()}")
    return EX_OK


def _show(item: dict[str, Any], now: float) -> Iterator[tuple[str, str]]:
    yield "queue id", f"{item['id']} ({item['state']})"
    yield "sender", f"<{item['sender']}>, handed in by {item['submitter']}"
    yield "accepted", mail_text.time(item["accepted_at"])
    yield "content", f"{mail_text.size(item['size'])}, SHA-256 {item['sha256']}"
    if item["next_at"] is not None:
        yield "next try", f"{_due(item['next_at'], now)}, after {_tries(item['attempts'])}"
    if item["key"] is not None:
        yield "key", item["key"]
    for one in item["targets"]:
        yield "recipient", f"{one['address']}: {one['state']} {mail_text.reason(one)}"
    for at, line in _log(item, now):
        yield "ledger", f"{at} {line}"


def _log(item: dict[str, Any], _: float) -> Iterator[tuple[str, str]]:
    """What was tried, the oldest first."""
    for one in item["ledger"]:
        via = f", via {one['via']}" if one.get("via") else ""
        yield mail_text.time(one["at"]), f"{one['target']}: {one['result']} {mail_text.reason(one)}{via}"


def _explain(item: dict[str, Any], now: float) -> Iterator[tuple[str, str]]:
    yield "queue id", f"{item['id']}, accepted {mail_text.span(now - item['accepted_at'])} ago"
    waiting = [one for one in item["targets"] if one["state"] == "waiting"]
    if not waiting:
        unknown = any(one["state"] == "ambiguous" for one in item["targets"])
        said = "its result is unknown: netsvc mail requeue sends it again, netsvc mail delete does not"
        yield "state", said if unknown else "nothing of it waits"
    several = len(item["parcels"]) > 1
    for parcel in item["parcels"]:
        if parcel["state"] == "done":
            continue
        number = f"parcel {parcel['index'] + 1} " if several else ""
        where = f"to {parcel['destination']}" if parcel["destination"] else ""
        label = (number + where).strip()
        yield "state", (f"{label}: " if label else "") + _state(parcel, now)
        together = [one for one in waiting if one["parcel"] == parcel["index"]]
        for one in together:
            yield "recipient", f"{one['address']}: {mail_text.reason(one) or 'not tried yet'}"
        if len(together) > 1:
            yield "", f"these {len(together)} are tried together"
    for way in item["ways"]:
        name = f"{way['destination']}: " if len(item["ways"]) > 1 else ""
        if way["closed"]:
            yield "left alone", f"{name}for {mail_text.span(way['opens_in'])} more, because {way['reason']}"
        for word, lines in way["way"].items():
            for text in lines:
                yield word, name + text
    for one in item["targets"]:
        if one["state"] not in ("waiting", "delivered", "removed"):
            yield "recipient", f"{one['address']}: {one['state']}, {mail_text.reason(one)}"


def _state(parcel: dict[str, Any], now: float) -> str:
    tries = _tries(parcel["attempts"])
    match parcel["state"]:
        case "leased":
            return f"in delivery right now, after {tries}"
        case "held":
            return f"held by an operator, after {tries}; netsvc mail release lets it go"
    return f"waits after {tries}; next try {_due(parcel['next_at'], now)}"


def _due(at: float, now: float) -> str:
    return f"{mail_text.time(at)} (in {mail_text.span(at - now)})" if at > now else "now"


def _tries(number: int) -> str:
    return f"{number} {'try' if number == 1 else 'tries'}"
