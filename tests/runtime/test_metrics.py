"""The registry and the table of the runtime's metrics."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.interfaces import ICounter, IGauge, IHistogram, IMetrics
from netsvc.runtime import metrics as table
from netsvc.runtime.metrics import CONNECTIONS_OPEN, CONNECTIONS_REFUSED, LOG_WRITE_ERRORS, RUNTIME_METRICS, Metrics
from tests.fakes import FakeMetrics


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()

    def lines(self) -> list[str]:
        return [line for line in self.metrics.render().decode().splitlines() if not line.startswith("#")]

    def test_interfaces(self) -> None:
        """All provide what the interfaces promise."""
        verifyObject(IMetrics, self.metrics)
        verifyObject(ICounter, self.metrics.counter("a", "A."))
        verifyObject(IGauge, self.metrics.gauge("b", "B."))
        verifyObject(IHistogram, self.metrics.histogram("c_seconds", "C."))

    def test_counter(self) -> None:
        """A counter is rendered with prefix, suffix and labels, and without the time of its birth."""
        counter = self.metrics.counter("answers", "Answers.", ("service", "code"))
        counter.inc(service="http", code=200)
        counter.inc(2, code=200, service="http")
        counter.inc(service="http", code=404)
        self.assertEqual(
            self.lines(),
            [
                'netsvc_answers_total{code="200",service="http"} 3.0',
                'netsvc_answers_total{code="404",service="http"} 1.0',
            ],
        )
        self.assertIn("# HELP netsvc_answers_total Answers.\n", self.metrics.render().decode())

    def test_gauge(self) -> None:
        """A gauge is set, raised and lowered."""
        gauge = self.metrics.gauge("items", "Items.")
        gauge.set(5)
        gauge.inc()
        gauge.inc(-3)
        self.assertEqual(self.lines(), ["netsvc_items 3.0"])

    def test_histogram(self) -> None:
        """A histogram counts by its buckets, which are seconds unless given."""
        self.metrics.histogram("size_octets", "Sizes.", ("service",), buckets=(10, 100)).observe(50, service="http")
        self.metrics.histogram("time_seconds", "Times.").observe(0.0007)
        lines = self.lines()
        self.assertIn('netsvc_size_octets_bucket{le="10.0",service="http"} 0.0', lines)
        self.assertIn('netsvc_size_octets_bucket{le="100.0",service="http"} 1.0', lines)
        self.assertIn('netsvc_time_seconds_bucket{le="0.001"} 1.0', lines)

    def test_twice(self) -> None:
        """Asking twice gives the same object; asking for another under its name is an error."""
        counter = self.metrics.counter("a", "A.", ("x",))
        self.assertIs(self.metrics.counter("a", "A.", ("x",)), counter)
        self.assertRaises(ValueError, self.metrics.counter, "a", "A.", ("y",))
        self.assertRaises(ValueError, self.metrics.gauge, "a", "A.", ("x",))

    def test_names(self) -> None:
        """A name has neither prefix nor _total and is lower_snake_case."""
        for name in ("netsvc_a", "a_total", "A", "", "a-b", "a__b", "1a", "a_"):
            self.assertRaises(ValueError, self.metrics.counter, name, "A.")

    def test_labels(self) -> None:
        """Labels that are missing, too many or of another name are errors."""
        counter = self.metrics.counter("a", "A.", ("x",))
        for labels in ({}, {"y": 1}, {"x": 1, "y": 1}):
            self.assertRaises(ValueError, counter.inc, 1, **labels)

    def test_bound(self) -> None:
        """A bound series is made once."""
        counter = self.metrics.counter("a", "A.", ("x",))
        self.assertIs(counter.bind(x="1"), counter.bind(x="1"))
        counter.bind(x="1").inc()
        self.assertEqual(self.lines(), ['netsvc_a_total{x="1"} 1.0'])

    def test_bounded(self) -> None:
        """However many values a label takes, memory is bounded and nothing is lost from the sum."""
        self.patch(table, "MOST_SERIES", 3)
        counter = self.metrics.counter("a", "A.", ("x",))
        for number in range(10):
            counter.inc(x=number)
        self.assertEqual(len(self.lines()), 4)
        self.assertIn('netsvc_a_total{x="other"} 7.0', self.lines())

    def test_apart(self) -> None:
        """Two registries know nothing of each other."""
        self.metrics.counter("a", "A.").inc()
        self.assertEqual(Metrics().render(), b"")

    def test_cheap_import(self) -> None:
        """Importing the module imports neither prometheus_client nor http.server."""
        code = "import sys, netsvc.runtime.metrics; print({'prometheus_client', 'http.server'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "set()\n")


class TableTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Every metric of the table can be made, has help that is a sentence, and a name of its own."""
        metrics = Metrics()
        for one in RUNTIME_METRICS:
            one.bind(metrics)
            self.assertTrue(one.help[0].isupper() and one.help.endswith("."))
            self.assertIs(getattr(table, one.name.upper()), one)
        self.assertEqual(len({one.name for one in RUNTIME_METRICS}), len(RUNTIME_METRICS))

    def test_of(self) -> None:
        """A series with its labels given is counted without them."""
        metrics = Metrics()
        CONNECTIONS_OPEN.of(metrics, service="echo").inc(2)
        CONNECTIONS_REFUSED.bind(metrics).inc(service="echo", reason="rate")
        LOG_WRITE_ERRORS.of(metrics).inc()
        text = metrics.render().decode()
        self.assertIn('netsvc_connections_open{service="echo"} 2.0', text)
        self.assertIn('netsvc_connections_refused_total{reason="rate",service="echo"} 1.0', text)
        self.assertIn("netsvc_log_write_errors_total 1.0", text)

    def test_fakes(self) -> None:
        """The table works with any IMetrics."""
        fakes = FakeMetrics()
        series = CONNECTIONS_OPEN.of(fakes, service="echo")
        series.inc()
        series.inc(2)
        self.assertEqual(fakes.metrics["connections_open"].values, {(("service", "echo"),): 3})
        series.set(9)
        series.observe(8)
        self.assertEqual(fakes.metrics["connections_open"].values, {(("service", "echo"),): 8})
