"""Facts about say_and_close."""

from __future__ import annotations

import socket
from typing import Any
from unittest import mock

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.last_words import say_and_close
from tests.net.turns import Loopback


class Speaker(Protocol):
    """Says its words as soon as it is connected, and remembers how it ended."""

    def __init__(self, words: bytes, before: Any = None) -> None:
        self.words = words
        self.before = before
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        if self.before:
            self.before(self.transport)
        say_and_close(self.transport, self.words)

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert reason is not None
        self.lost.append(reason)


class SayAndCloseTests(SynchronousTestCase):
    def connect(self, protocol: Speaker) -> Loopback:
        loopback = Loopback(protocol)
        self.addCleanup(loopback.close)
        return loopback

    def test_at_once(self) -> None:
        """Words and end reach the peer without a turn of the reactor; the protocol hears ConnectionDone, once."""
        speaker = Speaker(b"words")
        loopback = self.connect(speaker)
        self.assertEqual([type(reason.value) for reason in speaker.lost], [ConnectionDone])
        loopback.peer.setblocking(True)
        self.assertEqual(loopback.peer.recv(99), b"words")
        self.assertEqual(loopback.peer.recv(99), b"")
        self.assertEqual((loopback.turns.readers, loopback.turns.writers), (set(), set()))

    def test_input_is_no_reset(self) -> None:
        """A peer that has sent something before it is closed on still gets the words and an orderly end."""
        speaker = Speaker(b"words")
        loopback = Loopback(speaker, sent_before=b"unasked")
        self.addCleanup(loopback.close)
        loopback.peer.setblocking(True)
        self.assertEqual(loopback.peer.recv(99), b"words")
        self.assertEqual(loopback.peer.recv(99), b"")

    def test_more_than_the_socket_takes(self) -> None:
        """Words that the socket does not take at once follow, all of them, before the end."""
        words = bytes(range(256)) * 65536
        speaker = Speaker(words)
        loopback = self.connect(speaker)
        self.assertEqual(speaker.lost, [])
        self.assertEqual(loopback.read(), words)
        self.assertEqual(len(speaker.lost), 1)

    def test_a_full_or_broken_socket(self) -> None:
        """An error on the socket is met by the transport's own write."""
        with mock.patch("netsvc.net.last_words.socket.MSG_MORE", -1):  # the kernel refuses the flags
            loopback = self.connect(Speaker(b"words"))
        self.assertEqual(loopback.read(), b"words")
        self.assertTrue(loopback.transport.disconnected)

    def test_peer_gone(self) -> None:
        """A peer that is gone already costs its own connection, without an exception."""

        def leave(transport: Any) -> None:
            transport.socket.shutdown(socket.SHUT_RDWR)

        speaker = Speaker(b"words", leave)
        loopback = self.connect(speaker)
        loopback.turns.turn()
        self.assertEqual(len(speaker.lost), 1)

    def test_order(self) -> None:
        """What was written before comes before."""
        loopback = self.connect(Speaker(b"words", lambda transport: transport.write(b"some ")))
        self.assertEqual(loopback.read(), b"some words")
        self.assertTrue(loopback.transport.disconnected)

    def test_other_transports(self) -> None:
        """A transport of any other type (TLS, a test's) is written to and closed in the ordinary way."""
        transport = StringTransport()
        say_and_close(transport, b"words")
        self.assertEqual((transport.value(), transport.disconnecting), (b"words", True))
