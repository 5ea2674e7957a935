"""Hands messages in by all three ways at once, as programs do, and writes down what was acknowledged.

What nobody answered for is handed in again in the next life when it has an idempotency key. Without one it is not: it
may have been taken.
"""

from __future__ import annotations

import http.client
import json
import re
import smtplib
import threading
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Literal

from attrs import define, field

from benchmarks.mail_deaths.life import OTHER, TOKEN, Life
from benchmarks.mail_deaths.script import LISTENER, SOCKET, WAYS, Message
from benchmarks.processes import LOOPBACK
from netsvc.cli.connection import CommandError, Unreachable
from netsvc.cli.mail_connection import Connection

PATIENCE = 60.0  # seconds for an answer

_KEPT = re.compile(rb"kept as ([0-9a-z]{15})\b")


class RefusedError(Exception):
    """The daemon did not take what it must take."""


@define
class Receipt:
    """What the client knows of a message.

    :ivar status: ``unknown``: it was handed in, and no answer came.
    :ivar ids: the acknowledgements: one queue id, also of what is handed in twice.
    :ivar refusals: what the daemon said in their place.
    """

    message: Message
    status: Literal["untried", "unknown", "acknowledged"] = "untried"
    ids: set[str] = field(factory=set)
    refusals: list[str] = field(factory=list)

    @property
    def is_due(self) -> bool:
        """Whether it is to be handed in, or once more."""
        return self.status == "untried" or (self.status == "unknown" and self.message.key is not None)


def hand_in(life: Life, receipts: Sequence[Receipt]) -> None:
    """Hand in what is due; returns when all is answered, or the daemon is dead."""
    threads = [
        threading.Thread(target=_one_way, args=(life, [one for one in receipts if one.message.way == way]))
        for way in WAYS
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _one_way(life: Life, receipts: Iterable[Receipt]) -> None:
    send = {LISTENER: _by_listener, SOCKET: _by_socket}.get
    for receipt in receipts:
        way = send(receipt.message.way, _by_endpoint)
        if not receipt.is_due:
            continue
        try:
            for _ in range(2 if receipt.message.twice else 1):
                receipt.ids.add(way(life, receipt))
                receipt.status = "acknowledged"
        except RefusedError as refusal:
            receipt.refusals.append(str(refusal))
        except (OSError, smtplib.SMTPException, http.client.HTTPException, Unreachable):
            return  # it is dead


def _by_listener(life: Life, receipt: Receipt) -> str:
    message = receipt.message
    content = message.content
    if message.key is not None:
        content = f"Netsvc-Idempotency-Key: {message.key}\r\n".encode() + content
    client = smtplib.SMTP(LOOPBACK, life.listener, timeout=PATIENCE)
    try:
        client.ehlo("client.example")
        for line in (
            f"MAIL FROM:<{message.sender}> BODY=8BITMIME",
            *(f"RCPT TO:<{one}>" for one in message.recipients),
        ):
            _expect(250, *client.docmd(line))
        _expect(354, *client.docmd("DATA"))
        receipt.status = "unknown"
        client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
        found = _KEPT.search(_expect(250, *client.getreply()))
        if found is None:  # half an answer
            raise smtplib.SMTPServerDisconnected
        return found[1].decode()
    finally:
        client.close()


def _expect(wanted: int, code: int, text: bytes) -> bytes:
    if code == -1:
        raise smtplib.SMTPServerDisconnected
    if code != wanted:
        raise RefusedError(f"{code} {text!r}")
    return text


def _by_socket(life: Life, receipt: Receipt) -> str:
    message = receipt.message
    head = {"command": "send", "sender": message.sender, "recipients": list(message.recipients)}
    if message.key is not None:
        head["key"] = message.key
    with Connection(life.socket) as connection:
        receipt.status = "unknown"
        try:
            reply = connection.ask({**head, "length": len(message.content)}, message.content)
        except Unreachable:
            raise
        except CommandError as error:
            raise RefusedError(str(error)) from None
    return str(reply["id"])


def _by_endpoint(life: Life, receipt: Receipt) -> str:
    message = receipt.message
    query = urllib.parse.urlencode([("from", message.sender), *(("to", one) for one in message.recipients)])
    headers = {"Content-Type": "message/rfc822", "Authorization": f"Bearer {TOKEN}"}
    if message.key is not None:
        headers["Idempotency-Key"] = message.key
    connection = http.client.HTTPConnection(OTHER, life.endpoint, timeout=PATIENCE)
    try:
        connection.connect()
        receipt.status = "unknown"
        connection.request("POST", f"/v1/messages?{query}", message.content, headers)
        response = connection.getresponse()
        said = response.read()
    finally:
        connection.close()
    if response.status != http.client.ACCEPTED:
        raise RefusedError(f"{response.status} {said!r}")
    return str(json.loads(said)["id"])
