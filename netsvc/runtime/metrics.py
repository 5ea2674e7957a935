"""The daemon's Prometheus registry, and the table of the runtime's own metrics.

Every name begins with ``netsvc_``; Prometheus adds ``_total`` to counters. A label is bound once and remembered, so
that counting on the hot path is one dictionary look-up, or none with ``of``. prometheus_client is imported when
a registry is made and not with this module: it brings http.server along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from attrs import frozen
from zope.interface import implementer

from netsvc.interfaces import ICounter, IGauge, IHistogram, IMetrics

PREFIX = "netsvc_"
MOST_SERIES = 2000  # label combinations of one metric; all further ones are counted together
OTHER = "other"  # what their labels say

# Seconds. From a local answer to a slow script; Prometheus' own default ends at 10 s.
DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_M = TypeVar("_M", bound="_Metric")

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Series(Protocol):
    """One time series: a metric with all its labels given."""

    def inc(self, amount: float = 1) -> None:
        """Add to it (counters and gauges)."""

    def set(self, value: float) -> None:
        """Replace its value (gauges)."""

    def observe(self, value: float) -> None:
        """Record one value (histograms)."""


class Cell:
    """One series of a counter or gauge: a number that the registry reads when it renders.

    prometheus_client's own take a lock and check their arguments at each call, which on the way of a connection
    costs as much as admission. Cells are for one thread, the reactor's.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        self.value += amount

    def set(self, value: float) -> None:
        """Replace its value."""
        self.value = value


class _Metric:
    """What the three kinds share: the series by label values.

    :param make_series: label values -> a new series.
    """

    def __init__(self, labels: tuple[str, ...], make_series: Callable[[tuple[Any, ...]], Any]) -> None:
        self._labels = labels
        self._make_series = make_series
        self.series: dict[tuple[Any, ...], Any] = {}
        if not labels:
            self.bind()  # without labels there is one series from the start, and it is 0

    def bind(self, **labels: Any) -> Any:
        """The one series with these labels, to keep where counting must be fast.

        :raise ValueError: these are not the metric's labels.
        """
        if len(labels) != len(self._labels):
            raise ValueError(f"the labels are {self._labels}, not {tuple(labels)}")
        try:
            key = tuple([labels[name] for name in self._labels])
        except KeyError:
            raise ValueError(f"the labels are {self._labels}, not {tuple(labels)}") from None
        series = self.series.get(key)
        if series is None:
            if len(self.series) >= MOST_SERIES:
                key = (OTHER,) * len(key)
            series = self.series.setdefault(key, self._make_series(key))
        return series


@implementer(ICounter)
class Counter(_Metric):
    """A count that only grows."""

    def inc(self, amount: float = 1, **labels: Any) -> None:
        """Add to the series with these labels."""
        self.bind(**labels).inc(amount)


@implementer(IGauge)
class Gauge(_Metric):
    """A value that goes up and down."""

    def set(self, value: float, **labels: Any) -> None:
        """Replace the value of the series with these labels."""
        self.bind(**labels).set(value)

    def inc(self, amount: float = 1, **labels: Any) -> None:
        """Add to the series with these labels; a negative amount takes away."""
        self.bind(**labels).inc(amount)

    def remove(self, **labels: Any) -> None:
        """Forget the series with these labels: what it was about is no more."""
        self.series.pop(tuple(labels[name] for name in self._labels), None)


@implementer(IHistogram)
class Histogram(_Metric):
    """How values are distributed."""

    def observe(self, value: float, **labels: Any) -> None:
        """Record one value in the series with these labels."""
        self.bind(**labels).observe(value)


