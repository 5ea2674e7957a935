"""``netsvc mail hold``, ``release``, ``requeue``, ``delete``, ``flush``, and the suppression list. For operators."""

from __future__ import annotations

import argparse
import json
from typing import Any

from netsvc.cli import mail_text
from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import EX_OK, EX_USAGE, Connection
from netsvc.cli.mail_socket import find_socket
from netsvc.printable import printable
from netsvc.services.smtp_client.submission_wire import MAX_PAGE

# word: (command of the protocol, what was done, help)
OPERATIONS = {
    "hold": ("hold", "held", "try a message no more until it is released"),
    "release": ("release", "released", "let go what is held; it is tried when it would have been"),
    "requeue": ("requeue", "requeued", "try again what bounced, expired, or is of unknown result"),
    "delete": ("remove", "deleted", "take a message out of the queue; nobody is told"),
    "flush": ("flush", "flushed", "try now what waits for its next try"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an operation."""
    parser.add_argument("id", metavar="ID", nargs="*", help="a queue id")
    parser.add_argument("--domain", metavar="NAME", help="what goes to this domain, or this destination")
    parser.add_argument("--all", action="store_true", help="everything")


def operate(arguments: argparse.Namespace) -> int:
    """Do it, one answer after the other; the exit status."""
    if bool(arguments.id) + (arguments.domain is not None) + arguments.all != 1:
        raise CommandError(EX_USAGE, "give queue ids, --domain NAME or --all")
    if arguments.id:
        chosen: list[dict[str, Any]] = [{"id": one} for one in arguments.id]
    else:
        chosen = [{"all": True} if arguments.all else {"domain": arguments.domain}]
    command, done, _ = OPERATIONS[arguments.what]
    with Connection(find_socket(arguments)) as connection:
        for one in chosen:
            reply = connection.ask({"command": command, **one})
            if arguments.json:
                print(json.dumps({**one, "messages": reply["items"], "recipients": reply["count"]}))
                continue
            what = mail_text.counted(reply["count"], "recipient")
            which = mail_text.counted(reply["items"], "message")
            print(f"{one['id']}: {what} {done}" if "id" in one else f"{what} of {which} {done}")
    return EX_OK


def configure_suppress(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of suppress."""
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; whoever sends to it is told")


def configure_unsuppress(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of unsuppress."""
    parser.add_argument("address", metavar="ADDRESS")


def suppress(arguments: argparse.Namespace) -> int:
    """Put an address on the list; the exit status."""
    with Connection(find_socket(arguments)) as connection:
        connection.ask({"command": "suppress", "address": arguments.address, "reason": arguments.reason})
    _say(arguments, "suppressed")
    return EX_OK


def unsuppress(arguments: argparse.Namespace) -> int:
    """Take an address off the list; the exit status."""
    with Connection(find_socket(arguments)) as connection:
        found = connection.ask({"command": "unsuppress", "address": arguments.address})["found"]
    _say(arguments, "no more suppressed" if found else "was not suppressed")
    return EX_OK


def _say(arguments: argparse.Namespace, state: str) -> None:
    line = {"address": arguments.address, "state": state}
    print(json.dumps(line) if arguments.json else printable(f"{arguments.address}: {state}"))


def suppressed(arguments: argparse.Namespace) -> int:
    """Print the list; the exit status."""
    after, limit = "", mail_text.width()
    with Connection(find_socket(arguments)) as connection:
        while True:
            reply = connection.ask({"command": "suppressed", "after": after, "limit": MAX_PAGE})
            for one in reply["addresses"]:
                if arguments.json:
                    print(json.dumps(one))
                    continue
                print(printable(f"{mail_text.time(one['since'])}  {one['address']}"))
                why = f"{one['reason']} (by {one['operator']})"
                print("\n".join(mail_text.lines(why, indent=21, limit=limit)))
            if not reply["more"]:
                return EX_OK
            after = reply["addresses"][-1]["address"]
