"""Compares three books: what was acknowledged, what the adversary took, and what the queue says became of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from netsvc.cli.torture.stage import Taken
from netsvc.cli.torture.terms import Fault, Message

LOST, DOUBLED, ALTERED, STUCK, WRONG, PASSED = "lost", "doubled", "altered", "stuck", "wrong", "passed"
WORST = (LOST, ALTERED, DOUBLED, STUCK, WRONG, PASSED)  # the first weighs most


@frozen
class Handed:
    """A message that was handed in.

    :param mark: says which it is.
    :param digest: of its body.
    :param queue_id: the acknowledgement; "" when it was not taken.
    :param item: what the queue says of it in the end, as ``netsvc mail show --json``; None when it was not taken.
    """

    message: Message
    mark: str
    digest: str
    queue_id: str
    item: dict[str, Any] | None = None


@frozen
class Verdict:
    """What a fault came to.

    :param kind: one of WORST.
    :param findings: (kind, sentence) of all that is not as it must be.
    :param copies: how many messages the adversary holds, each recipient counted.
    :param results: result of an attempt -> how often, over all recipients.
    """

    fault: Fault
    findings: tuple[tuple[str, str], ...]
    copies: int
    results: dict[str, int] = field(factory=dict)

    @property
    def kind(self) -> str:
        return min((kind for kind, _ in self.findings), key=WORST.index, default=PASSED)


def judge(
    fault: Fault, handed: Sequence[Handed], taken: Iterable[Taken], flaws: Iterable[str], balanced: bool
) -> Verdict:
    """Judge one fault.

    :param balanced: whether the queue's own books balance.
    """
    ours = [one for one in taken if one.mark]
    findings = [(WRONG, text) for text in flaws]
    if not balanced:
        findings.append((LOST, "the books of the queue do not balance"))
    digests = {one.mark: one.digest for one in handed}
    for each in ours:
        if digests.get(each.mark) != each.digest:
            findings.append((ALTERED, f"message {each.mark} arrived with another content"))
        findings += [(ALTERED, f"message {each.mark} came with {problem}") for problem in each.problems]
    results: Counter[str] = Counter()
    for one in handed:
        findings += _message(fault, one, ours, results)
    copies = sum(len(each.recipients) for each in ours)
    return Verdict(fault, tuple(dict.fromkeys(findings)), copies, dict(results))


def _message(fault: Fault, one: Handed, ours: list[Taken], results: Counter[str]) -> list[tuple[str, str]]:
    if one.item is None:
        return [] if one.message.refused else [(WRONG, f"message {one.mark} was not taken in")]
    if one.message.refused:
        return [(WRONG, f"message {one.mark} was taken in, which must be refused")]
    states = {target["address"]: target["state"] for target in one.item["targets"]}
    findings: list[tuple[str, str]] = []
    for address, path in one.message.ends.items():
        went = [line["result"] for line in one.item["ledger"] if line["target"] == address]
        results.update(went)
        copies = sum(address in each.recipients for each in ours if each.mark == one.mark)
        who = f"message {one.mark} for {address}"
        findings += [(kind, f"{who} {text}") for kind, text in _target(fault, path, states.get(address), went, copies)]
    return findings


def _target(fault: Fault, path: str, state: str | None, went: list[str], copies: int) -> Iterable[tuple[str, str]]:
    unknown = went.count("ambiguous")
    expected = path.split()
    if state is None:
        yield LOST, "is not in the queue's records"
    elif state == "delivered" and not copies:
        yield LOST, "is said to be delivered and did not arrive"
    elif state in ("bounced", "expired", "removed") and expected[-1] != "permanent":
        yield LOST, f"was given up ({state})"
    elif state == "bounced" and copies:
        yield WRONG, "came back although it had arrived"
    elif state == "waiting":
        yield STUCK, f"still waits after {len(went)} attempts"
    if state == "ambiguous" or (state == "delivered" and copies > 1):
        if not fault.doubles:
            yield DOUBLED, f"has {copies} copies and is {state}"
        elif state == "delivered" and copies - 1 > unknown:
            yield DOUBLED, f"has {copies} copies and {unknown} attempts of unknown result"
    if unknown and not fault.doubles:
        yield WRONG, "has an attempt of unknown result, and nothing was unknown"
    other = went[-1:] != expected[-1:] or (expected[0] != "*" and went[:1] != expected[:1])
    if other and state in ("delivered", "bounced"):
        yield WRONG, f"went {_words(went)} and not {path}"


def _words(went: list[str]) -> str:
    return ", ".join(went) or "untried"
