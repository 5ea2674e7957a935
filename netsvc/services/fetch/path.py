"""A path into JSON: ``newslist[*].picUrl``, ``$.data["a.b"][0].url``, ``[*]``. No I/O.

Names are separated by dots; a name with other characters stands in brackets and double quotes. ``[2]`` is an element,
``[*]`` all elements of an array, or all values of an object. A leading ``$`` may stand for the whole.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from attrs import frozen

MAX_PATH: Final = 1000  # characters, ours
_STEP = re.compile(
    r"""(?P<dot>\.)?(?P<name>[A-Za-z0-9_$@-]+)|\[(?:(?P<star>\*)|(?P<index>\d{1,9})|(?P<quoted>"(?:[^"\\]|\\.)*"))\]"""
)


class PathError(ValueError):
    """It is no path, or what it leads to is not there. Its text is one line for people."""


class _All:
    """Every element."""


ALL: Final = _All()
Step = str | int | _All


@frozen
class Path:
    """A path, taken apart.

    :param text: as it was written.
    """

    text: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.text

    def find(self, whole: Any) -> list[Any]:
        """All that it leads to, in order. What lacks a part behind the first ``[*]`` is passed over.

        :raises PathError: a part before the first ``[*]`` is not there: the document is another than was meant.
        """
        found = [whole]
        strict = True
        for step in self.steps:
            found = [below for one in found for below in _below(one, step)]
            if strict and not isinstance(step, _All) and not found:
                raise PathError(f"there is no {_shown(step)} as {self.text} has it")
            if isinstance(step, _All):
                if strict and not isinstance(whole, list | dict):
                    raise PathError(f"what {self.text} goes through is no list")
                strict = False
            whole = found[0] if strict else None
        return found


def parse_path(text: str) -> Path:
    """Understand a path.

    :raises PathError: it is none.
    """
    if len(text) > MAX_PATH:
        raise PathError(f"a path has at most {MAX_PATH} characters")
    at = 1 if text.startswith("$") and text[1:2] in {"", ".", "["} else 0
    steps: list[Step] = []
    begin = at
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (match["name"] and not match["dot"] and at > 0) or (match["dot"] and at == begin == 0):
            raise PathError(f"{text!r} is no path such as newslist[*].picUrl: character {at + 1}")
        steps.append(_step(match))
        at = match.end()
    if not steps:
        raise PathError("the path is empty")
    return Path(text, tuple(steps))


def _step(match: re.Match[str]) -> Step:
    if match["star"]:
        return ALL
    if match["index"]:
        return int(match["index"])
    if match["quoted"]:
        try:
            return str(json.loads(match["quoted"]))
        except ValueError:
            raise PathError(f"{match['quoted']} is no name in JSON's quotes") from None
    return match["name"]


def _below(value: Any, step: Step) -> list[Any]:
    if isinstance(step, _All):
        if isinstance(value, dict):
            return list(value.values())
        return value if isinstance(value, list) else []
    if isinstance(step, int):
        return [value[step]] if isinstance(value, list) and step < len(value) else []
    return [value[step]] if isinstance(value, dict) and step in value else []


def _shown(step: Step) -> str:
    return f"[{step}]" if isinstance(step, int) else str(step)
