"""A DNS of the test's own, in memory."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from netsvc.services.smtp_client.routing.answers import MX, TLSA, Answer
from netsvc.services.smtp_client.routing.ourselves import Ourselves

T = TypeVar("T")

NOBODY = Ourselves(look=False)
FAILED: Answer[Any] = Answer("failed", reason="SERVFAIL")
NO_NAME: Answer[Any] = Answer("no-name")
NOTHING: Answer[Any] = Answer("nothing")


def found(*records: T, secure: bool = False, name: str = "") -> Answer[T]:
    """Records, as a resolver gives them."""
    return Answer("found", records, name=name, secure=secure, ttl=300)


def now(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    results: list[T] = []
    Deferred.fromCoroutine(work).addCallback(results.append)
    (result,) = results
    return result


class Names:
    """Answers from tables; what is in none has no name. It remembers what it was asked."""

    def __init__(
        self,
        *,
        mx: dict[str, Answer[MX]] | None = None,
        addresses: dict[str, Answer[str]] | None = None,
        txt: dict[str, Answer[str]] | None = None,
        tlsa: dict[tuple[str, int], Answer[TLSA]] | None = None,
    ) -> None:
        self.mx_answers = mx or {}
        self.address_answers = addresses or {}
        self.txt_answers = txt or {}
        self.tlsa_answers = tlsa or {}
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Answer[MX]:
        self.asked.append(domain)
        return self.mx_answers.get(domain, NO_NAME)

    async def addresses(self, host: str) -> Answer[str]:
        self.asked.append(host)
        return self.address_answers.get(host, NO_NAME)

    async def txt(self, name: str) -> Answer[str]:
        self.asked.append(name)
        return self.txt_answers.get(name, NO_NAME)

    async def tlsa(self, host: str, port: int) -> Answer[TLSA]:
        self.asked.append(f"_{port}._tcp.{host}")
        return self.tlsa_answers.get((host, port), NO_NAME)
