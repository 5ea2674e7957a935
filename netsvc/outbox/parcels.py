"""Divides the targets of a submission into parcels: what goes one way together, a hundred at most. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

MOST = 100  # targets in a parcel: RFC 5321 4.5.3.1.8, the number of recipients that every server must take


@frozen
class Division:
    """One parcel to be.

    :param indexes: of its targets in the submission, in their order.
    """

    destination: str
    indexes: tuple[int, ...]


def divide(count: int, destinations: Sequence[str]) -> tuple[Division, ...]:
    """The parcels of so many targets.

    :param destinations: the word of each target; empty: one way for all, the word "".
    """
    by_destination: dict[str, list[int]] = {}
    for index in range(count):
        by_destination.setdefault(destinations[index] if destinations else "", []).append(index)
    return tuple(
        Division(destination, tuple(indexes[start : start + MOST]))
        for destination, indexes in by_destination.items()
        for start in range(0, len(indexes), MOST)
    )
