"""Writes refusals to the log, every one of them at first and counted sums in a flood.

Memory and lines are bounded: a source and reason that were just written are summed up until the
next interval, and beyond CAPACITY pairs all are summed up together.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

INTERVAL = 10.0  # seconds between two lines on the same source and reason
CAPACITY = 1024  # pairs of source and reason that are told apart

_EVERYBODY = "others"


class RefusalLog:
    """The refusals of one service.

    :param clock: an IReactorTime.
    :param service: the section's name.
    """

    def __init__(self, clock: Any, service: str, log: Logger) -> None:
        self._clock = clock
        self._service = service
        self._log = log
        self._held: dict[tuple[str, str], int] = {}
        self._call: Any = None

    def refused(self, source: str, reason: str, rule: str) -> None:
        """Note one refusal.

        :param source: the peer's address.
        :param reason: the word that metrics use.
        :param rule: the rule that refused, in words.
        """
        key = (source, reason)
        if key not in self._held and len(self._held) >= CAPACITY:
            key = (_EVERYBODY, reason)
        if key in self._held:
            self._held[key] += 1
            return
        self._held[key] = 0
        self._log.info(
            "refused {peer}: {rule}",
            event="connection-refused",
            service=self._service,
            peer=source,
            reason=reason,
            rule=rule,
        )
        if self._call is None:
            self._call = self._clock.callLater(INTERVAL, self._flush)

    def close(self) -> None:
        """Write the sums that are held; the service stops."""
        if self._call is not None:
            self._call.cancel()
            self._flush()

    def _flush(self) -> None:
        self._call = None
        held, self._held = self._held, {}
        for (source, reason), count in held.items():
            if count:
                self._log.info(
                    "refused {peer} {count} times more: {reason}",
                    event="connection-refused",
                    service=self._service,
                    peer=source,
                    reason=reason,
                    count=count,
                )