@implementer(IMetrics)
class Metrics:
    """A registry of its own, not prometheus_client's global one."""

    def __init__(self) -> None:
        import prometheus_client  # noqa: PLC0415  see the module's docstring
        import prometheus_client.core  # noqa: PLC0415

        # A second series for each histogram with the time of its birth; Prometheus has no use for it in this format.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(self)
        self._metrics: dict[str, tuple[tuple[Any, ...], Any]] = {}
        self._help: dict[str, str] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """The counter of that name; ``_total`` is added to it."""
        return self._one(Counter, name, help, labels)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        """The gauge of that name."""
        return self._one(Gauge, name, help, labels)

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), buckets: Iterable[float] | None = None
    ) -> Histogram:
        """The histogram of that name.

        :param buckets: upper bounds in the unit that the name ends with; None is :data:`DURATION_BUCKETS`, seconds.
        """
        return self._one(Histogram, name, help, labels, DURATION_BUCKETS if buckets is None else tuple(buckets))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4, UTF-8."""
        return self._client.generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """The counters and gauges, for prometheus_client; histograms are its own."""
        families = {Counter: self._client.core.CounterMetricFamily, Gauge: self._client.core.GaugeMetricFamily}
        for name, (shape, metric) in self._metrics.items():
            if shape[0] in families:
                family = families[shape[0]](PREFIX + name, self._help[name], labels=shape[1])
                for key, cell in metric.series.items():
                    family.add_metric([str(value) for value in key], cell.value)
                yield family

    def _one(
        self,
        kind: type[_M],
        name: str,
        help: str,
        labels: Sequence[str],
        buckets: tuple[float, ...] = (),
    ) -> _M:
        shape = (kind, tuple(labels), buckets)
        known = self._metrics.get(name)
        if known is not None:
            if known[0] != shape:
                raise ValueError(f"the metric {name!r} exists with another type, labels or buckets")
            found: _M = known[1]
            return found
        if _NAME.fullmatch(name) is None or name.startswith(PREFIX) or name.endswith("_total"):
            raise ValueError(f"{name!r} is not a metric's name: lower_snake_case, without {PREFIX} and _total")
        if kind is Histogram:
            native = self._client.Histogram(PREFIX + name, help, shape[1], registry=self._registry, buckets=buckets)
            made = kind(shape[1], lambda key: native.labels(*key) if key else native)
        else:
            made = kind(shape[1], lambda _: Cell())
        self._metrics[name] = shape, made
        self._help[name] = help
        return made


@frozen
class Declared:
    """One line of the table of metrics.

    :param type: ``counter``, ``gauge`` or ``histogram``.
    :param name: without ``netsvc_`` and ``_total``; its last word is the unit, if it has one.
    :param help: one sentence for people.
    :param labels: the names of its labels.
    """

    type: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()

    def bind(self, metrics: Any) -> Any:
        """The metric in a registry (an IMetrics)."""
        return getattr(metrics, self.type)(self.name, self.help, self.labels)

    def of(self, metrics: Any, **labels: Any) -> Series:
        """The one series with all its labels given, to keep where counting must be fast."""
        metric = self.bind(metrics)
        return metric.bind(**labels) if hasattr(metric, "bind") else _Bound(metric, labels)


class _Bound:
    """A series of an IMetrics that has no ``bind`` of its own, such as a fake."""

    def __init__(self, metric: Any, labels: Mapping[str, Any]) -> None:
        self._metric = metric
        self._labels = labels

    def inc(self, amount: float = 1) -> None:
        self._metric.inc(amount, **self._labels)

    def set(self, value: float) -> None:
        self._metric.set(value, **self._labels)

    def observe(self, value: float) -> None:
        self._metric.observe(value, **self._labels)


CONNECTIONS_ACCEPTED = Declared("counter", "connections_accepted", "Connections that were let in.", ("service",))
CONNECTIONS_OPEN = Declared("gauge", "connections_open", "Connections that are open now.", ("service",))
CONNECTIONS_REFUSED = Declared(
    "counter", "connections_refused", "Connections that were not let in, by reason.", ("service", "reason")
)
CONNECTIONS_CLOSED = Declared(
    "counter", "connections_closed", "Connections that ended, by who or what ended them.", ("service", "reason")
)
ACCEPT_PAUSES = Declared(
    "counter", "accept_pauses", "Times that accepting paused for want of descriptors or memory.", ("service",)
)
DATAGRAMS_RECEIVED = Declared("counter", "datagrams_received", "Datagrams that arrived.", ("service",))
DATAGRAMS_ANSWERED = Declared("counter", "datagrams_answered", "Datagrams that were answered.", ("service",))
DATAGRAMS_DROPPED = Declared(
    "counter", "datagrams_dropped", "Datagrams that were dropped unread, by reason.", ("service", "reason")
)
TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS = Declared(
    "gauge",
    "tls_certificate_expiry_timestamp_seconds",
    "When a certificate in use expires, in seconds since the epoch.",
    ("service", "certificate"),
)
LOG_WRITE_ERRORS = Declared("counter", "log_write_errors", "Log lines that could not be written.")

RUNTIME_METRICS = (
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_OPEN,
    CONNECTIONS_REFUSED,
    CONNECTIONS_CLOSED,
    ACCEPT_PAUSES,
    DATAGRAMS_RECEIVED,
    DATAGRAMS_ANSWERED,
    DATAGRAMS_DROPPED,
    TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS,
    LOG_WRITE_ERRORS,
)
