"""``netsvc sms``: send text messages through the queue, look into it, count segments. Never opens the queue itself."""

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
from netsvc.cli.mail_text import counted
from netsvc.cli.sms_socket import Connection, add_where, find_socket
from netsvc.errors import printable
from netsvc.services.sms.segments import ROOM, cut, foreign
from netsvc.services.sms.wire import MAX_PAGE, is_id

EPILOG = """\
Numbers are international (+49 171 1234567), or national where country_code is set.
Every user of the machine can see the arguments of a command that runs: a text with a
code in it is better read from standard input, with - as TEXT. Prints the queue id and
exits with 0 once the message is safely on disk; otherwise one line says why, with a
status of sysexits(3): 65 the message is refused, 69 no text message service runs,
75 try again later (a limit is reached perhaps), 77 not allowed. With --wait it is 0
only when the gateway took the message for every number.
"""

LOOK = 0.2  # seconds between two looks of --wait


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    parsers = parser.add_subparsers(metavar="WHAT", dest="what", required=True)
    send = parsers.add_parser(
        "send",
        help="send a message",
        description="Send a message.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    send.add_argument("--to", metavar="NUMBER", action="append", required=True, help="to whom; may stand several times")
    send.add_argument("--key", help="sending again with the same key gives the same queue id and no second message")
    send.add_argument("--template", metavar="NAME", default="", help="what kind of message it is, for the limits")
    send.add_argument("--wait", metavar="SECONDS", type=float, help="wait so long for the gateway's word")
    send.add_argument("text", metavar="TEXT", help="the message, or - for standard input")
    add_where(send)
    send.set_defaults(sms=_send)

    queue = parsers.add_parser("queue", help="list what waits", description="List what waits, the oldest first.")
    queue.add_argument("--all", action="store_true", help="what is finished as well, as long as it is remembered")
    _add(queue, _queue)

    show = parsers.add_parser("show", help="show one message and its ledger", description="Show one message.")
    show.add_argument("id", metavar="ID")
    _add(show, _show)

    _add(
        parsers.add_parser(
            "audit", help="prove that nothing is lost", description="Accepted, and what became of it, in numbers."
        ),
        _audit,
    )

    for name, line in (("remove", "take a message out of the queue"), ("requeue", "try a finished or held one again")):
        one = parsers.add_parser(name, help=line, description=f"{line.capitalize()}; for root and the daemon's user.")
        one.add_argument("id", metavar="ID", nargs="+")
        _add(one, _operate)

    segments = parsers.add_parser(
        "segments", help="count the segments of a text", description="Show how a text is cut into segments."
    )
    segments.add_argument("--json", action="store_true", help="print JSON")
    segments.add_argument("text", metavar="TEXT", help="the text, or - for standard input")
    segments.set_defaults(sms=_segments)


def run(arguments: argparse.Namespace) -> int:
    """Do it; the exit status is 0 or one of sysexits(3)."""
    try:
        status: int = arguments.sms(arguments)
    except CommandError as error:
        lines = "\n".join(printable(line) for line in str(error).split("\n"))
        print(printable(f"netsvc sms {arguments.what}: ") + lines, file=sys.stderr)
        return error.status
    return status


def _add(parser: argparse.ArgumentParser, function: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; times are seconds since 1970")
    add_where(parser)
    parser.set_defaults(sms=function)


def _text(word: str) -> str:
    """The text of an argument; of standard input without the line end that every tool puts there."""
    octets = sys.stdin.buffer.read().removesuffix(b"\n") if word == "-" else os.fsencode(word)
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise CommandError(os.EX_DATAERR, "the text is not UTF-8") from None


def _send(arguments: argparse.Namespace) -> int:
    request = {"command": "send", "to": arguments.to, "text": _text(arguments.text), "template": arguments.template}
    if arguments.key is not None:
        request["key"] = arguments.key
    with Connection(find_socket(arguments)) as connection:
        queue_id = str(connection.ask(request).get("id"))
        if not is_id(queue_id):
            raise connection.stranger()
        print(queue_id, flush=True)
        if arguments.wait is not None:
            return _wait(connection, queue_id, arguments.wait)
    return os.EX_OK


def _wait(connection: Connection, queue_id: str, seconds: float) -> int:
    """Look until every number has the gateway's word, or the time is over; say what became of those that have none."""
    end = time.monotonic() + seconds
    while True:
        item = connection.ask({"command": "show", "id": queue_id})["item"]
        if item["state"] == "done" or time.monotonic() >= end:
            break
        time.sleep(min(LOOK, max(0.0, end - time.monotonic())))
    others = [one for one in item["targets"] if one["state"] != "delivered"]
    for one in others:
        print(printable(f"{one['address']}: {one['state']} {_reason(one)}".rstrip()), file=sys.stderr)
    if not others:
        return os.EX_OK
    return os.EX_TEMPFAIL if any(one["state"] == "waiting" for one in others) else os.EX_UNAVAILABLE


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
            return os.EX_OK
        count = 0
        for item in items:
            if not count:
                print(f"{'queue id':15}  {'parts':>5}  {'accepted':19}  {'next try':19}  to")
            count += 1
            print(printable(_line(item)))
            if item["last"]:
                print(printable(f"{'':17}{item['last']}"))
        print(counted(count, "message") if count else "The queue is empty.")
    return os.EX_OK


def _line(item: dict[str, Any]) -> str:
    rest = item["recipients"] - len(item["some"])
    more = f" and {rest} more" if rest else ""
    if item["next_at"] is not None:
        when = _time(item["next_at"])
    elif item["state"] == "leased":
        when = "under way"
    else:
        when = "result unknown" if "ambiguous" in item["states"] else ", ".join(item["states"])
    line = f"{item['id']:15}  {item['segments']:>5}  {_time(item['accepted_at']):19}  {when:19}"
    return f"{line}  {', '.join(item['some'])}{more}"


def _show(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        item = connection.ask({"command": "show", "id": arguments.id})["item"]
    if arguments.json:
        print(json.dumps(item))
        return os.EX_OK
    lines = [
        f"queue id   {item['id']} ({item['state']})",
        f"handed in  by {item['submitter']}, {_time(item['accepted_at'])}",
        f"segments   {item['segments']}",
    ]
    if item["next_at"] is not None:
        lines.append(f"next try   {_time(item['next_at'])}, after {item['attempts']} attempts")
    lines += [f"{name:11}{item[name]}" for name in ("key", "template", "mail") if item.get(name)]
    for one in item["targets"]:
        lines.append(f"number     {one['address']}: {one['state']} {_reason(one)}")
        if one["receipt"]:
            receipt = one["receipt"]
            lines.append(f"receipt    {one['address']}: {receipt['result']}, {_time(receipt['at'])} {receipt['text']}")
    lines += [
        f"ledger     {_time(one['at'])} {one['target']}: {one['result']} {_reason(one)}" for one in item["ledger"]
    ]
    print("\n".join(printable(line.rstrip()) for line in lines))
    return os.EX_OK


def _audit(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        books = connection.ask({"command": "audit"})["audit"]
    if arguments.json:
        print(json.dumps(books))
    else:
        for name in ("accepted", "delivered", "bounced", "expired", "removed", "ambiguous", "waiting"):
            print(f"{name:10} {books[name]:>10}")
        print("the books balance" if books["balanced"] else "THE BOOKS DO NOT BALANCE")
    return os.EX_OK if books["balanced"] else os.EX_SOFTWARE


def _operate(arguments: argparse.Namespace) -> int:
    worst = os.EX_OK
    with Connection(find_socket(arguments)) as connection:
        for one in arguments.id:
            try:
                count = connection.ask({"command": arguments.what, "id": one})["count"]
            except CommandError as error:
                print(printable(f"netsvc sms {arguments.what}: {one}: {error}"), file=sys.stderr)
                worst = error.status
                continue
            print(json.dumps({"id": one, "count": count}) if arguments.json else f"{one}: {count} numbers")
    return worst


def _segments(arguments: argparse.Namespace) -> int:
    text = _text(arguments.text)
    found = cut(text)
    if arguments.json:
        whole = {"alphabet": found.alphabet, "units": found.units, "left": found.left, "parts": found.parts}
        print(json.dumps(whole))
        return os.EX_OK
    name, unit = {"gsm7": ("GSM 7-bit", "septets"), "ucs2": ("UCS-2", "UTF-16 units")}[found.alphabet]
    alone, each = ROOM[found.alphabet]
    room = alone if len(found.parts) == 1 else each
    many = counted(len(found.parts), "segment")
    print(f"{many} in {name}: {found.units} {unit}, {room} fit into each, {found.left} are left")
    strangers = foreign(text)
    if strangers:
        print(printable(f"not in GSM 7-bit: {' '.join(strangers[:20])}"))
    return os.EX_OK


def _reason(one: dict[str, Any]) -> str:
    return " ".join(str(part) for part in (one["code"], one["text"]) if part)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
