"""Shows reports: a table for people in 80 columns, JSON for programs. What peers said is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable

from netsvc.cli.probes.rounds import Report
from netsvc.errors import printable

WIDTH = 80  # columns of the table
NAME = 38  # of them for the URL
NUMBER = 9  # for each of minimum, median, p99


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def table(reports: Iterable[Report]) -> str:
    """Two lines a service: the numbers, and what it said or why it failed."""
    head = f"     {'SERVICE':<{NAME}}{'LOSS':>6}{'MIN':>{NUMBER}}{'MEDIAN':>{NUMBER}}{'P99':>{NUMBER}}"
    lines = [head.rstrip()]
    for report in reports:
        word = "ok" if report.ok else "FAIL"
        times = "".join(f"{_time(report.quantile(share)):>{NUMBER}}" for share in (0.0, 0.5, 0.99))
        name = _cut(printable(report.target.url), NAME - 1)
        lines.append(f"{word:<5}{name:<{NAME}}{report.loss:>6.0%}{times}")
        said = printable(report.error if report.error is not None else report.text)
        if said:
            lines.append(_cut(f"     {said}", WIDTH))
    return "\n".join(lines)


def as_json(reports: Iterable[Report]) -> str:
    """An array with one object a service; times in seconds. ASCII."""

    def one(report: Report) -> dict[str, object]:
        return {
            "url": report.target.url,
            "ok": report.ok,
            "sent": report.sent,
            "received": len(report.seconds),
            "loss": round(report.loss, 4),
            "min": report.quantile(0.0),
            "median": report.quantile(0.5),
            "p99": report.quantile(0.99),
            "answer": report.text,
            "error": report.error,
            **report.facts,
        }

    return json.dumps([one(report) for report in reports], indent=2)
