"""Admission: the order of its steps, and that counts go up and down in step with connections."""

from __future__ import annotations

from datetime import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.access_times import Span
from netsvc.config.listen import TcpAddress
from netsvc.config.server import ServerSettings
from netsvc.config.values import Rate, network
from netsvc.runtime.admission import REASONS, Admission, Refusal, TotalLimit


def admission(total: TotalLimit | None = None, clock: Clock | None = None, **options: Any) -> Admission:
    """The admission of a service with these options."""
    options.setdefault("datagram_rate", None)
    server = ServerSettings(listen=(TcpAddress(port=7),), **options)
    return Admission(server, clock or Clock(), lambda: time(12), total)


class ConnectionTests(SynchronousTestCase):
    def admitted(self, to: Admission, host: str | None = "192.0.2.1") -> bytes:
        key = to.admit(host)
        assert not isinstance(key, Refusal), key
        return key

    def test_per_source(self) -> None:
        """A ninth client from one address is refused; another address is let in."""
        to = admission(max_connections_per_source=8)
        for _ in range(8):
            self.admitted(to)
        self.assertEqual(to.admit("192.0.2.1"), Refusal("max-connections-per-source", "max_connections_per_source 8"))
        self.assertEqual(to.open, 8)
        self.admitted(to, "192.0.2.2")

    def test_per_64(self) -> None:
        """IPv6 clients of one /64 share their limit."""
        to = admission(max_connections_per_source=1)
        self.admitted(to, "2001:db8::1")
        self.assertIsInstance(to.admit("2001:db8::2"), Refusal)
        self.admitted(to, "2001:db8:0:1::2")

    def test_mapped(self) -> None:
        """A v4-mapped client shares the limit of the IPv4 one."""
        to = admission(max_connections_per_source=1)
        self.admitted(to, "::ffff:192.0.2.1")
        self.assertIsInstance(to.admit("192.0.2.1"), Refusal)

    def test_release(self) -> None:
        """A place that was given back can be had again, and nothing stays in memory."""
        to = admission(max_connections_per_source=2)
        keys = [self.admitted(to), self.admitted(to)]
        for key in keys:
            to.release(key)
        self.assertEqual((to.open, to.sources), (0, 0))
        self.admitted(to)

    def test_release_of_nothing(self) -> None:
        """Giving back what was not taken is an error and changes nothing."""
        to = admission(TotalLimit(5))
        self.assertRaises(KeyError, to.release, b"none")
        self.assertEqual(to.open, 0)

    def test_total(self) -> None:
        """The service's own limit holds over all sources."""
        to = admission(max_connections=2)
        self.admitted(to, "192.0.2.1")
        key = self.admitted(to, "192.0.2.2")
        self.assertEqual(to.admit("192.0.2.3"), Refusal("max-connections", "max_connections 2"))
        to.release(key)
        self.admitted(to, "192.0.2.3")

    def test_daemon_total(self) -> None:
        """The daemon's limit holds over all services."""
        total = TotalLimit(2)
        echo, time_ = admission(total), admission(total)
        key = self.admitted(echo)
        self.admitted(time_)
        self.assertEqual(echo.admit("192.0.2.9"), Refusal("max-connections", "max_connections 2 of [netsvc]"))
        echo.release(key)
        self.assertEqual(total.open, 1)
        self.admitted(time_, "192.0.2.9")

    def test_rate(self) -> None:
        """Only the source that comes too often is refused, and only until its time comes."""
        clock = Clock()
        to = admission(clock=clock, rate=Rate(2, 10.0))
        self.admitted(to)
        self.admitted(to)
        self.assertEqual(to.admit("192.0.2.1"), Refusal("rate", "rate 2/10s"))
        self.admitted(to, "192.0.2.2")
        clock.advance(5.1)
        self.admitted(to)

    def test_refusals_take_no_token(self) -> None:
        """A client that is refused for its open connections keeps its rate."""
        to = admission(max_connections_per_source=1, rate=Rate(2, 10.0))
        key = self.admitted(to)
        for _ in range(5):
            self.assertIsInstance(to.admit("192.0.2.1"), Refusal)
        to.release(key)
        self.admitted(to)

    def test_order(self) -> None:
        """Each step is asked only when those before it agree."""
        total = TotalLimit(1)
        spans = (Span(time(8), time(9)),)
        full: dict[str, Any] = {"max_connections_per_source": 1, "rate": Rate(1, 60.0)}
        denied = admission(total, deny=(network("192.0.2.1"),), access_times=spans, **full)
        self.assertEqual(denied.admit("192.0.2.1"), Refusal("denied", "deny 192.0.2.1/32"))
        closed = admission(total, access_times=spans, **full)
        self.assertEqual(closed.admit("192.0.2.1"), Refusal("access-times", "outside access times 08:00-09:00"))
        to = admission(total, **full)
        key = self.admitted(to)
        self.assertEqual(self.reason(to), "max-connections")
        total.most = 9
        self.assertEqual(self.reason(to), "max-connections-per-source")
        to.release(key)
        self.assertEqual(self.reason(to), "rate")

    def reason(self, to: Admission) -> str:
        refusal = to.admit("192.0.2.1")
        assert isinstance(refusal, Refusal)
        self.assertIn(refusal.reason, REASONS)
        return refusal.reason

    def test_unix(self) -> None:
        """UNIX peers are let in whatever the networks say, and are one source together."""
        to = admission(allow=(network("192.0.2.0/24"),), max_connections_per_source=1)
        key = self.admitted(to, None)
        self.assertIsInstance(to.admit(None), Refusal)
        to.release(key)
        self.admitted(to, None)

    def test_no_address(self) -> None:
        """A peer whose host is no address is refused, and is not taken for a UNIX peer."""
        self.assertEqual(admission().admit("peer.example"), Refusal("denied", "not an IP address"))

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=200))
    def test_counts(self, steps: list[tuple[bool, int]]) -> None:
        """In any order of coming and going the counts are those of the connections that are open."""
        total = TotalLimit(7)
        to = admission(total, max_connections=6, max_connections_per_source=3)
        open_now: list[bytes] = []
        for comes, number in steps:
            if comes:
                key = to.admit(f"192.0.2.{number}")
                if not isinstance(key, Refusal):
                    open_now.append(key)
            elif open_now:
                to.release(open_now.pop(number % len(open_now)))
            self.assertEqual((to.open, total.open, to.sources), (len(open_now),) * 2 + (len(set(open_now)),))
            self.assertLessEqual(len(open_now), 6)
            self.assertLessEqual(max([open_now.count(key) for key in open_now], default=0), 3)


