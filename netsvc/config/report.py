"""What people and programs are told of a configuration: its faults, and the reference of every kind's options.

Text for a terminal has no control characters and keeps to the width that it is given; JSON is ASCII.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from netsvc.config.daemon import SECTION, DaemonSettings
from netsvc.config.options import Option, groups, options
from netsvc.config.plan import Plan
from netsvc.config.scopes import scope_options
from netsvc.config.sections import quote
from netsvc.errors import Fault, printable
from netsvc.interfaces import IServiceKind

WIDTH = 80  # columns, of a terminal that nobody has resized
SOURCE_WIDTH = 14  # columns; longer sources are wrapped, for the summaries need the room
DAEMON_SUMMARY = "The daemon itself: other files, its state, its user, its log."


def count(number: int, noun: str) -> str:
    """A number and its noun: ``1 fault``, ``no faults``, ``12 faults``."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def fault_lines(faults: Iterable[Fault]) -> list[str]:
    """Faults for people, one a line: ``path:line:column: error[code]: message; did you mean 'this'?``."""
    return [str(fault) for fault in faults]


def fault_object(fault: Fault) -> dict[str, Any]:
    """A fault for programs. Line and column are 0 when the file itself is at fault."""
    return {
        "path": fault.origin.path,
        "line": fault.origin.line,
        "column": fault.origin.column,
        "code": fault.code,
        "message": fault.message,
        "suggestion": fault.suggestion,
    }


def check_lines(path: str, plan: Plan | None, faults: Iterable[Fault] = ()) -> list[str]:
    """The outcome of a check for people: the faults, and a last line that sums up."""
    lines = fault_lines(faults)
    services = "" if plan is None else f"{count(len(plan.instances), 'service')}, "
    return [*lines, printable(f"{path}: {services}{count(len(lines), 'fault')}")]


def check_json(path: str, plan: Plan | None, faults: Iterable[Fault] = ()) -> str:
    """The outcome of a check for programs: path, ok, files, services, faults."""
    return _json(
        {
            "path": path,
            "ok": plan is not None,
            "files": [] if plan is None else [str(file) for file in plan.files],
            "services": [] if plan is None else [{"kind": one.kind.word, "name": one.name} for one in plan.instances],
            "faults": [fault_object(fault) for fault in faults],
        }
    )


def kinds_lines(kinds: Mapping[str, IServiceKind], width: int = WIDTH) -> list[str]:
    """A table of the kinds: word, source, summary."""
    rows = [("kind", "source", "summary")]
    rows += [(one.word, one.source or "-", one.summary) for one in kinds.values()]
    rows.append((SECTION, "-", DAEMON_SUMMARY))
    rows = [(printable(word), printable(source), printable(summary)) for word, source, summary in rows]
    word_width = max(len(row[0]) for row in rows)
    source_width = min(SOURCE_WIDTH, max(len(row[1]) for row in rows))
    left = word_width + source_width + 4
    lines: list[str] = []
    for word, source, summary in rows:
        sources = textwrap.wrap(source, source_width)
        summaries = textwrap.wrap(summary, max(20, width - left)) or [""]
        for number in range(max(len(sources), len(summaries))):
            first = word if number == 0 else ""
            second = sources[number] if number < len(sources) else ""
            third = summaries[number] if number < len(summaries) else ""
            lines.append(f"{first:{word_width}}  {second:{source_width}}  {third}".rstrip())
    return lines


def kinds_json(kinds: Mapping[str, IServiceKind]) -> str:
    """The kinds for programs."""
    return _json([_kind_object(kind) for kind in kinds.values()])


def reference_lines(word: str, kind: IServiceKind | None, width: int = WIDTH) -> list[str]:
    """Every option of a kind (None: of the daemon) for people.

    Each stands with its default, as in a file, or as ``key = ...  (required)``, or ``(not set)`` where no text says so.
    """
    summary, source = (DAEMON_SUMMARY, "") if kind is None else (kind.summary, kind.source)
    head = f"[{word}]" if kind is None else f"[{word}] or [{word}:instance]"
    lines = [head, *_wrapped(f"{summary} ({source})" if source else summary, width, "")]
    scoped = scope_options(_settings_class(kind))
    if scoped:
        scopes = f"[{word} /path], [{word} //host], [{word} //host/path]"
        lines += ["", *_wrapped(f"Options marked with a / may stand in a scope, too: {scopes}.", width, "")]
    found = groups(_settings_class(kind))
    for heading, rows in found:
        if len(found) > 1:
            lines += ["", *_wrapped(f"-- {heading}", width, "", "   ")]
        for option in rows:
            lines += ["", *_option_lines(option, width, scoped=option.key in scoped)]
    return [printable(line) for line in lines]


def reference_json(word: str, kind: IServiceKind | None) -> str:
    """Every option of a kind (None: of the daemon) for programs."""
    head = {"word": word, "summary": DAEMON_SUMMARY} if kind is None else _kind_object(kind)
    scoped = scope_options(_settings_class(kind))
    rows = [{**_option_object(one), "scope": one.key in scoped} for one in options(_settings_class(kind))]
    return _json({**head, "options": rows})


def _settings_class(kind: IServiceKind | None) -> type[Any]:
    return DaemonSettings if kind is None else kind.load_settings()


def _kind_object(kind: IServiceKind) -> dict[str, Any]:
    return {"word": kind.word, "summary": kind.summary, "source": kind.source, "runs": kind.runs}


def _has_default(option: Option) -> bool:
    """Whether there is a text that stands for the default."""
    return not option.required and (option.default is not None or bool(option.value.none))


def _option_object(option: Option) -> dict[str, Any]:
    return {
        "key": option.key,
        "type": option.value.name,
        "unit": option.value.unit,
        "bounds": option.value.bounds,
        "required": option.required,
        "default": option.default_text if _has_default(option) else None,
        "multiline": option.value.multiline,
        "help": option.help,
    }


def _option_lines(option: Option, width: int, *, scoped: bool) -> list[str]:
    default = quote(option.default_text).split("\n")
    if not _has_default(option):
        lines = [f"{option.key} = ...  ({'required' if option.required else 'not set'})"]
    elif len(default) == 1:
        lines = _wrapped(f"{option.key} = {default[0]}".rstrip(), width, "", "    ")
    else:
        lines = [f"{option.key} =", *(f"    {line}" for line in default)]
    # What the bounds spell out already ("0s to 1h") needs no unit beside it.
    details = [option.value.name, option.value.bounds or option.value.unit]
    if option.value.multiline and "line" not in option.value.bounds:
        details.append("may run over several lines")
    if scoped:
        details.append("/")
    return lines + _wrapped(option.help, width, "    ") + _wrapped("; ".join(filter(None, details)), width, "    ")


def _wrapped(text: str, width: int, indent: str, later: str | None = None) -> list[str]:
    below = indent if later is None else later
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=below, break_on_hyphens=False, break_long_words=False
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)
