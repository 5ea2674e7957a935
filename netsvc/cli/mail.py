"""``netsvc mail``: send mail through the queue, and look into it. Asks the daemon; never opens the queue itself."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from netsvc.cli import mail_item, mail_operate, mail_queue, mail_send, torture
from netsvc.cli.connection import CommandError, Unreachable
from netsvc.cli.mail_connection import EX_OK, EX_SOFTWARE, EX_UNAVAILABLE, Connection
from netsvc.cli.mail_socket import add_where, find_socket
from netsvc.printable import printable

Configure = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    parsers = parser.add_subparsers(metavar="WHAT", dest="what", required=True)
    send = parsers.add_parser("send", help="send a message", description="Send a message.")
    mail_send.configure(send)
    send.set_defaults(mail=mail_send.run)

    def add(word: str, line: str, configure: Configure, run: Run) -> None:
        one = parsers.add_parser(word, help=line, description=f"{line[0].upper()}{line[1:]}.")
        configure(one)
        one.add_argument("--json", action="store_true", help="print JSON; times are seconds since 1970")
        add_where(one)
        one.set_defaults(mail=run)

    add("queue", "list what waits, the oldest first", mail_queue.configure, mail_queue.run)
    add("show", "show one message and its ledger", mail_item.configure, mail_item.run)
    add("explain", "tell why a message waits, and how it will go", mail_item.configure, mail_item.run)
    add("log", "list what was tried for a message", mail_item.configure, mail_item.run)
    add("audit", "prove that nothing is lost: accepted, and what became of it", lambda _: None, _audit)
    for word, (_, _, line) in mail_operate.OPERATIONS.items():
        add(word, line, mail_operate.configure, mail_operate.operate)
    add("suppress", "take nothing more for an address", mail_operate.configure_suppress, mail_operate.suppress)
    add("unsuppress", "take mail for an address again", mail_operate.configure_unsuppress, mail_operate.unsuppress)
    add("suppressed", "list the addresses that nothing is taken for", lambda _: None, mail_operate.suppressed)
    torture.configure(parsers)


def run(arguments: argparse.Namespace) -> int:
    """Do it; the exit status is 0 or one of sysexits(3)."""
    try:
        status: int = arguments.mail(arguments)
    except CommandError as error:
        text = str(error)
        if isinstance(error, Unreachable) and error.status == EX_UNAVAILABLE:
            text += "; --config or --socket says where one is"  # unlike sendmail, which has no such words
        print(printable(f"netsvc mail {arguments.what}: ") + _lines(text), file=sys.stderr)
        return error.status
    return status


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _audit(arguments: argparse.Namespace) -> int:
    with Connection(find_socket(arguments)) as connection:
        books: dict[str, Any] = connection.ask({"command": "audit"})["audit"]
    if arguments.json:
        print(json.dumps(books))
    else:
        parts = ("delivered", "bounced", "expired", "removed", "waiting", "ambiguous")
        total = sum(books[part] for part in parts)
        width = max(len(str(books["accepted"])), len(str(total)))
        print(f"{'accepted':12} {books['accepted']:>{width}}")
        for part in parts:
            print(f"  {part:10} {books[part]:>{width}}")
        print(f"attempts with unknown result: {books['unknown_attempts']}")
        print("The books balance." if books["balanced"] else f"THE BOOKS DO NOT BALANCE: {total} are accounted for.")
    return EX_OK if books["balanced"] else EX_SOFTWARE