class DatagramTests(SynchronousTestCase):
    def test_rate(self) -> None:
        """A source has its own rate of datagrams, apart from that of its connections."""
        clock = Clock()
        to = admission(clock=clock, datagram_rate=Rate(2, 1.0), rate=Rate(1, 60.0))
        self.assertEqual(
            [to.admit_datagram("192.0.2.1") for _ in range(3)], [None, None, Refusal("rate", "datagram_rate 2/s")]
        )
        self.assertIsNone(to.admit_datagram("192.0.2.2"))
        self.assertNotIsInstance(to.admit("192.0.2.1"), Refusal)
        clock.advance(0.6)
        self.assertIsNone(to.admit_datagram("192.0.2.1"))

    def test_rules(self) -> None:
        """Networks and times hold for datagrams too; nothing is counted as open."""
        to = admission(deny=(network("192.0.2.1"),))
        self.assertEqual(to.admit_datagram("192.0.2.1"), Refusal("denied", "deny 192.0.2.1/32"))
        self.assertIsNone(to.admit_datagram("192.0.2.2"))
        self.assertEqual(to.open, 0)
        closed = admission(access_times=(Span(time(8), time(9)),))
        refusal = closed.admit_datagram("192.0.2.1")
        assert refusal is not None
        self.assertEqual(refusal.reason, "access-times")

    def test_no_rate(self) -> None:
        """Without a rate none is refused."""
        to = admission(datagram_rate=None)
        self.assertEqual({to.admit_datagram("192.0.2.1") for _ in range(1000)}, {None})
