"""Turns what the store knows into the JSON of the submission socket's answers. The numbers in it are masked already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs

from netsvc.outbox.model import Attempt, Audit, Summary

SHOWN_TARGETS = 3  # numbers in a listing's line; show has all
RECEIPT = "receipt-"  # what the results of such lines of the ledger begin with
SHOWN_ATTEMPTS = 1000  # lines of a ledger, the newest


def line(summary: Summary) -> dict[str, Any]:
    """One line of a queue listing; times are seconds since 1970."""
    open_ones = summary.open or summary.targets
    return {
        **_item(summary),
        "recipients": len(summary.targets),
        "states": dict(Counter(one.state for one in summary.targets)),
        "some": [one.address for one in open_ones[:SHOWN_TARGETS]],
        "last": open_ones[0].text,
    }


def whole(summary: Summary, attempts: Iterable[Attempt]) -> dict[str, Any]:
    """All that is known of an item. Not the digest of its content: a short code could be guessed from it."""
    ledger = tuple(attempts)
    receipts = {one.target: one for one in ledger if one.result.startswith(RECEIPT)}  # the last of each
    return {
        **_item(summary),
        "key": summary.item.key,
        "targets": [{**attrs.asdict(one), "receipt": _receipt(receipts.get(one.address))} for one in summary.targets],
        "ledger": [attrs.asdict(one) for one in ledger[-SHOWN_ATTEMPTS:]],
    }


def _receipt(told: Attempt | None) -> dict[str, Any] | None:
    """What the gateway told of a number after it had taken the message; None while it told nothing."""
    if told is None:
        return None
    return {"result": told.result.removeprefix(RECEIPT), "at": told.at, "text": told.text}


def books(audit: Audit) -> dict[str, Any]:
    """The books, and whether they balance."""
    return {**attrs.asdict(audit), "balanced": audit.balanced}


def _item(summary: Summary) -> dict[str, Any]:
    item = summary.item
    return {
        "id": item.queue_id,
        "state": item.state,
        "submitter": item.submitter,
        "template": item.meta.get("template", ""),
        "mail": item.meta.get("mail", ""),
        "segments": int(item.meta.get("segments", "1")),
        "accepted_at": item.accepted_at,
        "next_at": item.next_at if item.state == "waiting" else None,
        "attempts": item.attempts,
    }
