"""What passes between the daemon and an agent: frames of a kind, a head in JSON and octets. No I/O, no Twisted.

The agent speaks with strangers, so what it says is looked at like any input; it is never unpickled. What the daemon
says is believed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from attrs import frozen

from netsvc.outbox.model import Item, Lease, Outcome, Target

SETTINGS: Final = 1  # to the agent: the head is its name, the octets are pickled settings; comes first and once
ATTEMPT: Final = 2  # to the agent: make this attempt; the octets are the content
STOP: Final = 3  # to the agent: cut this attempt short, and say what came of it
QUIT: Final = 4  # to the agent: close what is kept, and end
READY: Final = 5  # from the agent: attempts may come
OUTCOMES: Final = 6  # from the agent: what came of an attempt
LOG: Final = 7  # from the agent: an event for the daemon's log
LARGE_ATTEMPT: Final = 8  # to the agent: as ATTEMPT, but the content is behind the descriptor that comes along

LARGE: Final = 128 << 10  # octets of a content that goes so
LOOK: Final = 9  # to the agent, and back from it: it is alive

MAX_REPORT = 16 << 20  # octets of a frame from an agent: a thousand outcomes with long replies are much shorter

_PREFIX = struct.Struct("!BII")
_RESULTS = frozenset({"delivered", "retry", "permanent", "ambiguous"})


class BrokenFrameError(Exception):
    """What came is no frame that we know."""


@frozen
class Frame:
    """One frame; `head` is what the JSON says."""

    kind: int
    head: Any
    octets: bytes


def frame(kind: int, head: Any, octets: bytes = b"") -> bytes:
    """A frame as it is sent."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_PREFIX.pack(kind, len(text), len(octets)), text, octets))


class Frames:
    """Frames out of octets as they come.

    :param longest: octets of a head and its octets together; None: no limit.
    """

    def __init__(self, longest: int | None = None) -> None:
        self._longest = longest
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now.

        :raises BrokenFrameError: this is no frame; nothing sensible can follow.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _PREFIX.size:
                kind, head, octets = _PREFIX.unpack_from(buffer, at)
                if self._longest is not None and head + octets > self._longest:
                    raise BrokenFrameError(f"a frame of {head + octets} octets")
                start = at + _PREFIX.size
                end = start + head + octets
                if len(buffer) < end:
                    break
                at = end
                with memoryview(buffer) as view:
                    text, rest = bytes(view[start : start + head]), bytes(view[start + head : end])
                try:
                    found = json.loads(text)
                except (ValueError, RecursionError):
                    raise BrokenFrameError("a head that is no JSON") from None
                yield Frame(kind, found, rest)
        finally:
            del buffer[:at]


def attempt(number: int, lease: Lease, content: bytes) -> bytes:
    """The frame that asks for an attempt.

    :param number: of the attempt, for its answer.
    """
    return frame(ATTEMPT, _asked(number, lease), content)


def large_attempt(number: int, lease: Lease) -> bytes:
    """The same without the content, which goes with a descriptor."""
    return frame(LARGE_ATTEMPT, _asked(number, lease))


def _asked(number: int, lease: Lease) -> Any:
    item = lease.item
    said = (item.queue_id, item.submitter, item.sender, dict(item.meta), item.accepted_at)
    targets = [(one.index, one.address) for one in lease.targets]
    return (number, said, lease.destination, lease.parcel, targets)


def read_attempt(frame: Frame, content: bytes) -> tuple[int, Lease]:
    """The number of an attempt, and as much of its lease as an attempt needs."""
    number, (queue_id, submitter, sender, meta, accepted_at), destination, parcel, targets = frame.head
    item = Item(
        queue_id=queue_id,
        submitter=submitter,
        sender=sender,
        key=None,
        meta=meta,
        size=len(content),
        sha256="",
        accepted_at=accepted_at,
        state="leased",
        attempts=0,
        recoveries=0,
        waited=0.0,
        scheduled_at=accepted_at,
        next_at=accepted_at,
    )
    waiting = tuple(Target(index=index, address=address) for index, address in targets)
    lease = Lease(item=item, targets=waiting, owner="", fence=0, claimed_at=0.0, destination=destination, parcel=parcel)
    return number, lease


def outcomes(number: int, found: Iterable[Outcome], notified: Collection[str]) -> bytes:
    """The frame that tells what came of an attempt.

    :param notified: see :meth:`netsvc.services.smtp_client.way.Way.notified`.
    """
    lines = [(one.target, one.result, one.code, one.enhanced, one.text, one.via, one.unreachable) for one in found]
    return frame(OUTCOMES, (number, lines, sorted(notified)))


def read_outcomes(head: Any) -> tuple[int, tuple[Outcome, ...], frozenset[str]]:
    """The number of an attempt, its outcomes, and who is notified by the next server.

    :raises BrokenFrameError: that is not what the head says.
    """
    try:
        number, lines, notified = head
        found = tuple(_outcome(*line) for line in lines)
        if not isinstance(number, int) or not all(isinstance(one, str) for one in notified):
            raise TypeError
        return number, found, frozenset(notified)
    except (TypeError, ValueError):
        raise BrokenFrameError("outcomes that are none") from None


def _outcome(  # noqa: PLR0917 - a line of JSON
    target: Any, result: Any, code: Any, enhanced: Any, text: Any, via: Any, unreachable: Any
) -> Outcome:
    texts = isinstance(target, str) and isinstance(text, str) and isinstance(via, str)
    if not texts or result not in _RESULTS or not isinstance(unreachable, bool):
        raise TypeError
    if not isinstance(code, int | None) or not isinstance(enhanced, str | None):
        raise TypeError
    return Outcome(
        target=target, result=result, code=code, enhanced=enhanced, text=text, via=via, unreachable=unreachable
    )
