"""What a scenario is given and gives back: the effort, the measured values, the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

MIB = 1 << 20


@dataclass
class Effort:
    """How much is measured.

    :param rounds: medians are over so many.
    :param seconds: length of one round with one peer.
    :param bulk: octets of the bulk echo.
    :param file: octets of the transferred file.
    :param descriptors: how many files this process may open.
    """

    rounds: int = 5
    seconds: float = 2.0
    bulk: int = 1 << 30
    file: int = 100_000_000
    descriptors: int = 1024


@dataclass
class Target:
    """What the median of netsvc must be.

    :param against: the peer whose median it is divided by, or None for netsvc's own value.
    :param least: the least value or ratio, or None.
    :param most: the greatest value or ratio, or None.
    """

    against: str | None = None
    least: float | None = None
    most: float | None = None


@dataclass
class Result:
    """The measured values of one scenario.

    :param unit: of the values.
    :param values: peer -> one value a round.
    :param targets: what must hold.
    :param notes: peer -> words for the table, such as latencies.
    :param processor: peer -> processor time of one request, microseconds, one value a round.
    :param memory: peer -> memory after the rounds, MiB (PSS of the server and its descendants).
    :param faults: what went wrong, in words; a fault fails the scenario.
    """

    name: str
    unit: str
    targets: tuple[Target, ...] = ()
    values: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, peer: str, value: float) -> None:
        """One more round."""
        self.values.setdefault(peer, []).append(value)

    def median(self, peer: str) -> float:
        """Over the rounds."""
        return median(self.values[peer])

    def achieved(self, target: Target) -> float | None:
        """netsvc's value or ratio, or None where the peer was not measured."""
        if "netsvc" not in self.values or (target.against and not any(self.values.get(target.against, ()))):
            return None
        value = self.median("netsvc")
        return value / self.median(target.against) if target.against else value

    def holds(self, target: Target) -> bool | None:
        """Whether a target is reached; None when it could not be measured."""
        value = self.achieved(target)
        if value is None:
            return None
        return (target.least is None or value >= target.least) and (target.most is None or value <= target.most)
