"""Compares what was acknowledged, what was sent, and the ledger. Pure but for the questions to the queue."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, frozen

from netsvc.outbox.postgres_database import PostgresDatabase


@frozen
class Receipt:
    """An acknowledgement: the queue id and the SHA-256 of the content, with the point that it was given in."""

    queue_id: str
    digest: str
    point: str


@define
class Sending:
    """One attempt as the peer saw it; times are monotonic seconds.

    :param digest: of what was taken; None when it was cut.
    """

    what: str
    pid: int
    began: float
    ended: float
    digest: str | None = None


def sendings(lines: Sequence[str], deaths: Mapping[int, float]) -> list[Sending]:
    """The attempts in the sink's file.

    :param deaths: when processes died, by pid: what they were sending ended then.
    """
    found: list[Sending] = []
    open_ones: dict[tuple[str, int], list[Sending]] = defaultdict(list)
    for line in lines:
        word, what, pid, at, *rest = line.split()
        if word == "begin":
            one = Sending(what, int(pid), float(at), deaths.get(int(pid), float("inf")))
            found.append(one)
            open_ones[what, int(pid)].append(one)
        else:
            one = open_ones[what, int(pid)].pop(0)
            one.ended = float(at)
            one.digest = rest[0] if rest else None
    return found


def compare(database: PostgresDatabase, receipts: Sequence[Receipt], sent: Sequence[Sending]) -> Iterator[str]:
    """What is wrong; nothing when custody was kept."""
    by_parcel: dict[str, list[Sending]] = defaultdict(list)
    for one in sorted(sent, key=lambda one: one.began):
        if by_parcel[one.what] and max(before.ended for before in by_parcel[one.what]) > one.began:
            yield f"{one.what} was sent by two at once"
        by_parcel[one.what].append(one)
    for receipt in receipts:
        summary, ledger = database.show(receipt.queue_id)
        if any(one.state != "delivered" for one in summary.targets):
            yield f"{receipt.queue_id} of {receipt.point} is not delivered"
        results = Counter((one.target, one.result) for one in ledger)
        if any(results[one.address, "delivered"] != 1 for one in summary.targets):
            yield f"{receipt.queue_id} of {receipt.point} has not one delivery for each target"
        attempts = len(ledger) / len(summary.targets)
        for parcel in summary.parcels:
            attempted = by_parcel[f"{receipt.queue_id}/{parcel.index}"]
            taken = [one.digest for one in attempted if one.digest is not None]
            if set(taken) != {receipt.digest}:
                yield f"{receipt.queue_id} of {receipt.point} did not come whole"
            if len(summary.parcels) == 1 and len(attempted) > attempts:
                yield f"{receipt.queue_id} of {receipt.point} was sent without a record"
            if len(taken) > 1 and not sum(count for (_, result), count in results.items() if result == "ambiguous"):
                yield f"{receipt.queue_id} of {receipt.point} came twice without a record"
    audit = database.audit()
    if not audit.balanced or audit.waiting:
        yield f"the books do not balance: {audit}"
    if audit.accepted < 2 * len(receipts):
        yield "the books have fewer than were acknowledged"
