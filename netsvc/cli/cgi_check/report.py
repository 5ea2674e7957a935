"""What is printed of a check, for people and for programs. What comes from files is escaped."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from attrs import asdict

from netsvc.cli.cgi_check.look import Script
from netsvc.cli.cgi_check.problem import ERROR, NOTE, WARNING, Problem
from netsvc.errors import printable

LEVELS = (ERROR, WARNING, NOTE)
NARROWEST = 60  # columns that lines are never made for less than
WIDEST = 110  # columns beyond which a line is hard to read


def script_lines(directory: str, script: Script, ran: bool, width: int) -> Iterator[str]:
    """A script: its name, and what is wrong with it below.

    :param width: columns of the terminal.
    """
    yield printable(f"{os.path.join(directory, script.name)}: {verdict(script, ran)}")
    for one in _sorted(script.problems):
        yield from _problem_lines(one, width)


def verdict(script: Script, ran: bool) -> str:
    """A script in a few words."""
    codes = {one.code for one in script.problems}
    if "slow" in codes:
        return "takes too long"
    if "different" in codes:
        return "different when it runs warm"
    if worst(script.problems) == ERROR:
        return "does not work"
    if not ran or not script.runs:
        return "ok" if worst(script.problems) != WARNING else "look at this"
    if "not-warm" in codes:
        return "ok, but is not run warm" if script.python else "ok"
    return "ok, the same both ways" if script.python else "ok"


def worst(problems: Iterable[Problem]) -> str:
    """The worst level among problems; "" when there are none."""
    return min((one.level for one in problems), key=LEVELS.index, default="")


def directory_lines(problems: Iterable[Problem], directory: str, width: int) -> Iterator[str]:
    """What is wrong with directories."""
    for one in problems:
        yield printable(f"{os.path.join(directory, one.file)}: look at this")
        yield from _problem_lines(one, width)


def summary(scripts: Sequence[Script], problems: Sequence[Problem], ran: bool) -> str:
    """The last line."""
    every = [*problems, *(one for script in scripts for one in script.problems)]
    counts = {level: sum(one.level == level for one in every) for level in LEVELS}
    parts = [_count(len(scripts), "script")]
    parts += [_count(counts[level], level) for level in LEVELS if counts[level]]
    if ran:
        parts.append(
            _count(sum("same both ways" in verdict(one, True) for one in scripts), "script", " the same both ways")
        )
    return ", ".join(parts) if every or ran else f"{parts[0]}, nothing to say"


def as_json(directory: str, scripts: Sequence[Script], problems: Sequence[Problem], ran: bool) -> str:
    """Everything, as one JSON object."""
    made = {
        "directory": directory,
        "ok": not any(bad(one) for script in scripts for one in script.problems) and not any(map(bad, problems)),
        "ran": ran,
        "problems": [asdict(one) for one in problems],
        "scripts": [
            {
                "file": one.name,
                "verdict": verdict(one, ran),
                "interpreter": list(one.python),
                "problems": [asdict(problem) for problem in _sorted(one.problems)],
            }
            for one in scripts
        ],
    }
    return json.dumps(made, indent=2)


def bad(problem: Problem) -> bool:
    """Whether it counts for the exit status."""
    return problem.level != NOTE


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda one: (LEVELS.index(one.level), one.line, one.code))


def _problem_lines(problem: Problem, width: int) -> Iterator[str]:
    width = max(NARROWEST, min(width, WIDEST))
    at = f"line {problem.line}: " if problem.line else ""
    head = f"  {problem.level:8} "
    yield from textwrap.wrap(
        printable(at + problem.message), width, initial_indent=head, subsequent_indent=" " * len(head)
    )
    blank = " " * len(head)
    for line in problem.details:
        yield blank + "| " + printable(line.expandtabs())[: width - len(blank) - 2]
    if problem.remedy:  # not wrapped: it may be a command to copy
        yield f"{blank}-> {printable(problem.remedy)}"


def _count(number: int, noun: str, rest: str = "") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}{rest}"
