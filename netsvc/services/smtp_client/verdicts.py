"""What has been decided about each recipient of one message: once decided, it stays. No I/O, no Twisted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve

from netsvc.services.smtp_client.conversation import SessionEnded, words
from netsvc.services.smtp_client.replies import Reply
from netsvc.services.smtp_client.terms import Outcome, Result

# Said at MAIL or later, these speak of the session, not of the message: RFC 4954 6, RFC 3207 4
_OF_THE_SESSION = frozenset({530, 534, 535, 538})


def result_of(reply: Reply) -> Result:
    """The result that a 2yz, 4yz or 5yz means."""
    if reply.severity == 2:
        return "delivered"
    return "retry" if reply.severity == 4 or reply.code in _OF_THE_SESSION else "permanent"


class Verdicts:
    """One place for each recipient, by their place in the envelope.

    :param scrub: takes our secrets out of the server's words.
    """

    def __init__(self, recipients: tuple[str, ...], scrub: Callable[[str], str]) -> None:
        self._recipients = recipients
        self._scrub = scrub
        self._outcomes: list[Outcome | None] = [None] * len(recipients)

    @property
    def open(self) -> list[int]:
        """Who has none yet."""
        return [at for at, outcome in enumerate(self._outcomes) if outcome is None]

    def all(self) -> tuple[Outcome, ...]:
        """One outcome per recipient; AssertionError while one is missing."""
        outcomes = tuple(outcome for outcome in self._outcomes if outcome is not None)
        if len(outcomes) != len(self._outcomes):
            raise AssertionError("a recipient was left without an outcome")
        return outcomes

    def settle(
        self,
        which: Iterable[int],
        result: Result,
        phase: str,
        *,
        text: str,
        code: int | None = None,
        enhanced: str | None = None,
    ) -> None:
        """Decide these; who is decided already keeps what he has."""
        for at in which:
            if self._outcomes[at] is None:
                self._outcomes[at] = Outcome(self._recipients[at], result, code, enhanced, text, phase)

    def settle_by(self, reply: Reply, phase: str, which: Iterable[int], result: Result | None = None) -> None:
        """Decide these by the server's words."""
        text = words(reply, self._scrub)
        self.settle(which, result or result_of(reply), phase, text=text, code=reply.code, enhanced=reply.enhanced)

    def settle_by_end(self, end: SessionEnded, phase: str, which: Iterable[int]) -> None:
        """Decide these, whom the message cannot have reached, now that the session has ended."""
        if end.reply is not None and end.reply.severity in {4, 5}:
            self.settle_by(end.reply, phase, which, "retry")
        else:
            code = end.reply.code if end.reply else None
            self.settle(which, "retry", phase, text=end.reason, code=code, enhanced=end.enhanced)

    def mark_notified(self, which: Iterable[int]) -> None:
        """The server answers for the notices to these."""
        for at in which:
            outcome = self._outcomes[at]
            if outcome is not None:
                self._outcomes[at] = evolve(outcome, notified=True)
