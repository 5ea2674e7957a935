"""Answers what is asked over the submission socket but for messages: the queue, one message, and what operators do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from netsvc.net.json_lines import Refusal
from netsvc.outbox.model import Attempt, Audit, NoSuchItemError, Selection, Summary, Target
from netsvc.outbox.runner import Runner
from netsvc.services.smtp_client.guide import MOST, Asked, Guide, Told
from netsvc.services.smtp_client.routing.answers import Decision
from netsvc.services.smtp_client.submission_wire import Query
from netsvc.services.smtp_client.terms import TLSWish
from netsvc.services.smtp_client.wishes import REQUIRE_TLS

SHOWN_TARGETS = 3  # recipients in a listing's line; show has all
PAGE_TARGETS = 5000  # recipients in a page of whole lines, and those of one item more
SHOWN_ATTEMPTS = 1000  # lines of a ledger, the newest


def line(summary: Summary) -> dict[str, Any]:
    """One line of a queue listing; times are seconds since 1970, sizes octets."""
    states = Counter(one.state for one in summary.targets)
    open_ones = summary.open or summary.targets
    return {
        **_item(summary),
        "recipients": len(summary.targets),
        "states": dict(states),
        "some": [one.address for one in open_ones[:SHOWN_TARGETS]],
        "last": reason(open_ones[0]),
    }


class Questions:
    """Answers, as JSON will have them.

    :param guide: tells where mail goes and how.
    :param now: the wall clock.
    """

    def __init__(self, runner: Runner, guide: Guide, now: Callable[[], float] = time.time) -> None:
        self._runner = runner
        self._guide = guide
        self._now = now

    async def answer(self, query: Query, peer: str, *, is_operator: bool) -> dict[str, Any]:
        """The answer to one question.

        :param peer: who asks, such as ``uid:1000``; who is no operator sees his own messages.
        :raises Refusal: he may not.
        :raises OutboxError: it cannot be done.
        """
        store = self._runner.store
        match query.command:
            case "audit":
                return {"ok": True, "audit": books(await store.audit())}
            case "queue":
                found = await store.listing(query.after, query.limit, None if is_operator else peer, query.done)
                items, rest = page(found, whole=query.whole)
                return {"ok": True, "items": items, "more": rest or len(found) == query.limit}
            case "show" | "explain":
                summary, attempts = await store.show(query.id)
                if not is_operator and summary.item.submitter != peer:
                    raise NoSuchItemError(f"there is no message {query.id}")
                item = whole(summary, attempts)
                if query.command == "explain":
                    item["ways"] = await self._where(summary)
                return {"ok": True, "item": item}
            case "route":
                return {"ok": True, "recipients": await self._route(query)}
        if not is_operator:
            raise Refusal("5.7.1", f"only the daemon's user and root may {query.command}")
        return {"ok": True, **await self._operate(query, peer)}

    async def _where(self, summary: Summary) -> list[dict[str, Any]]:
        """For each destination that something waits for: how it stands, and how mail goes there now."""
        open_ones = {one.index: one.destination for one in summary.parcels if one.state != "done"}
        wish = TLSWish(required=REQUIRE_TLS in summary.item.meta)
        asked: dict[str, Asked] = {}
        for one in summary.targets:
            if one.state == "waiting" and one.parcel in open_ones:
                domain = one.address.rpartition("@")[2]
                asked.setdefault(open_ones[one.parcel], Asked(domain, summary.item.sender, wish))
        told = await self._guide.ways(list(asked.values())[:MOST])
        ways = {destination: way.words() for destination, way in zip(asked, told, strict=False)}
        return [
            {**attrs.asdict(self._runner.destinations.standing(one)), "way": ways.get(one, {})}
            for one in dict.fromkeys(open_ones.values())
        ]

    async def _route(self, query: Query) -> list[dict[str, Any]]:
        """What would become of a message to a name: for each recipient whether it is taken, and how it goes on."""
        sender, recipients = self._guide.recipients(query.address, query.sender, query.domain)
        suppressed = await self._runner.store.suppressed(recipients)
        asked = {one: Asked(one.rpartition("@")[2], sender) for one in recipients if one not in suppressed}
        told = await self._guide.ways(list(asked.values())[:MOST])
        ways = dict(zip(asked, told, strict=False))
        return [_verdict(one, suppressed.get(one), ways.get(one)) for one in recipients]

    async def _operate(self, query: Query, operator: str) -> dict[str, Any]:
        store = self._runner.store
        match query.command:
            case "hold" | "release" | "requeue" | "remove" | "flush" as operation:
                chosen = Selection(queue_id=query.id or None, domain=query.domain or None, everything=query.all)
                done = await self._runner.operate(operation, chosen, operator)
                return {"items": done.items, "count": done.targets}
            case "suppress":
                await store.suppress(query.address, query.reason, operator, self._now())
                return {}
            case "unsuppress":
                return {"found": await store.unsuppress(query.address)}
        listed = await store.suppressions(query.after, query.limit)
        return {"addresses": [attrs.asdict(one) for one in listed], "more": len(listed) == query.limit}


def _verdict(address: str, suppressed: str | None, told: Told | None) -> dict[str, Any]:
    if suppressed is not None:
        return {"address": address, "result": "suppressed", "text": suppressed}
    if told is None:
        return {"address": address, "result": "unknown", "text": f"no more than {MOST} ways are looked up at once"}
    verdict = {"address": address, "result": "deliverable", "text": "", "hosts": told.hosts, "way": told.words()}
    if isinstance(told.found, Decision):
        text = f"{told.found.code} {told.found.enhanced} {told.found.text}"
        verdict.update(result=told.found.result, text=text)
    return verdict


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
        "parcels": [attrs.asdict(one) for one in summary.parcels],
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
