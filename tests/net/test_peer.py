"""True peers, and how far a connection has come."""

from __future__ import annotations

import socket
import time

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net import peer
from netsvc.net.progress import octets_moved, octets_taken, octets_unread


class PeerTests(SynchronousTestCase):
    """netsvc.net.peer."""

    def test_canonical(self) -> None:
        """A v4-mapped address is v4; everything else is what it was."""
        mapped = IPv6Address("TCP", "::ffff:192.0.2.1", 5)
        self.assertEqual(peer.canonical(mapped), IPv4Address("TCP", "192.0.2.1", 5))
        for same in (IPv4Address("TCP", "192.0.2.1", 5), IPv6Address("TCP", "2001:db8::1", 5), UNIXAddress("/x"), None):
            self.assertIs(peer.canonical(same), same)
        self.assertEqual(peer.canonical_host("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(peer.canonical_host("2001:db8::1"), "2001:db8::1")

    def test_address(self) -> None:
        """Hosts become addresses of their version; a scope is left out."""
        self.assertEqual(peer.address("2001:db8::1", 5), IPv6Address("TCP", "2001:db8::1", 5))
        self.assertEqual(peer.address("fe80::1%eth0", 5), IPv6Address("TCP", "fe80::1", 5))

    def test_present_as(self) -> None:
        """One connection shows the addresses it was given, another of its class its own."""
        one, other = StringTransport(), StringTransport()
        shown = IPv4Address("TCP", "192.0.2.1", 5)
        peer.present_as(one, shown, shown)
        self.assertEqual((one.getPeer(), one.getHost()), (shown, shown))
        self.assertNotEqual(other.getPeer(), shown)


class ProgressTests(SynchronousTestCase):
    """netsvc.net.progress."""

    def test_tcp(self) -> None:
        """What arrives and what the peer has taken both count."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            with accepted:
                before = octets_moved(accepted)
                assert before is not None
                client.sendall(b"x" * 1000)
                self.assertEqual(len(accepted.recv(1000, socket.MSG_WAITALL)), 1000)
                accepted.sendall(b"y" * 500)
                self.assertEqual(len(client.recv(500, socket.MSG_WAITALL)), 500)
                end = time.monotonic() + 10  # an acknowledgement may be delayed
                while (octets_taken(accepted) or 0) < 500 and time.monotonic() < end:
                    pass
                self.assertIn(octets_taken(accepted), (500, 501))  # some kernels count the SYN
                after = octets_moved(accepted)
                assert after is not None
                self.assertGreaterEqual(after - before, 1000)

    def test_unix(self) -> None:
        """The kernel keeps no count for UNIX connections, but tells what is not yet read."""
        one, other = socket.socketpair()
        with one, other:
            self.assertIsNone(octets_moved(one))
            self.assertEqual(octets_unread(one), 0)
            one.sendall(b"x" * 1000)
            self.assertGreater(octets_unread(one), 0)

    def test_closed(self) -> None:
        """A closed socket tells nothing and raises nothing."""
        one, other = socket.socketpair()
        other.close()
        one.close()
        self.assertIsNone(octets_moved(one))
        self.assertEqual(octets_unread(one), 0)

    def test_short_answer(self) -> None:
        """A kernel whose tcp_info is too short tells nothing."""

        class Old:
            def getsockopt(self, *_: int) -> bytes:
                return b"\0" * 104

        self.assertIsNone(octets_moved(Old()))  # type: ignore[arg-type]
        self.assertIsNone(octets_taken(Old()))  # type: ignore[arg-type]
