"""Compares four books: what was acknowledged, what the peer took, the daemon's ledger, and its dead letters. Pure.

Custody is kept when every acknowledged message has a record, each of its recipients came to the end that the peer
meant for him, exactly once in the ledger, and every copy beyond the first is matched by an attempt of unknown result.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from benchmarks.mail_deaths.client import Receipt
from benchmarks.mail_deaths.script import DOMAIN, SENDER, SOCKET, Message
from benchmarks.mail_deaths.sink import Copy

TERMINAL = ("delivered", "permanent")  # results in the ledger behind which nothing may stand


@frozen(kw_only=True)
class Books:
    """All that is left of a point.

    :param items: as ``show`` gives them, but for those of before.
    :param before: the items that the queue had already, likewise.
    :param audit: of the daemon, over all of them.
    :param dead: how many dead letters hold a message, by its name.
    """

    receipts: Sequence[Receipt]
    copies: Sequence[Copy]
    flaws: Sequence[str]
    items: Sequence[Mapping[str, Any]]
    before: Sequence[Mapping[str, Any]]
    audit: Mapping[str, Any]
    dead: Mapping[str, int]

    @property
    def counted(self) -> Counter[tuple[str, str]]:
        """(name, recipient) -> copies, but for bounces."""
        return Counter((one.name, who) for one in self.copies if one.name for who in one.recipients)

    @property
    def duplicates(self) -> int:
        """Copies beyond the first."""
        return sum(count - 1 for count in self.counted.values())


def judge(books: Books) -> list[str]:
    """What is wrong, one sentence each; empty when custody was kept."""
    found = [f"the daemon to its peer: {one}" for one in books.flaws]
    found += _audit(books)
    owners: dict[str, list[Mapping[str, Any]]] = {}
    for item in books.items:
        owners.setdefault(_name(item, books.receipts), []).append(item)
    for item in owners.pop("", []):
        found.append(f"{item['id']} is nobody's: {[one['address'] for one in item['targets']]}")
    for receipt in books.receipts:
        name = receipt.message.name
        found += [f"message {name} was refused: {one}" for one in receipt.refusals]
        found += [f"message {name} {one}" for one in _message(receipt, owners.get(name, []), books)]
        bounces = owners.get(f"{SENDER}-{name}", [])
        found += [f"message {name} {one}" for one in _notices(receipt.message, owners.get(name, []), bounces, books)]
    digests = {one.message.name: one.message.digest for one in books.receipts}
    for copy in books.copies:
        if copy.name and digests.get(copy.name) != copy.digest:
            found.append(f"message {copy.name} arrived with another content")
        found += [f"message {copy.name or 'of our own'} came with {one}" for one in copy.problems]
    return found


def _name(item: Mapping[str, Any], receipts: Sequence[Receipt]) -> str:
    """Whose item it is: a message's name, or for a bounce ``sender-NAME``; "" for nobody's."""
    addresses = {one["address"] for one in item["targets"]}
    for receipt in receipts:
        if addresses == set(receipt.message.recipients) and item["sender"] == receipt.message.sender:
            return receipt.message.name
        if addresses == {receipt.message.sender} and item["sender"] == "":
            return f"{SENDER}-{receipt.message.name}"
    return ""


def _audit(books: Books) -> Iterator[str]:
    """The daemon's own books against its records."""
    audit, items = books.audit, (*books.items, *books.before)
    if not audit["balanced"]:
        yield f"the books do not balance: {dict(audit)}"
    states = Counter(one["state"] for item in items for one in item["targets"])
    for state in ("waiting", "delivered", "bounced", "expired", "removed", "ambiguous"):
        if audit[state] != states[state]:
            yield f"the audit says {audit[state]} {state}, and the records {states[state]}"
    unknown = sum(line["result"] == "ambiguous" for item in items for line in item["ledger"])
    if audit["unknown_attempts"] != unknown:
        yield f"the audit says {audit['unknown_attempts']} unknown results, and the ledger {unknown}"
    for item in books.before:
        if any(one["state"] != "delivered" for one in item["targets"]):
            yield f"{item['id']}, delivered long before, is not any more"


def _message(receipt: Receipt, items: Sequence[Mapping[str, Any]], books: Books) -> Iterator[str]:
    """What became of one message of the script."""
    message = receipt.message
    kept = {item["id"] for item in items}
    if receipt.ids - kept:
        yield f"was acknowledged as {sorted(receipt.ids)} and has no such record"
    if len(kept) > 1 or len(receipt.ids) > 1:
        yield f"is there as {sorted(kept)}, acknowledged as {sorted(receipt.ids)}"
    if receipt.status == "untried" and kept:
        yield "is in the queue and was never handed in whole"
    if receipt.is_due:
        yield "could not be handed in to the end"
    counted = books.counted
    arrived = sum(counted[message.name, one] for one in message.recipients)
    if not items and arrived:
        yield "arrived and has no record"
    if arrived != sum(count for (name, _), count in counted.items() if name == message.name):
        yield "arrived at somebody else"
    for item in items:
        if message.way == SOCKET and item["sha256"] != hashlib.sha256(message.content).hexdigest():
            yield "is in the queue with another content"
        for address, end in message.ends.items():
            copies = counted[message.name, address]
            yield from (f"for {address} {one}" for one in _target(item, address, end, copies))


def _target(item: Mapping[str, Any], address: str, end: str, copies: int) -> Iterator[str]:
    """What became of one recipient."""
    state = {one["address"]: one["state"] for one in item["targets"]}[address]
    went = [line["result"] for line in item["ledger"] if line["target"] == address]
    if state != end:
        yield f"is {state} after {went}, not {end}"
    if sum(one in TERMINAL for one in went) != 1 or went[-1] not in TERMINAL:
        yield f"has a ledger without exactly one end: {went}"
    if end == "delivered" and not copies:
        yield "is said to be delivered and did not arrive"
    if end == "bounced" and copies:
        yield "came back although it had arrived"
    if copies > 1 + went.count("ambiguous"):
        yield f"came {copies} times with {went.count('ambiguous')} attempts of unknown result"


def _notices(
    message: Message, items: Sequence[Mapping[str, Any]], bounces: Sequence[Mapping[str, Any]], books: Books
) -> Iterator[str]:
    """What its sender was told: of each recipient who refused it, once; or, without a sender, its dead letter."""
    refused = [one for one, end in message.ends.items() if end == "bounced"] if items else []
    letters = books.dead.get(message.name, 0)
    if letters != (len(refused) if message.null else 0):
        yield f"has {letters} dead letters"
    if message.null:
        return
    told = Counter(who for copy in books.copies if not copy.name for who in copy.reported)
    unknown = sum(line["result"] == "ambiguous" for item in bounces for line in item["ledger"])
    if len(bounces) > len(refused):
        yield f"has {len(bounces)} bounces for {len(refused)} refusals"
    for one in refused:
        if not 1 <= told[one] <= 1 + unknown:
            yield f"has told {SENDER}-{message.name}@{DOMAIN} {told[one]} times of {one}"
    for bounce in bounces:
        if any(one["state"] != "delivered" for one in bounce["targets"]):
            yield f"has a bounce {bounce['id']} that was not delivered"
