"""Turns what the store knows into the JSON of the submission socket's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from netsvc.outbox.model import Attempt, Audit, Summary, Target

SHOWN_TARGETS = 3  # recipients in a listing's line; show has all
PAGE_TARGETS = 5000  # recipients in a page of whole lines, and those of one item more
SHOWN_ATTEMPTS = 1000  # lines of a ledger, the newest


def line(summary: Summary) -> dict[str, Any]:
    """One line of a queue listing; times are seconds since 1970, sizes octets."""
    states = Counter(one.state for one in summary.targets)
    open_ones = [one for one in summary.targets if one.state == "waiting"] or list(summary.targets)
    return {
        **_item(summary),
        "recipients": len(summary.targets),
        "states": dict(states),
        "some": [one.address for one in open_ones[:SHOWN_TARGETS]],
        "last": reason(open_ones[0]),
    }


def page(summaries: Sequence[Summary], *, whole: bool) -> tuple[list[dict[str, Any]], bool]:
    """The lines of a page, and whether there was no room for all of it.

    :param whole: with every recipient; then a page ends after some thousands of them.
    """
    if not whole:
        return [line(one) for one in summaries], False
    items: list[dict[str, Any]] = []
    count = 0
    for one in summaries:
        if count >= PAGE_TARGETS:
            return items, True
        items.append({**line(one), "targets": [attrs.asdict(each) for each in one.targets]})
        count += len(one.targets)
    return items, False


def whole(summary: Summary, attempts: Iterable[Attempt]) -> dict[str, Any]:
    """All that is known of an item."""
    return {
        **_item(summary),
        "key": summary.item.key,
        "meta": dict(summary.item.meta),
        "sha256": summary.item.sha256,
        "targets": [attrs.asdict(one) for one in summary.targets],
        "ledger": [attrs.asdict(one) for one in tuple(attempts)[-SHOWN_ATTEMPTS:]],
    }


def books(audit: Audit) -> dict[str, Any]:
    """The books, and whether they balance."""
    return {**attrs.asdict(audit), "balanced": audit.balanced}


def reason(target: Target) -> str:
    """Why a target is where it is: the last reply in one line, or nothing."""
    return " ".join(str(part) for part in (target.code, target.enhanced, target.text) if part)


def _item(summary: Summary) -> dict[str, Any]:
    item = summary.item
    return {
        "id": item.queue_id,
        "state": item.state,
        "sender": item.sender,
        "submitter": item.submitter,
        "size": item.size,
        "accepted_at": item.accepted_at,
        "next_at": item.next_at if item.state == "waiting" else None,
        "attempts": item.attempts,
    }
