"""Access by address and time of day."""

from __future__ import annotations

import ipaddress
from datetime import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.access_times import Span
from netsvc.config.values import Network, network
from netsvc.net.addresses import Address, canonical
from netsvc.runtime.access import Access

NOON = time(12)


def nets(*texts: str) -> tuple[Network, ...]:
    """Networks from their texts."""
    return tuple(map(network, texts))


class NetworkTests(SynchronousTestCase):
    def test_everybody(self) -> None:
        """Without rules everybody may."""
        access = Access((), (), ())
        for host in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", None):
            self.assertIsNone(access.check(host, NOON))

    def test_allow(self) -> None:
        """With an allow list, only who is in it may."""
        access = Access(nets("192.0.2.0/24", "2001:db8::/32"))
        self.assertIsNone(access.check("192.0.2.200", NOON))
        self.assertIsNone(access.check(canonical("2001:db8::1"), NOON))
        self.assertEqual(access.check("198.51.100.1", NOON), "not in allow")
        self.assertEqual(access.check("2001:db9::1", NOON), "not in allow")

    def test_deny(self) -> None:
        """The refusal names the network that denied."""
        access = Access((), nets("192.0.2.0/24", "2001:db8::/32"))
        self.assertEqual(access.check("192.0.2.1"), "deny 192.0.2.0/24")
        self.assertEqual(access.check("2001:db8::1"), "deny 2001:db8::/32")
        self.assertIsNone(access.check("192.0.3.1"))

    def test_most_specific(self) -> None:
        """The most specific of allow and deny decides, whichever it is."""
        access = Access(nets("10.0.0.0/8", "10.1.2.3"), nets("10.1.0.0/16", "10.1.2.0/24"))
        self.assertIsNone(access.check("10.2.0.1"))
        self.assertEqual(access.check("10.1.9.9"), "deny 10.1.0.0/16")
        self.assertEqual(access.check("10.1.2.4"), "deny 10.1.2.0/24")
        self.assertIsNone(access.check("10.1.2.3"))

    def test_tie(self) -> None:
        """A network in both lists denies."""
        access = Access(nets("192.0.2.0/24"), nets("192.0.2.0/24"))
        self.assertEqual(access.check("192.0.2.1"), "deny 192.0.2.0/24")

    def test_families_apart(self) -> None:
        """A rule for all of IPv6 says nothing of IPv4, and a v4-mapped peer is IPv4."""
        access = Access((), nets("::/0"))
        self.assertIsNone(access.check("192.0.2.1"))
        self.assertIsNone(access.check("::ffff:192.0.2.1"))
        self.assertEqual(access.check("::1"), "deny ::/0")

    def test_all(self) -> None:
        """A prefix of length 0 holds every address of its family."""
        self.assertEqual(Access((), nets("0.0.0.0/0")).check("255.255.255.255"), "deny 0.0.0.0/0")

    def test_no_address(self) -> None:
        """A host that is no address is refused even when everybody may."""
        self.assertEqual(Access().check("peer.example"), "not an IP address")

    def test_unix_peers_and_networks(self) -> None:
        """Networks do not concern a UNIX peer."""
        self.assertIsNone(Access(nets("192.0.2.0/24"), nets("0.0.0.0/0")).check(None, NOON))

    @settings(derandomize=True, deadline=None)
    @given(
        st.lists(st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: (a, n))), max_size=8),
        st.lists(st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: (a, n))), max_size=8),
        st.ip_addresses(v=4),
    )
    def test_like_the_plain_definition(
        self, allow: list[tuple[Address, int]], deny: list[tuple[Address, int]], address: Address
    ) -> None:
        """Any rules answer as the definition does when it is followed word by word."""
        allowed = [ipaddress.ip_network(f"{a}/{n}", strict=False) for a, n in allow]
        denied = [ipaddress.ip_network(f"{a}/{n}", strict=False) for a, n in deny]
        holding = [(n.prefixlen, 1, f"deny {n}") for n in denied if address in n]
        holding += [(n.prefixlen, 0, None) for n in allowed if address in n]
        expected = max(holding)[2] if holding else ("not in allow" if allowed else None)
        self.assertEqual(Access(allowed, denied).check(address), expected)


class TimeTests(SynchronousTestCase):
    spans = (Span(time(8), time(18)), Span(time(22), time(2)))

    def test_within(self) -> None:
        """Within any of the spans everybody may; the start is in, the end is not."""
        access = Access((), (), self.spans)
        for moment in (time(8), time(17, 59), time(23), time(0), time(1, 59)):
            self.assertIsNone(access.check("192.0.2.1", moment))
        for moment in (time(18), time(7, 59), time(2)):
            self.assertEqual(access.check("192.0.2.1", moment), "outside access times 08:00-18:00, 22:00-02:00")

    def test_unix_peers_and_times(self) -> None:
        """Times concern UNIX peers too."""
        self.assertIn("outside access times", str(Access((), (), self.spans).check(None, time(20))))

    def test_networks_come_first(self) -> None:
        """Who is denied hears so at any time."""
        access = Access((), nets("192.0.2.1"), self.spans)
        self.assertEqual(access.check("192.0.2.1", time(20)), "deny 192.0.2.1/32")

    def test_time_left_out(self) -> None:
        """Without a time the times are not asked."""
        self.assertIsNone(Access((), (), self.spans).check("192.0.2.1"))
