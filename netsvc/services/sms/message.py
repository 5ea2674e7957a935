"""A text message as the outbox keeps it: the numbers and the text are in the content, and nowhere else. No I/O.

The targets are masked names of the numbers, so that ledger, listing and log may show them; when the outbox drops the
content, what is left tells nobody whom the message went to or what it said.
"""

from __future__ import annotations

import json

from attrs import field, frozen


class MessageError(ValueError):
    """What the outbox holds is no text message of ours."""


@frozen
class TextMessage:
    """A message.

    :param numbers: E.164, in the order of the item's targets.
    """

    numbers: tuple[str, ...] = field(repr=False)
    text: str = field(repr=False)

    def encode(self) -> bytes:
        """The content of an item: the same message gives the same octets, so that a repetition is known."""
        whole = {"v": 1, "to": list(self.numbers), "text": self.text}
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def decode(content: bytes) -> TextMessage:
    """The message of an item's content.

    :raises MessageError: it is none.
    """
    try:
        whole = json.loads(content)
        if whole["v"] != 1:
            raise MessageError("the message was written by another version of netsvc")
        return TextMessage(tuple(map(str, whole["to"])), str(whole["text"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError("what is in the queue is no text message") from None
