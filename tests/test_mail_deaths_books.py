"""The judge of the crash campaign finds what it is for."""

from __future__ import annotations

import hashlib
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.mail_deaths.books import Books, judge
from benchmarks.mail_deaths.client import Receipt
from benchmarks.mail_deaths.script import SOCKET, Message
from benchmarks.mail_deaths.sink import Copy

OK, NEVER = "ok-m@one.example", "never-m@one.example"
MESSAGE = Message(name="m", way=SOCKET, recipients=(OK, NEVER))
COPY = Copy("m", MESSAGE.digest, (OK,), (), ())
BOUNCE = Copy("", "of a bounce", (MESSAGE.sender,), (NEVER,), ())


def item(queue_id: str, sender: str, content: bytes = b"", **results: list[str]) -> dict[str, Any]:
    """An item by the results of its recipients' attempts."""
    states = {"delivered": "delivered", "permanent": "bounced"}
    addresses = {"ok": OK, "never": NEVER, "back": MESSAGE.sender}
    return {
        "id": queue_id,
        "sender": sender,
        "sha256": hashlib.sha256(content).hexdigest(),
        "targets": [
            {"address": addresses[who], "state": states.get(went[-1], "waiting")} for who, went in results.items()
        ],
        "ledger": [{"target": addresses[who], "result": one} for who, went in results.items() for one in went],
    }


def books(*items: dict[str, Any], copies: tuple[Copy, ...] = (COPY, BOUNCE), **changed: Any) -> Books:
    """Books whose audit agrees with the items."""
    states = [one["state"] for each in items for one in each["targets"]]
    audit: dict[str, Any] = {
        one: states.count(one) for one in ("waiting", "delivered", "bounced", "expired", "removed", "ambiguous")
    }
    unknown = sum(line["result"] == "ambiguous" for each in items for line in each["ledger"])
    whole = {
        "receipts": [Receipt(MESSAGE, "acknowledged", {"1"})],
        "copies": copies,
        "flaws": (),
        "items": items,
        "before": (),
        "audit": {**audit, "balanced": True, "unknown_attempts": unknown},
        "dead": {},
    }
    return Books(**{**whole, **changed})


KEPT = item("1", MESSAGE.sender, MESSAGE.content, ok=["delivered"], never=["permanent"])
TOLD = item("2", "", back=["delivered"])


class Judging(SynchronousTestCase):
    def assert_finds(self, given: Books, words: str) -> None:
        self.assertIn(words, "; ".join(judge(given)))

    def test_custody_kept(self) -> None:
        """Nothing is found where nothing is, nor when a second copy has an attempt of unknown result."""
        self.assertEqual(judge(books(KEPT, TOLD)), [])
        twice = item("1", MESSAGE.sender, MESSAGE.content, ok=["ambiguous", "delivered"], never=["permanent"])
        self.assertEqual(judge(books(twice, TOLD, copies=(COPY, COPY, BOUNCE))), [])

    def test_loss(self) -> None:
        """What has no record, did not arrive, or still waits is found, and so is a bounce that nobody got."""
        self.assert_finds(books(copies=()), "was acknowledged as ['1'] and has no such record")
        self.assert_finds(books(KEPT, TOLD, copies=(BOUNCE,)), "is said to be delivered and did not arrive")
        waits = item("1", MESSAGE.sender, MESSAGE.content, ok=["retry"], never=["permanent"])
        self.assert_finds(books(waits, TOLD), "is waiting after ['retry'], not delivered")
        self.assert_finds(books(KEPT, copies=(COPY,)), "has told sender-m@one.example 0 times")
        dead = evolve(MESSAGE, null=True)
        receipts = [Receipt(dead, "acknowledged", {"1"})]
        self.assert_finds(books({**KEPT, "sender": ""}, receipts=receipts, copies=(COPY,)), "has 0 dead letters")

    def test_too_much(self) -> None:
        """A copy without a record, a second record, and what is nobody's are found."""
        self.assert_finds(books(KEPT, TOLD, copies=(COPY, COPY, BOUNCE)), "came 2 times with 0 attempts of unknown")
        self.assert_finds(books(KEPT, {**KEPT, "id": "3"}, TOLD), "is there as ['1', '3']")
        self.assert_finds(books(KEPT, TOLD, item("4", "a@x", ok=["delivered"])), "4 is nobody's")

    def test_altered(self) -> None:
        """Another content, with the peer or in the queue, is found; books that do not balance are."""
        self.assert_finds(books(KEPT, TOLD, copies=(evolve(COPY, digest="?"), BOUNCE)), "arrived with another content")
        self.assert_finds(books({**KEPT, "sha256": "?"}, TOLD), "is in the queue with another content")
        audit = {**books(KEPT, TOLD).audit, "balanced": False, "delivered": 1}
        self.assert_finds(books(KEPT, TOLD, audit=audit), "do not balance")
        self.assert_finds(books(KEPT, TOLD, audit=audit), "the audit says 1 delivered, and the records 2")
