"""The table of events and metrics, read from the source: docs/events.md is its output.

``python -m tests.contract.events > docs/events.md`` (``make docs``) writes it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import netsvc
from netsvc.runtime.metrics import RUNTIME_METRICS

PACKAGE = Path(netsvc.__file__).parent

_INTRODUCTION = """\
# Events and metrics

Made by `make docs` from the calls in the source.

A line of the log has a time (UTC), a level, the section that it is about, and a message; in JSON
(`log_format = json`) it has the fields `time`, `level`, `namespace`, `event`, `message` and those that stand in
braces below. What a peer sent is escaped.

## Events

| event | level | message |
|---|---|---|"""

_METRICS = """
## Metrics

Prometheus names: `netsvc_` in front, `_total` behind a counter.

| metric | type | labels | meaning |
|---|---|---|---|"""


def _nodes() -> Iterator[ast.AST]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield from ast.walk(ast.parse(file.read_text()))


def _calls() -> Iterator[ast.Call]:
    return (node for node in _nodes() if isinstance(node, ast.Call))


def _texts(node: ast.expr) -> list[str]:
    """The strings that an expression can be: a constant, or either side of a condition."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=otherwise):
            return _texts(body) + _texts(otherwise)
        case ast.BinOp(left=left):
            return _texts(left)
        case ast.Tuple(elts=elements):
            return [text for element in elements for text in _texts(element)]
    return []


def events() -> Iterator[tuple[str, str, str]]:
    """Every (event, level, message) that the source logs."""
    for call in _calls():
        for keyword in call.keywords:
            if keyword.arg == "event" and isinstance(call.func, ast.Attribute):
                level = {"failure": "critical"}.get(call.func.attr, call.func.attr)
                for event in _texts(keyword.value):
                    yield event, level, (_texts(call.args[0]) or ["..."])[0]

    for node in _nodes():  # a module may keep a dictionary of (level, event, message)
        match node:
            case ast.Assign(targets=[ast.Name(id="_LEVELS")], value=ast.Dict(values=rows)):
                for row in rows:
                    assert isinstance(row, ast.Tuple)
                    level_of, event_of, message_of = row.elts
                    yield _texts(event_of)[0], ast.unparse(level_of).rpartition(".")[2], _texts(message_of)[0]


def metrics() -> Iterator[tuple[str, str, str, str]]:
    """Every (name, type, labels, help)."""
    for one in RUNTIME_METRICS:
        yield one.name, one.type, ", ".join(one.labels), one.help
    for call in _calls():
        match call:
            case ast.Call(
                func=ast.Attribute(attr="counter" | "gauge" | "histogram" as kind), args=[name, help, *labels]
            ):
                if _texts(name):
                    named = ", ".join(_texts(labels[0])) if labels else ""
                    yield _texts(name)[0], kind, named, _texts(help)[0]


def table() -> str:
    """The whole document."""
    lines = [_INTRODUCTION]
    lines += [f"| `{event}` | {level} | {message} |" for event, level, message in sorted(set(events()))]
    lines.append(_METRICS)
    lines += [f"| `{name}` | {kind} | {labels} | {help} |" for name, kind, labels, help in sorted(set(metrics()))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
