"""What a torture came to: a table for people, at most 80 columns wide, or JSON. No I/O."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from netsvc.cli.torture.options import reasons
from netsvc.cli.torture.terms import Fault, Way
from netsvc.cli.torture.verdict import ALTERED, LOST, PASSED, Verdict
from netsvc.errors import printable

WIDTH = 80  # columns
NAME = 30  # columns of a fault's name
RESULTS = ("delivered", "retry", "permanent", "ambiguous")


def catalogue(faults: Iterable[Fault]) -> Iterator[str]:
    """The faults and what the adversary does."""
    for one in faults:
        yield f"{one.number:3}  {one.name}"
        yield from textwrap.wrap(one.does, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A line for each fault, and lines for what is not as it must be."""
    yield f"{'':3}  {'fault':{NAME}} {'sent':>4} {'retry':>5} {'back':>4} {'unknown':>7} {'arrived':>7}  verdict"
    for one in verdicts:
        sent, retry, back, unknown = (one.results.get(result, 0) for result in RESULTS)
        numbers = f"{sent:4} {retry:5} {back:4} {unknown:7} {one.copies:7}"
        yield f"{one.fault.number:3}  {one.fault.name:{NAME}} {numbers}  {one.kind}"
        for kind, text in one.findings:
            line = printable(f"{kind}: {text}")
            yield from textwrap.wrap(line, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 7)


def summary(verdicts: Sequence[Verdict], way: Way) -> Iterator[str]:
    """What was proven, or not."""
    total = {result: sum(one.results.get(result, 0) for one in verdicts) for result in RESULTS}
    copies = sum(one.copies for one in verdicts)
    bad = [one for one in verdicts if one.kind != PASSED]
    lost, altered = _with(LOST, verdicts), _with(ALTERED, verdicts)
    text = (
        f"{len(verdicts)} faults by {way}: {total['delivered']} deliveries, {total['retry']} tries put off, "
        f"{total['permanent']} sent back, {total['ambiguous']} of unknown result; {copies} copies arrived. "
    )
    if lost or altered:
        found = (("LOST", lost), ("ALTERED", altered))
        text += " ".join(f"MAIL WAS {what} in {_numbers(some)}." for what, some in found if some)
    elif bad:
        text += f"Nothing was lost, but {_numbers(bad)} did not go as it must."
    else:
        text += (
            "Proven by content: every message that was acknowledged arrived or came back, whole and as it was; "
            "none arrived twice but where its books say that this could not be known."
        )
    yield from textwrap.wrap(text, WIDTH)


def notes(left: tuple[str, ...]) -> Iterator[str]:
    """What of the user's options was not played."""
    for sentence in reasons(left):
        yield from textwrap.wrap(sentence, WIDTH)


def as_json(verdicts: Sequence[Verdict], way: Way) -> dict[str, Any]:
    """The same for programs."""
    return {
        "way": str(way),
        "passed": all(one.kind == PASSED for one in verdicts),
        "lost": [one.fault.number for one in _with(LOST, verdicts)],
        "altered": [one.fault.number for one in _with(ALTERED, verdicts)],
        "faults": [
            {
                "number": one.fault.number,
                "name": one.fault.name,
                "does": one.fault.does,
                "verdict": one.kind,
                "findings": [{"kind": kind, "text": text} for kind, text in one.findings],
                "attempts": one.results,
                "copies": one.copies,
            }
            for one in verdicts
        ],
    }


def _with(kind: str, verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [one for one in verdicts if any(found == kind for found, _ in one.findings)]


def _numbers(verdicts: Iterable[Verdict]) -> str:
    return ", ".join(str(one.fault.number) for one in verdicts)
