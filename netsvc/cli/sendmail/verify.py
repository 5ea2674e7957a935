"""``-bv``: what would become of a message to these addresses. The daemon is asked, which asks the DNS; nothing is sent.

Whether there is such a person only their own server knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TextIO

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import EX_DATAERR, EX_NOHOST, EX_NOUSER, EX_OK, EX_TEMPFAIL, Connection
from netsvc.cli.sendmail.addresses import AddressError, addresses
from netsvc.printable import printable

_WORST = (EX_NOUSER, EX_NOHOST, EX_TEMPFAIL, EX_OK)  # the status of several is the first of these that one has
_STATUS = {"deliverable": EX_OK, "suppressed": EX_NOUSER, "refused": EX_NOUSER, "permanent": EX_NOHOST}


def verify(
    connection: Connection,
    words: Sequence[str],
    worded: Callable[[str], str],
    ours: tuple[str, str],
    out: TextIO,
) -> int:
    """Print a line for each recipient.

    :param words: lists of addresses.
    :param worded: gives an address as SMTP has it.
    :param ours: the sender of the envelope, which may decide about the way, and the domain of names that the daemon
        does not complete.
    :return: the exit status, of the worst.
    :raises CommandError: the daemon cannot be asked.
    """
    found = set()
    for word in words:
        try:
            names = [one for one in addresses(word) if one]
        except AddressError as error:
            print(printable(f"{word}... {error}"), file=out)
            found.add(EX_NOUSER)
            continue
        for name in names:
            found |= {_tell(one, out) for one in _ask(connection, name, worded, *ours)}
    return next(one for one in _WORST if one in found or one == EX_OK)


def _ask(
    connection: Connection, name: str, worded: Callable[[str], str], sender: str, domain: str
) -> list[dict[str, Any]]:
    try:
        question = {"command": "route", "address": worded(name), "sender": sender, "domain": domain}
        reply = connection.ask(question)
    except (AddressError, CommandError) as error:
        if isinstance(error, CommandError) and error.status != EX_DATAERR:
            raise
        return [{"address": name, "result": "refused", "text": str(error)}]
    return list(reply["recipients"])


def _tell(one: dict[str, Any], out: TextIO) -> int:
    address, text = one["address"], one["text"]
    if one["result"] == "deliverable":
        mailer = "local" if "kept in" in one["way"] else f"smtp, host {one['hosts'][0]}"
        text = f"deliverable: mailer {mailer}, user {address}"
    print(printable(f"{address}... {text}"), file=out)
    return _STATUS.get(one["result"], EX_TEMPFAIL)
