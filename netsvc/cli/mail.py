"""``netsvc mail``: send mail through the queue, and look into it. Asks the daemon; never opens the queue itself."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from netsvc.cli import mail_send, torture
from netsvc.cli.mail_connection import EX_OK, EX_SOFTWARE, Connection, MailError
from netsvc.cli.mail_socket import add_where, find_socket
from netsvc.errors import printable
from netsvc.services.smtp_client.submission_wire import MAX_PAGE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    parsers = parser.add_subparsers(metavar="WHAT", dest="what", required=True)
    send = parsers.add_parser("send", help="send a message", description="Send a message.")
    mail_send.configure(send)
    send.set_defaults(mail=mail_send.run)

    queue = parsers.add_parser("queue", help="list what waits", description="List what waits, the oldest first.")
    queue.add_argument("--all", action="store_true", help="what is finished as well, as long as it is remembered")
    _add(queue, _queue)

    show = parsers.add_parser("show", help="show one message and its ledger", description="Show one message.")
    show.add_argument("id", metavar="ID")
    _add(show, _show)

    audit = parsers.add_parser(
        "audit", help="prove that nothing is lost", description="Accepted, and what became of it."
    )
    _add(audit, _audit)

    for name, line in (("remove", "take a message out of the queue"), ("requeue", "try a finished or held one again")):
        one = parsers.add_parser(name, help=line, description=f"{line.capitalize()}; for root and the daemon's user.")
        one.add_argument("id", metavar="ID", nargs="+")
        _add(one, _operate)

    torture.configure(parsers)


def run(arguments: argparse.Namespace) -> int:
    """Do it; the exit status is 0 or one of sysexits(3)."""
    try:
        status: int = arguments.mail(arguments)
    except MailError as error:
        print(printable(f"netsvc mail {arguments.what}: ") + _lines(str(error)), file=sys.stderr)
        return error.status
    return status


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _add(parser: argparse.ArgumentParser, function: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; times are seconds since 1970")
    add_where(parser)
    parser.set_defaults(mail=function)


def _pages(connection: Connection, done: bool) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        reply = connection.ask({"command": "queue", "after": after, "limit": MAX_PAGE, "done": done})
        yield from reply["items"]
        if not reply["more"]:
            return
        after = reply["items"][-1]["id"]


def _queue(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        items = _pages(connection, arguments.all)
        if arguments.json:
            for item in items:  # a line each: a long queue need not fit in memory
                print(json.dumps(item))
            return EX_OK
        count = octets = 0
        for item in items:
            if not count:
                print(f"{'queue id':15}  {'size':>8}  {'accepted':19}  {'next try':19}  sender -> recipients")
            count, octets = count + 1, octets + item["size"]
            print(printable(_line(item)))
            if item["last"]:
                print(printable(f"{'':17}{item['last']}"))
        print(f"{count} messages, {_size(octets)}" if count else "The queue is empty.")
    return EX_OK


def _line(item: dict[str, Any]) -> str:
    recipients = ", ".join(item["some"])
    rest = item["recipients"] - len(item["some"])
    more = f" and {rest} more" if rest else ""
    when = _time(item["next_at"]) if item["next_at"] is not None else _state(item)
    line = f"{item['id']:15}  {_size(item['size']):>8}  {_time(item['accepted_at']):19}  {when:19}"
    return f"{line}  <{item['sender']}> -> {recipients}{more}"


def _state(item: dict[str, Any]) -> str:
    return "in delivery" if item["state"] == "leased" else ", ".join(item["states"])


def _show(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        item = connection.ask({"command": "show", "id": arguments.id})["item"]
    if arguments.json:
        print(json.dumps(item))
        return EX_OK
    lines = [
        f"queue id   {item['id']} ({item['state']})",
        f"sender     <{item['sender']}>, handed in by {item['submitter']}",
        f"accepted   {_time(item['accepted_at'])}",
        f"content    {_size(item['size'])}, SHA-256 {item['sha256']}",
    ]
    if item["next_at"] is not None:
        lines.append(f"next try   {_time(item['next_at'])}, after {item['attempts']} attempts")
    if item["key"] is not None:
        lines.append(f"key        {item['key']}")
    lines += [f"recipient  {one['address']}: {one['state']} {_reason(one)}" for one in item["targets"]]
    lines += [
        f"ledger     {_time(one['at'])} {one['target']}: {one['result']} {_reason(one)}" for one in item["ledger"]
    ]
    print("\n".join(printable(line.rstrip()) for line in lines))
    return EX_OK


def _reason(one: dict[str, Any]) -> str:
    return " ".join(str(part) for part in (one["code"], one["enhanced"], one["text"]) if part)


def _audit(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        books = connection.ask({"command": "audit"})["audit"]
    if arguments.json:
        print(json.dumps(books))
    else:
        parts = ("delivered", "bounced", "expired", "removed", "waiting", "ambiguous")
        total = sum(books[part] for part in parts)
        print(f"accepted {books['accepted']} = " + " + ".join(f"{part} {books[part]}" for part in parts))
        print(f"attempts with unknown result: {books['unknown_attempts']}")
        print("The books balance." if books["balanced"] else f"THE BOOKS DO NOT BALANCE: {total} are accounted for.")
    return EX_OK if books["balanced"] else EX_SOFTWARE


def _operate(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        for queue_id in arguments.id:
            reply = connection.ask({"command": arguments.what, "id": queue_id})
            done = "removed" if arguments.what == "remove" else "requeued"
            line = {"id": queue_id, "recipients": reply["count"]}
            print(json.dumps(line) if arguments.json else f"{queue_id}: {reply['count']} recipients {done}")
    return EX_OK


def _time(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a clock that was far off when it was written
        return f"{seconds:g}"


def _size(octets: int) -> str:
    number, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
