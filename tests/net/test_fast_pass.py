"""Facts about fast_pass."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.net import fast_pass as module
from netsvc.net.fast_pass import fast_pass, passed

LARGE = bytes(range(256)) * 8192


class Passing(SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.transport: Any = mock.Mock(socket=ours)
        self.waits = False
        self.patch(module, "nothing_waits", lambda _: not self.waits)
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        before = len(os.listdir("/proc/self/fd"))
        self.addCleanup(lambda: self.assertEqual(len(os.listdir("/proc/self/fd")), before))  # nothing stays open

    def test_passed(self) -> None:
        """The other end has the announcement, and the octets by a descriptor."""
        self.assertTrue(fast_pass(self.transport, b"look", LARGE))
        octets, descriptors, *_ = socket.recv_fds(self.theirs, 100, 9)
        self.assertEqual(octets, b"look")
        self.assertEqual([passed(one) for one in descriptors], [LARGE])
        self.transport.write.assert_not_called()

    def test_long_announcement(self) -> None:
        """What the socket does not take of an announcement comes behind it."""
        long = b"x" * (4 << 20)
        self.assertTrue(fast_pass(self.transport, long, LARGE))
        ((rest,), _) = self.transport.write.call_args
        taken, descriptors, *_ = socket.recv_fds(self.theirs, len(long), 9, socket.MSG_WAITALL)
        while len(taken) < len(long) - len(rest):
            taken += self.theirs.recv(len(long))
        self.assertEqual(taken + rest, long)
        self.assertEqual(passed(descriptors[0]), LARGE)

    def test_not_now(self) -> None:
        """Nothing is sent behind what is queued, on a socket that is full, or when no descriptor can be had."""
        self.waits = True
        self.assertFalse(fast_pass(self.transport, b"look", LARGE))
        self.waits = False
        with mock.patch.object(os, "memfd_create", side_effect=OSError(errno.EMFILE, "")):
            self.assertFalse(fast_pass(self.transport, b"look", LARGE))
        with mock.patch.object(socket, "send_fds", side_effect=BlockingIOError):
            self.assertFalse(fast_pass(self.transport, b"look", LARGE))
        self.theirs.setblocking(False)
        self.assertRaises(BlockingIOError, self.theirs.recv, 1)
        self.transport.write.assert_not_called()
