"""Stand-ins for what the runtime hands to services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from netsvc.interfaces import IMetrics, IRuntime


class FakeMetric:
    """A counter, gauge or histogram that remembers its value by labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[tuple[str, Any], ...], float] = {}

    def inc(self, amount: float = 1, **labels: Any) -> None:
        key = tuple(sorted(labels.items()))
        self.values[key] = self.values.get(key, 0) + amount

    def set(self, value: float, **labels: Any) -> None:
        self.values[tuple(sorted(labels.items()))] = value

    observe = set

    def remove(self, **labels: Any) -> None:
        self.values.pop(tuple(sorted(labels.items())), None)

    def bind(self, **labels: Any) -> FakeSeries:
        return FakeSeries(self, labels)


class FakeSeries:
    """One series of a FakeMetric."""

    def __init__(self, metric: FakeMetric, labels: dict[str, Any]) -> None:
        self._metric = metric
        self._labels = labels

    def inc(self, amount: float = 1) -> None:
        self._metric.inc(amount, **self._labels)

    def set(self, value: float) -> None:
        self._metric.set(value, **self._labels)

    observe = set


@implementer(IMetrics)
class FakeMetrics:
    """A registry of FakeMetric."""

    def __init__(self) -> None:
        self.metrics: dict[str, FakeMetric] = {}

    def counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> FakeMetric:
        return self.metrics.setdefault(name, FakeMetric())

    gauge = counter

    def histogram(self, name: str, help: str, labels: tuple[str, ...] = (), buckets: Any = None) -> FakeMetric:
        return self.counter(name, help)


@implementer(IRuntime)
class FakeRuntime:
    """An IRuntime with a MemoryReactorClock; serve() records what it was given; in_thread() runs at once."""

    def __init__(self, state_directory: Path = Path("/nonexistent"), name: str = "test") -> None:
        self.reactor = self.streams = MemoryReactorClock()
        self.name = name
        self.metrics = FakeMetrics()
        self.state_directory = state_directory
        self.served: list[tuple[Any, Any, Any]] = []
        self.offers: dict[str, Any] = {}

    def serve(self, settings: Any, stream: Any = None, datagram: Any = None) -> IService:
        self.served.append((settings, stream, datagram))
        return Service()

    def start_tls(self, place: Any) -> Any:
        service: Any = Service()
        service.begin = lambda transport: transport.startTLS(place)
        return service

    def offer(self, thing: Any) -> None:
        self.offers[self.name] = thing

    def offered(self, name: str) -> Any:
        return self.offers.get(name)

    def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        return maybeDeferred(function, *args, **kwargs)

    in_disk_thread = in_thread
