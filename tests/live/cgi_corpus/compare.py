"""What was not as it has to be: under exec by the case's own words, and warm by what exec gave."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests.live.cgi_corpus.case import Case
from tests.live.cgi_corpus.play import Played, Run, Seen, normal
from tests.live.cgi_corpus.site import Python

Files = dict[str, tuple[str, bytes]]

SHOWN = 12  # lines of one difference


def hollow(played: Played, cases: Sequence[Case], interpreters: Sequence[Python]) -> Iterator[str]:
    """The cases that prove nothing, because the script did not do what it is there for."""
    for case in cases:
        for python in interpreters:
            first = played.runs[case.name, python.version, 1]
            body = first.body.decode("utf-8", "replace")
            said = "\n".join((*first.stderr, *first.events))
            name = f"{case.name} ({python.version})"
            if not first.cut:
                if first.status != case.status:
                    yield f"{name}: status {first.status}: {said[-300:] or body[:300]}"
                elif not re.search(case.expect, body, re.MULTILINE | re.DOTALL):
                    yield f"{name}: nothing like {case.expect!r} in {body[:500]!r}; {said[-300:]}"
            if not re.search(case.log, said, re.DOTALL):
                yield f"{name}: nothing like {case.log!r} in {said[-500:]!r}"


def stale(played: Played, cases: Sequence[Case], interpreters: Sequence[Python], *, warm: bool) -> Iterator[str]:
    """Where two runs of the same way are alike and must not be."""
    for case in cases:
        if warm and case.shared:
            continue
        for python in interpreters:
            runs = [played.runs[case.name, python.version, turn] for turn in (1, 2) if case.twice]
            found = [re.search(case.fresh, run.body.decode("utf-8", "replace")) for run in runs if case.fresh]
            if found and (None in found or found[0][0] == found[1][0]):  # type: ignore[index]
                yield f"{case.name} ({python.version}): twice {found[0]}"


def wrong_way(warm: Played, cases: Sequence[Case]) -> Iterator[str]:
    """The cases that fell back to exec undeclared, or did not where they were declared to."""
    fell: dict[str, set[str]] = defaultdict(set)
    for event in warm.warm:
        name = str(event.get("script", "")).partition("/cgi-bin/")[2].partition("/")[0]
        fell[name].add(str(event.get("reason", event["event"])))
    for case in cases:
        # Its interpreter, or what stands on its path, was changed a moment ago; by a test, or on this machine.
        reasons = {reason for reason in fell[case.name] if not reason.endswith("has changed")}
        if case.cold:
            if not any(re.search(case.cold, reason) for reason in reasons):
                yield f"{case.name}: not executed because of {case.cold!r}, but {reasons or 'warm'}"
        elif reasons:
            yield f"{case.name}: executed: {', '.join(sorted(reasons))}"


def differences(exec_: Played, warm: Played, cases: Sequence[Case], interpreters: Sequence[Python]) -> Iterator[str]:
    """Every difference between the two ways."""
    for case in cases:
        for python in interpreters:
            name = f"{case.name} ({python.version})"
            for turn in (1, 2) if case.twice else (1,):
                key = (case.name, python.version, turn)
                yield from _of_runs(f"{name}, request {turn}", case, exec_.runs[key], warm.runs[key])
            left = (case.name, python.version)
            yield from _of_files(name, _named(case, exec_.files[left]), _named(case, warm.files[left]))
    yield from _of_files("beside the document root", exec_.elsewhere, warm.elsewhere)


def layer_differences(exec_: Played, warm: Played, every: Sequence[Run]) -> Iterator[str]:
    """Every difference of scripts that were asked for three times."""
    for case, python in every:
        name = f"{case.name} ({python.version})"
        for turn in (1, 2, 3):
            key = (case.name, python.version, turn)
            yield from _of_runs(f"{name}, request {turn} of 3", case, exec_.runs[key], warm.runs[key])
        left = (case.name, python.version)
        yield from _of_files(name, _named(case, exec_.files[left]), _named(case, warm.files[left]))


def _of_runs(name: str, case: Case, left: Seen, right: Seen) -> Iterator[str]:
    parts, others = left.normal(case), right.normal(case)
    if not left.whole and not right.whole:
        # How much of an answer that is cut has left by then is between the daemon and its clock.
        if left.cut or right.cut:
            parts, others = ({**one, "status": "", "headers": "", "body": ""} for one in (parts, others))
        elif parts["body"].startswith(others["body"]) or others["body"].startswith(parts["body"]):
            parts, others = ({**one, "body": ""} for one in (parts, others))
    for part, value in parts.items():
        if value != others[part]:
            lines = difflib.unified_diff(_lines(value), _lines(others[part]), "exec", "warm", lineterm="", n=0)
            shown = "\n".join("    " + line[:400] for line in list(lines)[2 : 2 + SHOWN])
            yield f"{name}: {part}\n{shown}"


def _lines(value: Any) -> list[str]:
    return (
        value if isinstance(value, str) else "\n".join(map(str, value)) if isinstance(value, tuple) else str(value)
    ).split("\n")


def _named(case: Case, files: Files) -> Files:
    """With what differs from run to run, in names and contents, taken out."""
    made = {}
    for file, (mode, content) in files.items():
        text = normal(content.decode("utf-8", "surrogateescape"), case.normal)
        made[normal(file, case.normal)] = mode, text.encode("utf-8", "surrogateescape")
    return made


def _of_files(name: str, left: Files, right: Files) -> Iterator[str]:
    for file in sorted(left.keys() | right.keys()):
        if left.get(file) != right.get(file):
            yield f"{name}: file {file}\n    -{left.get(file)!r:.400}\n    +{right.get(file)!r:.400}"
