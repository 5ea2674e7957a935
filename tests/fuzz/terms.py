"""What every target is made of: a promise that is checked, octets in pieces, an eye on what is logged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import globalLogPublisher


def check(holds: object, what: object = "") -> None:
    """Fail unless something holds; assert statements could be switched off."""
    if not holds:
        raise AssertionError(what)


def pieces(data: bytes) -> list[bytes]:
    """Data cut where its first octet says."""
    if not data:
        return []
    size = data[0] % 13 + 1
    return [data[at : at + size] for at in range(0, len(data), size)]


@contextlib.contextmanager
def no_faults() -> Any:
    """Raise when something logs a failure of ours."""
    failures: list[Any] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"].getTraceback())

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    check(not failures, "\n".join(failures))


@frozen
class Target:
    """A parser's target.

    :param run: takes any octets.
    :param seeds: octets to begin with.
    """

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
