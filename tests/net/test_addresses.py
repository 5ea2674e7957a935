"""Peer addresses: canonical forms and the sources that limits count by."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.addresses import LOCAL, canonical, prefix

any_case = settings(derandomize=True, deadline=None)


class CanonicalTests(SynchronousTestCase):
    def test_v4(self) -> None:
        """An IPv4 address is itself."""
        self.assertEqual(canonical("192.0.2.1"), IPv4Address("192.0.2.1"))

    def test_mapped(self) -> None:
        """A v4-mapped address, in either spelling, is the IPv4 one."""
        self.assertEqual(canonical("::ffff:192.0.2.1"), IPv4Address("192.0.2.1"))
        self.assertEqual(canonical("::FFFF:c000:201"), IPv4Address("192.0.2.1"))

    def test_scope(self) -> None:
        """A scope is dropped, also from a mapped address."""
        self.assertEqual(canonical("fe80::1%eth0"), IPv6Address("fe80::1"))
        self.assertEqual(canonical("::ffff:192.0.2.1%2"), IPv4Address("192.0.2.1"))

    def test_no_address(self) -> None:
        """What is no address, and a UNIX peer, is None."""
        for host in (None, "", "localhost", "192.0.2.1.5", "192.0.2.01", "1::2::3", "/run/socket", "%eth0"):
            self.assertIsNone(canonical(host))

    @any_case
    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """No text raises."""
        canonical(text)


class PrefixTests(SynchronousTestCase):
    def test_v4_is_one_address(self) -> None:
        """Two IPv4 addresses are two sources."""
        self.assertNotEqual(prefix(canonical("192.0.2.1")), prefix(canonical("192.0.2.2")))

    def test_v6_is_a_64(self) -> None:
        """Addresses of one /64 are one source; the next /64 is another."""
        first = prefix(canonical("2001:db8::1"))
        self.assertEqual(first, prefix(canonical("2001:db8::ffff:ffff:ffff:ffff")))
        self.assertNotEqual(first, prefix(canonical("2001:db8:0:1::1")))

    def test_local(self) -> None:
        """All UNIX peers are one source, which is no address's."""
        self.assertEqual(prefix(None), LOCAL)
        self.assertNotIn(len(LOCAL), (4, 8))

    def test_mapped_is_the_v4_source(self) -> None:
        """A v4-mapped peer is the same source as the IPv4 one."""
        self.assertEqual(prefix(canonical("::ffff:192.0.2.1")), prefix(canonical("192.0.2.1")))

    @any_case
    @given(st.ip_addresses())
    def test_any_address(self, address: IPv4Address | IPv6Address) -> None:
        """Every address has a source of its version's length."""
        mapped = getattr(address, "ipv4_mapped", None)
        found = canonical(str(address))
        self.assertEqual(found, mapped or address)
        self.assertIn(len(prefix(found)), (4, 8))
