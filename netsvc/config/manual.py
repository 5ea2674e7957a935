"""The reference manual in Markdown, made from the settings classes: docs/reference.md is its output."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from netsvc.config.daemon import SECTION, DaemonSettings
from netsvc.config.options import Option, groups, options
from netsvc.config.scopes import scope_options
from netsvc.config.server import ServerSettings
from netsvc.interfaces import IServiceKind

_INTRODUCTION = """\
# Reference

Made by `netsvc kinds --format markdown`; `netsvc kinds KIND` prints the same for a terminal.

A section is `[kind]` or `[kind:instance]`. Durations take `ms`, `s`, `m`, `h`, `d`, `w`;
sizes `B`, `KiB`, `MiB`, `GiB`, `TiB`.
Relative paths start at the directory of the file that names them.

A section may have scopes: `[kind /path]`, `[kind //host]`, `[kind:instance //host/path]`. A scope holds for the URLs
that begin with its prefix, name by name; the longest prefix decides. It has every option of the scope around it but
for those that it sets itself; the keys whose default has a `/` before it may stand in one."""


def manual_lines(kinds: Mapping[str, IServiceKind]) -> Iterator[str]:
    """The manual, line by line.

    The options that every listening service has stand once, in a chapter of their own.
    """
    yield _INTRODUCTION
    yield from _chapter(f"[{SECTION}]: the daemon itself", "", options(DaemonSettings))
    shared = options(ServerSettings)
    yield from _chapter("Every service that listens", "These stand in each section below that says so.", shared)
    common = {heading for heading, _ in groups(ServerSettings)}
    for word, kind in kinds.items():
        settings: type[Any] = kind.load_settings()
        listens = issubclass(settings, ServerSettings)
        own = [(heading, rows) for heading, rows in groups(settings) if heading not in common]
        scoped = scope_options(settings)
        source = f" ({kind.source})" if kind.source else ""
        also = " Takes the options of every service that listens as well." if listens else ""
        yield from _chapter(f"[{word}]", f"{kind.summary}{source}{also}", own[0][1] if len(own) == 1 else (), scoped)
        for heading, rows in own if len(own) > 1 else ():
            yield from ("", f"### {heading.rstrip('.')}", "")
            yield from _table(rows, scoped)


def _chapter(title: str, text: str, rows: Sequence[Option], scoped: Collection[str] = ()) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    if text:
        yield from (text, "")
    if rows:
        yield from _table(rows, scoped)


def _table(rows: Sequence[Option], scoped: Collection[str]) -> Iterator[str]:
    yield "| key | default | values | meaning |"
    yield "|---|---|---|---|"
    for one in rows:
        default = "required" if one.required else _code(one.default_text)
        if one.key in scoped:
            default = f"/ {default}"
        values = ": ".join(filter(None, (one.value.name, one.value.bounds or one.value.unit)))
        yield f"| `{one.key}` | {default} | {_cell(values)} | {_cell(one.help)} |"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""
