"""Who is at the other end of a UNIX socket, and who operates the daemon."""

from __future__ import annotations

import os
import socket
from unittest import mock

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.unix_peer import operators, unix_peer


class UnixPeers(SynchronousTestCase):
    def test_kernel(self) -> None:
        """The kernel says who is at the other end of a UNIX socket."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        transport = StringTransport()
        transport.getHandle = lambda: ours  # type: ignore[attr-defined]
        peer = unix_peer(transport)
        self.assertEqual((peer.uid, peer.pid, str(peer)), (os.getuid(), os.getpid(), f"uid:{os.getuid()}"))

    def test_nobody_knows(self) -> None:
        """Where the kernel does not say, the peer is unknown, and no operator."""
        peer = unix_peer(StringTransport())
        self.assertEqual((str(peer), peer.uid in operators()), ("unknown", False))

    def test_operators(self) -> None:
        """Operators are root and whom the daemon runs as at this moment."""
        for uid in (os.geteuid(), 77):
            with mock.patch.object(os, "geteuid", return_value=uid):
                self.assertEqual(operators(), {0, uid})
