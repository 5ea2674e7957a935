"""The queue as ``mailq`` shows it, in the columns of Postfix's long queue ids, which programs read as people do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TextIO

from netsvc.cli.mail_connection import Connection
from netsvc.printable import printable

PAGE = 100  # messages asked for at once; each comes with all of its recipients
_HEAD = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
_INDENT = " " * 47  # recipients stand below the sender


def show(connection: Connection, out: TextIO) -> None:
    """Print what waits, the oldest first."""
    count = octets = 0
    for item in _items(connection):
        if not count:
            print(_HEAD, file=out)
        count, octets = count + 1, octets + item["size"]
        print("\n".join(printable(line) for line in _lines(item)), end="\n\n", file=out)
    if not count:
        print("Mail queue is empty", file=out)
        return
    print(f"-- {(octets + 1023) // 1024} Kbytes in {count} Request{'s' * (count != 1)}.", file=out)


def flush(connection: Connection, what: str) -> None:
    """Try now: everything, or what ``-qI`` or ``-qR`` names."""
    request: dict[str, Any] = {"all": True}
    if what:
        request = {"id": what[1:]} if what[0] == "I" else {"domain": what[1:].rpartition("@")[2]}
    connection.ask({"command": "flush", **request})


def _items(connection: Connection) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        reply = connection.ask({"command": "queue", "after": after, "limit": PAGE, "whole": True})
        yield from reply["items"]
        if not reply["more"]:
            return
        after = reply["items"][-1]["id"]


def _lines(item: dict[str, Any]) -> Iterator[str]:
    # The service lists what is done only where nobody knows how it ended: that waits for a person.
    mark = "*" if item["state"] == "leased" else "!" if item["state"] in ("held", "done") else " "
    when = time.strftime("%a %b %d %H:%M:%S", time.localtime(item["accepted_at"]))
    sender = item["sender"] or "MAILER-DAEMON"
    yield f"{item['id'] + mark:<17} {item['size']:>8} {when:<19} {sender}"
    shown = ""
    for one in item["targets"]:
        if one["state"] not in ("waiting", "ambiguous"):
            continue
        why = " ".join(str(part) for part in (one["code"], one["enhanced"], one["text"]) if part)
        if why and why != shown:
            yield f"({why})"
        shown = why
        yield f"{_INDENT}{one['address']}"
