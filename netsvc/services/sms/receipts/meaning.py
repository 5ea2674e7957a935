"""What a receipt says: which message it is of, and what became of that. No I/O.

    table = one line each: 1*STATUS "->" ( "delivered" / "failed" / "unknown" / "pending" )

A receipt that comes by itself has its parameters in the query, a form, or JSON; paths lead into it as into the JSON of
a reply, whatever it came as. With [*] in the path of the name there are several in one.
"""

from __future__ import annotations

import json
from typing import Literal
from urllib.parse import parse_qsl

from attrs import field, frozen

from netsvc.config.values import nearest
from netsvc.errors import BadValue
from netsvc.services.sms.reply import MAX_WORDS, Path, Reply

Fate = Literal["delivered", "failed", "unknown", "pending"]
FATES = ("delivered", "failed", "unknown", "pending")
MOST = 1000  # receipts in one request
MAX_NAME = 200  # characters of a name: a gateway's own have some 40


@frozen(kw_only=True)
class ReceiptRules:
    """How receipts are read.

    :param id: where the gateway's name for the message stands, or {id}.
    :param status: where it stands what became of it.
    :param reason: where more of that stands, or None.
    :param table: what statuses mean; others are pending.
    """

    id: Path
    status: Path
    reason: Path | None = None
    table: tuple[tuple[str, Fate], ...] = ()


@frozen(kw_only=True)
class Receipt:
    """One receipt.

    :param status: the gateway's own word.
    :param words: its explanation, as it came.
    """

    name: str
    fate: Fate
    status: str
    words: str = field(default="", repr=False)


def read(rules: ReceiptRules, said: Reply) -> tuple[Receipt, ...]:
    """The receipts in what came; none when it is none of ours."""
    names, statuses = rules.id.values(said), rules.status.values(said)
    reasons = rules.reason.values(said) if rules.reason else []
    found: list[Receipt] = []
    for at, (name, status) in enumerate(zip(names, statuses, strict=False)):
        if name and status and len(name) <= MAX_NAME and len(found) < MOST:
            words = reasons[at] if at < len(reasons) else None
            found.append(Receipt(name=name, fate=fate(rules, status), status=status[:MAX_WORDS], words=words or ""))
    return tuple(found)


def fate(rules: ReceiptRules, status: str) -> Fate:
    """What a status means."""
    return dict(rules.table).get(status, "pending")


def arrived(query: str, body: bytes, media_type: str) -> Reply:
    """A request of the gateway's, as if it were a reply in JSON; the body's parameters go before those of the query."""
    if media_type == "application/json":
        return Reply(200, body)
    pairs = parse_qsl(query, keep_blank_values=True)
    if media_type == "application/x-www-form-urlencoded":
        pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return Reply(200, json.dumps(dict(pairs)).encode())


def parse_table(text: str) -> tuple[tuple[str, Fate], ...]:
    """Understand a table of statuses.

    :raises BadValue: a line of it is none.
    """
    found: dict[str, Fate] = {}
    at = 0
    for line in text.split("\n"):
        if line.strip():
            statuses, arrow, meaning = line.partition("->")
            word = meaning.strip()
            if not arrow or not statuses.split():
                raise BadValue("a line of receipts is STATUS STATUS -> MEANING", at=at)
            if word not in FATES:
                where = at + line.index("->") + 2
                raise BadValue(f"{word!r} is not one of {', '.join(FATES)}", at=where, suggestion=nearest(word, FATES))
            for status in statuses.split():
                if status in found:
                    raise BadValue(f"the status {status} stands twice", at=at + line.index(status))
                found[status] = word  # type: ignore[assignment]  # one of FATES
        at += len(line) + 1
    return tuple(found.items())
