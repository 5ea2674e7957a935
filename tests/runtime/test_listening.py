"""The service that listens for one section."""

from __future__ import annotations

import shutil
import socket
import tempfile
from datetime import time
from pathlib import Path
from typing import Any

from twisted.internet import tcp, udp
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.daemon import DaemonSettings
from netsvc.config.listen import ListenAddress, TcpAddress, UdpAddress, UnixAddress
from netsvc.config.server import ServerSettings
from netsvc.config.tls import Tls
from netsvc.errors import StartError
from netsvc.runtime.listening import Listening
from netsvc.runtime.runtime import Runtime, local_time
from netsvc.runtime.systemd_sockets import Inherited
from tests.fakes import FakeMetrics
from tests.runtime.certificates import make_certificate

LOOPBACK = TcpAddress(port=0, interface="127.0.0.1")
UDP = UdpAddress(port=0, interface="127.0.0.1")


class Reactor(MemoryReactorClock):
    """Remembers the ports that were handed to it."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Any] = []

    def addReader(self, reader: Any) -> None:
        super().addReader(reader)
        if isinstance(reader, tcp.Port | udp.Port) and reader not in self.ports:
            self.ports.append(reader)

    def close(self) -> None:
        """Close what a test left open."""
        for port in self.ports:
            if port.connected:
                port.socket.close()


class Echoes:
    """A datagram responder."""

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes:
        return request


class ListeningTests(SynchronousTestCase):
    """Listening, as SectionRuntime.serve makes it."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.reactor = Reactor()
        self.addCleanup(self.reactor.close)
        self.runtime = Runtime(
            reactor=self.reactor,
            settings=DaemonSettings(max_connections=10),
            state_directory=self.directory,
            inherited=Inherited(),
            metrics=FakeMetrics(),  # type: ignore[arg-type]
            local_time=lambda: time(12),
        )

    def listening(self, *addresses: ListenAddress, stream: Any = None, datagram: Any = None) -> Listening:
        made = self.runtime.for_section("echo").serve(ServerSettings(listen=addresses), stream, datagram)
        assert isinstance(made, Listening)
        self.addCleanup(made.abandon)
        return made

    def test_binds_early_and_accepts_late(self) -> None:
        """Sockets are bound with privileges; the reactor gets them only when the service starts."""
        service = self.listening(LOOPBACK, UDP, stream=Factory(), datagram=Echoes())
        service.privilegedStartService()
        service.privilegedStartService()
        self.assertEqual(len(service.where()), 2)
        self.assertEqual(self.reactor.ports, [])
        service.startService()
        self.assertEqual([port.addressFamily for port in self.reactor.ports], [socket.AF_INET, socket.AF_INET])
        self.assertEqual(len(self.runtime.udp_ports), 1)

    def test_starts_without_the_privileged_step(self) -> None:
        """A service added to a running daemon binds when it starts."""
        service = self.listening(LOOPBACK, stream=Factory())
        service.startService()
        self.assertEqual(len(self.reactor.ports), 1)

    def test_stop(self) -> None:
        """Stopping closes the ports, removes socket files and drains."""
        path = self.directory / "echo.sock"
        service = self.listening(LOOPBACK, UnixAddress(path=path), stream=Factory())
        service.startService()
        self.assertTrue(path.exists())
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertFalse(any(port.connected for port in self.reactor.ports))
        self.assertFalse(path.exists())

    def test_datagrams_only(self) -> None:
        """A service without a stream side stops at once."""
        service = self.listening(UDP, datagram=Echoes())
        service.startService()
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)

    def test_all_or_nothing(self) -> None:
        """When one address cannot be bound, those before it are closed again, and the section is named."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        service = self.listening(LOOPBACK, TcpAddress(port=port, interface="127.0.0.1"), stream=Factory())
        error = self.assertRaises(StartError, service.privilegedStartService)
        self.assertIn(f"[echo] cannot listen on tcp:127.0.0.1:{port}", str(error))
        self.assertEqual(service.where(), [])

    def test_sides_that_a_kind_has_not(self) -> None:
        """A UDP line for a kind without UDP, or TCP for one without TCP, is one clear line."""
        service = self.listening(UDP, stream=Factory())
        self.assertIn("no UDP side", str(self.assertRaises(StartError, service.privilegedStartService)))
        service = self.listening(LOOPBACK, datagram=Echoes())
        self.assertIn("only a UDP side", str(self.assertRaises(StartError, service.privilegedStartService)))

    def test_tls(self) -> None:
        """A TLS line wraps the factory; a key that does not belong to the certificate is one clear line."""
        certificate, key = make_certificate(self.directory, "one")
        _, other = make_certificate(self.directory, "two")
        good = TcpAddress(port=0, interface="127.0.0.1", tls=Tls(certificate, key, certificate))
        service = self.listening(good, stream=Factory())
        service.startService()
        self.assertTrue(service.where()[0].startswith("tls:127.0.0.1:"))
        for tls, complaint in (
            (Tls(certificate, other), "does not belong to the certificate"),
            (Tls(key, key), "it is not in PEM form"),
            (Tls(certificate, certificate), "it is not in PEM form, is damaged, or is encrypted"),
            (Tls(self.directory / "none", key), "No such file"),
            (Tls(certificate, self.directory / "none"), "No such file"),
        ):
            service = self.listening(TcpAddress(port=0, interface="127.0.0.1", tls=tls), stream=Factory())
            error = self.assertRaises(StartError, service.privilegedStartService)
            self.assertIn(complaint, str(error))

    def test_a_port_that_does_not_stop(self) -> None:
        """A failing port is logged and the rest of the stop goes on."""

        def fail() -> None:
            raise OSError

        service = self.listening(LOOPBACK, stream=Factory())
        service.startService()
        self.reactor.ports[0].stopListening = fail
        self.successResultOf(service.stopService())
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_local_time(self) -> None:
        """The daemon's clock for access times tells a time of day."""
        self.assertIsInstance(local_time(), time)
