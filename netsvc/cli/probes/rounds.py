"""Probes targets side by side, each in a thread of its own, so that a black hole holds up nobody else."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field

from netsvc.cli.probes.checks import CHECKS, Answer, Pinger, Settings, echo_rounds
from netsvc.cli.probes.sockets import ProbeError
from netsvc.cli.probes.target import Target


@define
class Report:
    """What probing one target gave.

    :param target: the service.
    :param sent: rounds that were begun.
    :param seconds: of each round that went well.
    :param text: what the service said last.
    :param facts: the same for programs.
    :param error: why the first failed round failed, or None.
    """

    target: Target
    sent: int = 0
    seconds: list[float] = field(factory=list)
    text: str = ""
    facts: dict[str, object] = field(factory=dict)
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every round went well."""
        return self.error is None and self.sent > 0 and len(self.seconds) == self.sent

    @property
    def loss(self) -> float:
        """The share of rounds that failed, 0 to 1."""
        return 1 - len(self.seconds) / self.sent if self.sent else 1.0

    def quantile(self, share: float) -> float | None:
        """The time in seconds that `share` of the rounds stayed within (nearest rank), or None without any."""
        if not self.seconds:
            return None
        return sorted(self.seconds)[max(0, math.ceil(share * len(self.seconds)) - 1)]


@contextmanager
def _rounds(target: Target, settings: Settings) -> Iterator[Pinger]:
    """What does one round with this target."""
    if target.scheme == "echo":
        with echo_rounds(target, settings) as ping:
            yield ping
    else:
        yield lambda: CHECKS[target.scheme](target, settings)


def _probe(report: Report, settings: Settings, count: int, interval: float, wait: Callable[[float], object]) -> None:
    begun = False

    def one(ping: Pinger) -> None:
        nonlocal begun
        begun = True
        report.sent += 1
        try:
            answer: Answer = ping()
        except ProbeError as error:
            report.error = report.error or str(error)
            if not report.target.datagram and report.target.scheme == "echo":
                raise  # the stream is out of step, or gone
        else:
            report.seconds.append(answer.seconds)
            report.text, report.facts = answer.text, answer.facts

    try:
        with _rounds(report.target, settings) as ping:
            for number in range(count):
                if number:
                    wait(interval)
                one(ping)
    except ProbeError as error:
        report.error = report.error or str(error)
        report.sent = report.sent if begun else 1
    except Exception as error:  # noqa: BLE001  a fault of ours must not hide the others' results
        report.error = f"{type(error).__name__}: {error}"


def probe_all(
    targets: Sequence[Target],
    settings: Settings,
    *,
    count: int,
    interval: float,
    wait: Callable[[float], object] = time.sleep,
) -> list[Report]:
    """Probe all targets at once; the reports come in their order.

    :param count: rounds with each.
    :param interval: seconds between two rounds.
    :param wait: sleeps so many seconds.
    """
    reports = [Report(target) for target in targets]
    threads = [
        threading.Thread(target=_probe, args=(report, settings, count, interval, wait), daemon=True)
        for report in reports
    ]
    for thread in threads:
        thread.start()
    # A name server that hangs, or a peer that drips header lines, ignores our deadlines; these threads are left behind.
    end = time.monotonic() + count * (settings.timeout + interval) + 1.0
    finished = []
    for report, thread in zip(reports, threads, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            seconds = list(report.seconds)
            lost = Report(report.target, max(report.sent, len(seconds) + 1), seconds, report.text, report.facts)
            lost.error = "no end in time"
            finished.append(lost)
        else:
            finished.append(report)
    return finished
