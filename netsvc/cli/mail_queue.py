"""``netsvc mail queue``: what waits, the oldest first, fetched page by page."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from netsvc.cli import mail_text
from netsvc.cli.mail_connection import EX_OK, Connection
from netsvc.cli.mail_socket import find_socket
from netsvc.services.smtp_client.submission_wire import MAX_PAGE

_INDENT = 17  # columns of a queue id and the gap behind it
_HEAD = f"{'QUEUE ID':15}  {'ACCEPTED':19}  {'SIZE':>9}  {'TRIES':>5}  NEXT TRY"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--all", action="store_true", help="what is finished as well, as long as it is remembered")


def run(arguments: argparse.Namespace) -> int:
    """Print it; the exit status."""
    with Connection(find_socket(arguments)) as connection:
        items = _pages(connection, arguments.all)
        if arguments.json:
            for item in items:  # a line each: a long queue need not fit in memory
                print(json.dumps(item))
            return EX_OK
        limit, now = mail_text.width(), time.time()
        count = octets = 0
        for item in items:
            if not count:
                print(_HEAD)
            count, octets = count + 1, octets + item["size"]
            print("\n".join(_entry(item, limit, now)))
        print(f"{mail_text.counted(count, 'message')}, {mail_text.size(octets)}" if count else "The queue is empty.")
    return EX_OK


def _pages(connection: Connection, done: bool) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        reply = connection.ask({"command": "queue", "after": after, "limit": MAX_PAGE, "done": done})
        yield from reply["items"]
        if not reply["more"]:
            return
        after = reply["items"][-1]["id"]


def _entry(item: dict[str, Any], limit: int, now: float) -> Iterator[str]:
    accepted, size = mail_text.time(item["accepted_at"]), mail_text.size(item["size"])
    yield f"{item['id']:15}  {accepted:19}  {size:>9}  {item['attempts']:>5}  {_next(item, now)}"
    states = item["states"]
    rest = (states.get("waiting") or states.get("ambiguous") or item["recipients"]) - len(item["some"])
    more = f" and {rest} more" if rest else ""
    who = f"<{item['sender']}> -> {', '.join(item['some'])}{more}"
    yield from mail_text.lines(who, indent=_INDENT, limit=limit)
    yield from mail_text.lines(item["last"], indent=_INDENT, limit=limit)


def _next(item: dict[str, Any], now: float) -> str:
    if item["next_at"] is not None:
        return f"in {mail_text.span(item['next_at'] - now)}" if item["next_at"] > now else "now"
    if item["state"] in ("leased", "held"):
        return "in delivery" if item["state"] == "leased" else "held"
    # Not sent again by itself, nor forgotten: a person says requeue or delete.
    return "held, result unknown" if "ambiguous" in item["states"] else ", ".join(item["states"])
