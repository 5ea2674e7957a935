"""TLS in the middle of a conversation: certificates are read before the start, and watched while it runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.tls import Tls
from netsvc.errors import StartError
from netsvc.runtime.start_tls import StartTls
from tests.fakes import FakeMetrics
from tests.services.smtp_client.certs import server


class Transport:
    """What is asked to begin TLS."""

    creator: Any = None

    def startTLS(self, creator: Any) -> None:
        self.creator = creator


class Starting(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-tls-")
        self.addCleanup(directory.cleanup)
        self.file = Path(directory.name) / "server.pem"
        self.clock = Clock()
        self.made = StartTls(Tls(self.file, self.file), service="mail", reactor=self.clock, metrics=FakeMetrics())

    def test_no_certificate(self) -> None:
        """What cannot be used ends the start, with the section's name."""
        with self.assertRaisesRegex(StartError, r"^\[mail\] the certificate .*server.pem cannot be used"):
            self.made.privilegedStartService()

    def test_begins(self) -> None:
        """A transport is given what makes connections with the certificate; after the stop no call is left."""
        issued = server("localhost")
        self.file.write_bytes(issued.pem + issued.key_pem)
        self.made.privilegedStartService()
        self.file.unlink()  # as when privileges have dropped
        self.made.startService()
        transport = Transport()
        self.made.begin(transport)
        connection = transport.creator.serverConnectionForTLS(None)
        self.assertIsInstance(connection, SSL.Connection)
        self.assertEqual(connection.get_certificate().to_cryptography(), issued.certificate)
        self.made.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
