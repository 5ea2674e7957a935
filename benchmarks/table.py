"""Prints results as a table, and keeps them as JSON."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.result import Result, Target

HEADINGS = ("scenario", "peer", "median", "lowest", "highest", "netsvc/peer", "CPU us", "MiB", "target", "ok", "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _bounds(target: Target) -> str:
    return f">= {target.least:g}" if target.least is not None else f"<= {target.most:g}"


def rows(result: Result) -> list[tuple[str, ...]]:
    """One line a peer."""
    lines = []
    for peer, values in result.values.items():
        target = next((one for one in result.targets if (one.against or "netsvc") == peer), None)
        ratio = ""
        if "netsvc" in result.values and peer != "netsvc" and result.median(peer):
            ratio = f"{result.median('netsvc') / result.median(peer):.2f}"
        holds = None if target is None else result.holds(target)
        ok = {None: "", True: "yes", False: "NO"}[holds]
        bounds = "" if target is None else _bounds(target)
        processor = _number(median(result.processor[peer])) if peer in result.processor else ""
        memory = _number(result.memory[peer]) if peer in result.memory else ""
        rate = (_number(result.median(peer)), _number(min(values)), _number(max(values)), ratio)
        cells = (*rate, processor, memory, bounds, ok)
        lines.append((f"{result.name} ({result.unit})", peer, *cells, result.notes.get(peer, "")))
    return lines


def text(results: list[Result]) -> str:
    """The table, and under it every fault."""
    table = [HEADINGS, *(row for result in results for row in rows(result))]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = []
    previous = ""
    for row in table:
        shown = ("" if row[0] == previous else row[0], *row[1:])
        previous = row[0]
        aligned = [
            cell.rjust(width) if 2 <= column <= 7 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(shown, widths, strict=True))
        ]
        lines.append("  ".join(aligned).rstrip())
    lines += [f"FAULT {result.name}: {fault}" for result in results for fault in dict.fromkeys(result.faults)]
    return "\n".join(lines)


def passed(results: list[Result]) -> bool:
    """Whether every target was measured and reached, and nothing failed."""
    return all(not result.faults and all(result.holds(one) for one in result.targets) for result in results)


def as_json(results: list[Result]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "scenario": result.name,
            "unit": result.unit,
            "peers": {
                peer: {
                    "median": result.median(peer),
                    "rounds": values,
                    "note": result.notes.get(peer, ""),
                    "cpu_us": median(result.processor[peer]) if peer in result.processor else None,
                    "memory_mib": result.memory.get(peer),
                }
                for peer, values in result.values.items()
            },
            "targets": [
                {
                    "against": one.against,
                    "least": one.least,
                    "most": one.most,
                    "achieved": result.achieved(one),
                    "ok": result.holds(one),
                }
                for one in result.targets
            ],
            "faults": list(dict.fromkeys(result.faults)),
        }
        for result in results
    ]
