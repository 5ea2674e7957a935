"""SMTP on standard input and output, for ``-bs``: the conversation of our SMTP listener, with the socket behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from netsvc.cli.connection import CommandError
from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.listener.events import End, Message, Room, Terms
from netsvc.services.smtp_client.listener.wire import Conversation
from netsvc.services.smtp_client.submission_wire import MAX_RECIPIENTS

_STATUS = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3}) (.*)", re.S)


def serve(
    read: Callable[[], bytes],
    write: Callable[[bytes], object],
    hand_in: Callable[[dict[str, Any], bytes], str],
    *,
    host: str,
    max_message: int,
) -> None:
    """Talk until QUIT or the end of the input.

    :param read: gives what has come, or nothing at the end of the input.
    :param write: takes replies.
    :param hand_in: takes a request of the socket's protocol and a message; gives the queue id.
    :param host: our name.
    :param max_message: octets.
    """
    terms = Terms(host=host, max_message=max_message, max_recipients=MAX_RECIPIENTS, login=False, starttls=False)
    conversation = Conversation(terms, secure=False, near=True)
    while True:
        event = conversation.next()
        if isinstance(event, Message):
            _take(conversation, event, hand_in)
        elif isinstance(event, Room):
            conversation.go_ahead()
        write(conversation.output())
        if isinstance(event, End):
            return
        if event is None:
            data = read()
            if not data:
                return
            conversation.receive(data)


def _take(conversation: Conversation, message: Message, hand_in: Callable[[dict[str, Any], bytes], str]) -> None:
    request: dict[str, Any] = {"sender": message.sender, "recipients": list(message.recipients)}
    request |= {name: message.meta[name] for name in ("ret", "envid") if name in message.meta}
    if "notices" in message.meta:
        request["notices"] = json.loads(message.meta["notices"])
    try:
        queue_id = hand_in(request, message.content)
    except CommandError as error:
        status = _STATUS.fullmatch(str(error))
        # What has no status is no word of the daemon: there is none, or it cannot be reached.
        conversation.refused(Refusal(*status.groups()) if status else Refusal("4.3.0", str(error)))
    else:
        conversation.taken(queue_id, repeated=False)
