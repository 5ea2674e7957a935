"""Hands a message to the daemon and holds on through its restart: the answer of ok means that it is on the disk.

Each message that brings no idempotency key gets one, so one whose answer got lost is sent again without a second copy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from netsvc.cli.connection import CommandError, Unreachable
from netsvc.cli.mail_connection import EX_NOPERM, EX_PROTOCOL, Connection, socket_places

PATIENCE = 5.0  # seconds that a restart of the daemon may take, and more
PAUSE = 0.1  # seconds between two tries


def connect(environ: Mapping[str, str]) -> Connection:
    """A connection to the first daemon that answers: $NETSVC_MAIL_SOCKET, else the usual places.

    :raises CommandError: none does; with the reason of the likeliest.
    """
    named = environ.get("NETSVC_MAIL_SOCKET")
    places = [named] if named else list(socket_places(environ))
    refusals: list[CommandError] = []
    for place in places:
        try:
            return Connection(place)
        except CommandError as error:
            refusals.append(error)
    forbidden = [one for one in refusals if one.status == EX_NOPERM]
    raise (forbidden or refusals)[0]


def hand_in(
    request: Mapping[str, Any],
    content: bytes,
    environ: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Submit a message; its queue id.

    :param request: sender and recipients, and what else the protocol's send has.
    :raises CommandError: it was not taken.
    """
    whole = {"command": "send", "key": f"sendmail-{os.urandom(16).hex()}", **request, "length": len(content)}
    end = clock() + PATIENCE
    while True:
        try:
            with connect(environ) as connection:
                queue_id = connection.ask(whole, content).get("id")
        except Unreachable:
            if clock() >= end:
                raise
            sleep(PAUSE)
            continue
        if not (isinstance(queue_id, str) and queue_id.isalnum() and queue_id.isascii()):
            raise CommandError(EX_PROTOCOL, "the mail service gave no queue id")
        return queue_id
