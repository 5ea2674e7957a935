"""Answers the requests of the submission socket: an answer of ok means that the message is on the disk."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.net.json_lines import Refusal, refused
from netsvc.net.unix_peer import UnixPeer
from netsvc.outbox.model import (
    DamagedError,
    KeyConflictError,
    NoSuchItemError,
    OutboxError,
    StoreFullError,
    Submission,
    make_queue_id,
)
from netsvc.outbox.runner import Runner
from netsvc.services.sms import queries
from netsvc.services.sms.limits import Limits
from netsvc.services.sms.marks import Marks
from netsvc.services.sms.message import TextMessage
from netsvc.services.sms.numbers import NumberError, Numbering, labels
from netsvc.services.sms.segments import Segments, cut
from netsvc.services.sms.wire import Query, Send

PAGE = 1000  # items of the records that are read at once
REMEMBERED_KEYS = 10_000  # of messages that were counted: a repetition is not counted again


@frozen(kw_only=True)
class Rules:
    """What may be handed in, by whom.

    :param national_only: the gateway takes numbers of our own country only.
    :param destination: the gateway's word in the outbox, which leaves it alone for a time when it cannot be reached.
    :param operators: gives the uids that see everybody's messages and may remove and requeue them, as they are now.
    """

    numbering: Numbering
    national_only: bool
    max_segments: int
    max_recipients: int
    destination: str
    operators: Callable[[], frozenset[int]] = field(default=lambda: frozenset({0}))


class Desk:
    """Answers requests: the part without a transport.

    :param runner: the outbox.
    :param reactor: the clock of the limits.
    :param marks: by which numbers and messages are known again; asked for once the service has started.
    :param now: wall clock, seconds.
    """

    def __init__(  # noqa: PLR0917
        self,
        runner: Runner,
        rules: Rules,
        limits: Limits,
        reactor: IReactorTime,
        metrics: IMetrics,
        marks: Callable[[], Marks],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._runner = runner
        self._rules = rules
        self._limits = limits
        self._reactor: Any = reactor
        self._marks = marks
        self._now = now
        self._recalling = DeferredLock()
        self._has_recalled = not limits.reach
        self._counted: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._log = Logger(namespace=__name__)
        self._refusals = metrics.counter("sms_submissions_refused", "Messages that were not taken.", ("queue", "code"))
        self._segments = metrics.counter("sms_segments_accepted", "Segments taken, over all numbers.", ("queue",))

    async def answer(self, request: Send | Query, peer: UnixPeer) -> dict[str, Any]:
        """The reply; never raises."""
        try:
            if isinstance(request, Send):
                return await self.take(request, str(peer), {"pid": str(peer.pid)})
            return await self._query(request, peer)
        except Refusal as refusal:
            return self.refuse(refusal, peer)
        except KeyConflictError as error:
            return self.refuse(Refusal("5.5.4", str(error)), peer)
        except (NoSuchItemError, DamagedError) as error:
            return refused(Refusal("5.0.0", str(error)))
        except StoreFullError as error:
            return self.refuse(Refusal("4.3.1", str(error)), peer)
        except OutboxError as error:
            return self.refuse(Refusal("4.3.0", str(error)), peer)
        except Exception:  # noqa: BLE001 - one request's fault must not become the daemon's
            self._log.failure("a request failed by a fault of ours", event="sms-submission-fault")
            return refused(Refusal("4.3.0", "a fault in the daemon; its log says more"))

    def refuse(self, refusal: Refusal, peer: UnixPeer) -> dict[str, Any]:
        """The reply to what is not taken; logged and counted."""
        self._refusals.inc(queue=self._runner.queue, code=refusal.code)
        self._log.info(
            "refused a request of {peer}: {code} {reason}",
            event="sms-submission-refused",
            queue=self._runner.queue,
            peer=str(peer),
            code=refusal.code,
            reason=refusal.text,
        )
        return refused(refusal)

    def check(self, request: Send) -> None:
        """Whether a message may be sent; limits are not asked.

        :raises Refusal: it may not.
        """
        self._checked(request)

    def _checked(self, request: Send) -> tuple[tuple[str, ...], Segments]:
        try:
            numbers = tuple(dict.fromkeys(map(self._rules.numbering.normalise, request.to)))
        except NumberError as error:
            raise Refusal("5.1.3", str(error)) from None
        if len(numbers) > self._rules.max_recipients:
            raise Refusal("5.5.3", f"there are more than {self._rules.max_recipients} numbers")
        if self._rules.national_only and not all(map(self._rules.numbering.national, numbers)):
            raise Refusal("5.1.3", f"the gateway takes numbers of +{self._rules.numbering.country_code} only")
        segments = cut(request.text)
        if len(segments.parts) > self._rules.max_segments:
            raise Refusal(
                "5.3.4", f"the message has {len(segments.parts)} segments, more than {self._rules.max_segments}"
            )
        return numbers, segments

    async def take(
        self, request: Send, submitter: str, more: Mapping[str, str], not_before: float | None = None
    ) -> dict[str, Any]:
        """Take custody of a message; the reply.

        :param more: what else is kept with it.
        :param not_before: when it goes, wall clock; None: now.
        :raises Refusal: it is not taken.
        :raises OutboxError: it cannot be kept.
        """
        numbers, segments = self._checked(request)
        content = TextMessage(numbers, request.text).encode()
        marks = self._marks()
        await self._recall()
        counted = tuple(map(marks.of_number, numbers)) if self._limits.by_number else numbers
        meta = {**more, "template": request.template, "segments": str(len(segments.parts))}
        if request.key is not None:
            meta["content"] = marks.of_content(content)
        if self._limits.by_number:
            meta["numbers"] = " ".join(counted)
        marker = (submitter, request.key) if request.key is not None else None
        is_counted = marker is None or marker not in self._counted
        if is_counted:
            self._count(counted, request.template)
        try:
            accepted = await self._runner.accept(
                Submission(
                    submitter=submitter,
                    sender="",
                    targets=labels(numbers),
                    content=content,
                    destinations=(self._rules.destination,) * len(numbers),
                    key=request.key,
                    meta=meta,
                    not_before=not_before,
                )
            )
        except BaseException:
            if is_counted:
                self._limits.take_back(counted, request.template)
            raise
        if accepted.repeated and is_counted:
            self._limits.take_back(counted, request.template)
        if accepted.repeated:
            # The outbox compares the targets, which are masked: other numbers and other texts may look the same.
            summary, _ = await self._runner.store.show(accepted.queue_id)
            if marks.differs(summary.item.meta.get("content", ""), content):
                raise Refusal("5.5.4", "this key was used before, for another message")
        else:
            self._segments.inc(len(segments.parts) * len(numbers), queue=self._runner.queue)
        if marker is not None:
            self._remember(marker)
        self._log.info(
            "{queue_id} of {peer}: {segments} segments to {recipients} numbers",
            event="sms-accepted",
            queue=self._runner.queue,
            queue_id=accepted.queue_id,
            peer=submitter,
            segments=len(segments.parts),
            recipients=len(numbers),
            template=request.template,
            repeated=accepted.repeated,
        )
        return {
            "ok": True,
            "id": accepted.queue_id,
            "repeated": accepted.repeated,
            "segments": len(segments.parts),
            "alphabet": segments.alphabet,
        }

    def _count(self, numbers: tuple[str, ...], template: str) -> None:
        over = self._limits.take(numbers, template, self._reactor.seconds())
        if over is not None:
            name, wait = over
            if wait == math.inf:
                raise Refusal("5.7.1", f"so many numbers at once are more than {name} ever allows")
            raise Refusal("4.7.1", f"{name} is reached; again in {math.ceil(wait)} s")

    async def _recall(self) -> None:
        """Fill the limits from the records, once: a restart does not make them anew.

        :raises OutboxError: the records cannot be read; the next message tries again.
        """
        if self._has_recalled:
            return
        await self._recalling.acquire()
        try:
            if not self._has_recalled:
                await self._read_records()
        finally:
            self._recalling.release()

    async def _read_records(self) -> None:
        now, clock = self._now(), self._reactor.seconds()
        past: list[tuple[float, tuple[str, ...], str, int]] = []
        after = make_queue_id(now - self._limits.reach, lambda: 0.0)  # ids are in the order of time
        while True:
            page = await self._runner.store.listing(after, PAGE, None, True)
            for summary in page:
                meta, age = summary.item.meta, max(0.0, now - summary.item.accepted_at)
                numbers = tuple(meta.get("numbers", "").split())
                past.append((clock - age, numbers, meta.get("template", ""), len(summary.targets)))
                if summary.item.key is not None:
                    self._remember((summary.item.submitter, summary.item.key))
            if len(page) < PAGE:
                break
            after = page[-1].item.queue_id
        for at, numbers, template, count in sorted(past):
            self._limits.recall(numbers, template, count, at)
        self._has_recalled = True

    def _remember(self, marker: tuple[str, str]) -> None:
        self._counted[marker] = None
        if len(self._counted) > REMEMBERED_KEYS:
            self._counted.popitem(last=False)

    async def _query(self, query: Query, peer: UnixPeer) -> dict[str, Any]:
        store, is_operator = self._runner.store, peer.uid in self._rules.operators()
        if query.command == "audit":
            return {"ok": True, "audit": queries.books(await store.audit())}
        if query.command == "queue":
            page = await store.listing(query.after, query.limit, None if is_operator else str(peer), query.done)
            return {"ok": True, "items": [queries.line(one) for one in page], "more": len(page) == query.limit}
        if query.command == "show":
            summary, attempts = await store.show(query.id)
            if not is_operator and summary.item.submitter != str(peer):
                raise NoSuchItemError(f"there is no message {query.id}")
            return {"ok": True, "item": queries.whole(summary, attempts)}
        if not is_operator:
            raise Refusal("5.7.1", f"only the daemon's user and root may {query.command}")
        now = self._now()
        if query.command == "remove":
            count = await store.remove(query.id, str(peer), now)
        else:
            count = await store.requeue(query.id, str(peer), now)
            self._runner.wake()
        self._log.info(
            "{peer} did {command} {queue_id}: {count} numbers",
            event="sms-operated",
            queue=self._runner.queue,
            peer=str(peer),
            command=query.command,
            queue_id=query.id,
            count=count,
        )
        return {"ok": True, "count": count}
