"""The small services in a real twistd, with the tutorials' clients and hostile ones."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.shared import SharedCase
from tests.waiting import receive

BOUND = 120.0  # seconds that any answer may take on a loaded machine

INI = """\
[netsvc]
state_directory = state

[echo]
listen =
    tcp:0:interface=127.0.0.1
    udp:0:interface=127.0.0.1
    unix:echo.sock:mode=600
max_connections = 8000
max_connections_per_source = 8000
drain_timeout = 2s

[echo:narrow]
listen = tcp:0:interface=127.0.0.1
max_connections_per_source = 8

[echo:hasty]
listen = tcp:0:interface=127.0.0.1
idle_timeout = 500ms

[echo:dual]
listen =
    tcp:0:interface=\\:\\:
deny = 127.0.0.0/8

[discard]
listen = tcp:0:interface=127.0.0.1

[chargen]
listen =
    tcp:0:interface=127.0.0.1
    udp:0:interface=127.0.0.1

[qotd]
listen = tcp:0:interface=127.0.0.1

[daytime]
listen =
    tcp:0:interface=127.0.0.1
    udp:0:interface=127.0.0.1

[time]
listen = tcp:0:interface=127.0.0.1

[greeter]
listen = tcp:0:interface=127.0.0.1
welcome = Welcome!

[greeter:thanks]
listen = tcp:0:interface=127.0.0.1
welcome = Thank you for connecting
close = yes
"""


def read_all(connection: socket.socket) -> bytes:
    """Read to the end."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


class ServiceTests(SharedCase):
    """One daemon for all."""

    daemon: Daemon

    @classmethod
    def set_up_shared(cls) -> None:
        cls.daemon = Daemon(INI)
        cls.daemon.__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()

    @contextmanager
    def connected(self, section: str) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.daemon.port(section)), BOUND) as connection:
            yield connection

    def echoes(self) -> None:
        """The echo service still answers."""
        with self.connected("echo") as connection:
            connection.sendall(b"still there?")
            self.assertEqual(connection.recv(100), b"still there?")

    def test_tutorial_tcp_echo(self) -> None:
        """The tutorial's TCP echo client gets back what it sends."""
        with self.connected("echo") as client:
            for text in (b"hello", "你好".encode(), b"\0" * 100):
                client.sendall(text)
                self.assertEqual(receive(client, len(text)), text)

    def test_tutorial_udp_echo(self) -> None:
        """The tutorial's UDP echo client gets each datagram back."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(BOUND)
            for text in (b"Michael", b"Tracy", b"Sarah"):
                client.sendto(text, ("127.0.0.1", self.daemon.port("echo", "udp")))
                self.assertEqual(client.recv(1024), text)

    def test_tutorial_greeter(self) -> None:
        """The tutorial's client: Welcome, three names without newlines, exit."""
        with self.connected("greeter") as client:
            self.assertEqual(client.recv(1024), b"Welcome!")
            for name in (b"Michael", b"Tracy", b"Sarah"):
                client.send(name)
                self.assertEqual(client.recv(1024), b"Hello, " + name + b"!")
            client.send(b"exit")
            self.assertEqual(client.recv(1024), b"")

    def test_tutorial_banner(self) -> None:
        """The tutorial's other client reads one banner to the end."""
        with self.connected("greeter:thanks") as client:
            self.assertEqual(read_all(client), b"Thank you for connecting")

    def test_daytime_and_time(self) -> None:
        """Both clocks agree with this one."""
        with self.connected("daytime") as client:
            line = read_all(client)
        self.assertTrue(line.endswith(b"\r\n"))
        self.assertIn(str(time.localtime().tm_year).encode(), line)
        with self.connected("time") as client:
            (seconds,) = struct.unpack("!I", read_all(client))
        self.assertLess(abs(seconds - 2208988800 - time.time()), 60)

    def test_the_rest(self) -> None:
        """The others: chargen sends lines of 72, qotd a quote, discard nothing."""
        with self.connected("chargen") as client:
            self.assertEqual(len(receive(client, 74)), 74)
        with self.connected("qotd") as client:
            self.assertTrue(0 < len(read_all(client)) < 512)
        with self.connected("discard") as client:
            client.sendall(b"x" * 100_000)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(client), b"")

    def test_netcat_half_closes(self) -> None:
        """With nc -N a peer closes its side after its input and still gets all of it back."""
        text = os.urandom(300_000)
        port = str(self.daemon.port("echo"))
        done = subprocess.run(["nc", "-N", "127.0.0.1", port], input=text, capture_output=True, timeout=BOUND)
        self.assertEqual(done.stdout, text)

    def test_socat_over_unix(self) -> None:
        """A UNIX listener serves like a TCP one; its socket file has the mode that was asked for."""
        path = self.daemon.directory / "echo.sock"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        done = subprocess.run(
            ["socat", "-t", "10", "-", f"UNIX-CONNECT:{path}"], input=b"hello", capture_output=True, timeout=BOUND
        )
        self.assertEqual(done.stdout, b"hello")

    def test_a_ninth_client_is_refused(self) -> None:
        """A ninth client from one address is refused; the eighth stays connected."""
        port = self.daemon.port("echo:narrow")
        clients = [socket.create_connection(("127.0.0.1", port), BOUND) for _ in range(8)]
        try:
            for client in clients:
                client.sendall(b"x")
                self.assertEqual(client.recv(1), b"x")
            with socket.create_connection(("127.0.0.1", port), BOUND) as ninth:
                self.assertEqual(ninth.recv(1), b"")
            clients[7].sendall(b"y")
            self.assertEqual(clients[7].recv(1), b"y")
        finally:
            for client in clients:
                client.close()
        self.daemon.wait_for(r"refused 127.0.0.1: max_connections_per_source 8")

    def test_an_idle_client_is_closed(self) -> None:
        """A client that says nothing for idle_timeout sees the end of the connection."""
        with self.connected("echo:hasty") as client:
            self.assertEqual(client.recv(1), b"")

    def test_mapped_addresses(self) -> None:
        """A v4 client of a v6 listener meets the rules for v4; a v6 client passes."""
        port = self.daemon.port("echo:dual")
        with socket.create_connection(("127.0.0.1", port), BOUND) as client:
            self.assertEqual(client.recv(1), b"")
        with socket.create_connection(("::1", port), BOUND) as client:
            client.sendall(b"x")
            self.assertEqual(client.recv(1), b"x")

    def test_resets_and_rubbish(self) -> None:
        """Peers that reset, or send rubbish everywhere, end only their own connections."""
        for section in ("echo", "discard", "chargen", "qotd", "daytime", "time", "greeter", "greeter:thanks"):
            for data in (b"", os.urandom(5000), b"\xff\xfe\0\x1b[2J\r\n" * 100):
                with self.connected(section) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    try:
                        client.sendall(data)
                    except OSError as error:
                        self.assertIn(error.errno, (errno.EPIPE, errno.ECONNRESET))
        self.echoes()
        self.assertNotIn("Traceback", self.daemon.log())

    def test_a_peer_that_never_reads(self) -> None:
        """A peer that sends and never reads is no longer read; memory stays flat and others are served."""
        before = self.daemon.resident()
        with self.connected("echo") as client, self.connected("chargen") as other:
            client.setblocking(False)
            sent = 0
            while sent < 200 << 20:
                _, writable, _ = select.select([], [client], [], 1.0)
                if not writable:
                    break
                sent += client.send(b"x" * 65536)
            self.assertLess(sent, 200 << 20)
            self.echoes()
            self.assertTrue(other.recv(10))
            self.assertLess(self.daemon.resident() - before, 16 << 20)

    def test_five_thousand_connections(self) -> None:
        """5,000 connections at once; the first and the last are answered."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
        port = self.daemon.port("echo")
        clients: list[socket.socket] = []
        try:
            for _ in range(5000):
                clients.append(socket.create_connection(("127.0.0.1", port), BOUND))
            for client in (clients[0], clients[2500], clients[-1]):
                client.sendall(b"here")
                self.assertEqual(receive(client, 4), b"here")
        finally:
            for client in clients:
                client.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.echoes()

    def test_a_datagram_flood(self) -> None:
        """50,000 datagrams from one socket: the others are served meanwhile."""
        port = self.daemon.port("echo", "udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.setblocking(False)
            for number in range(50_000):
                with contextlib.suppress(BlockingIOError):
                    flood.sendto(b"x" * 500, ("127.0.0.1", port))
                if number % 10_000 == 0:
                    self.echoes()

    def test_forged_loop(self) -> None:
        """A datagram that seems to come from our own echo port gets silence."""
        port, chargen = self.daemon.port("echo", "udp"), self.daemon.port("chargen", "udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.settimeout(BOUND)
            forger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            forger.sendto(b"x", ("127.0.0.1", port))
            self.assertEqual(forger.recv(10), b"x")
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            for source, target in ((port, port), (chargen, port), (port, chargen), (7, port)):
                raw.sendto(struct.pack("!HHHH", source, target, 12, 0) + b"ping", ("127.0.0.1", 0))
        self.echoes()


class LifeTests(SynchronousTestCase):
    """Starting and stopping."""

    def test_stop_by_each_signal(self) -> None:
        """SIGTERM and SIGINT stop it in order; what was owed is sent."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with Daemon(INI) as daemon:
                with socket.create_connection(("127.0.0.1", daemon.port("echo")), BOUND) as client:
                    client.sendall(b"last words")
                    self.assertEqual(client.recv(100), b"last words")
                    daemon.stop(number)
                    self.assertEqual(client.recv(100), b"")
                self.assertIn("stopped", daemon.log())
                self.assertNotIn("Traceback", daemon.log())
                self.assertFalse((daemon.directory / "echo.sock").exists())

    def test_second_signal(self) -> None:
        """A second signal ends a drain that would last."""
        ini = "[netsvc]\nstate_directory = s\n[chargen]\nlisten = tcp:0:interface=127.0.0.1\ndrain_timeout = 1h\n"
        with Daemon(ini + "[greeter]\nlisten = tcp:0:interface=127.0.0.1\n") as daemon:
            with socket.create_connection(("127.0.0.1", daemon.port("chargen")), BOUND) as client:
                self.assertTrue(client.recv(10))
                os.kill(daemon.pid, signal.SIGTERM)
                daemon.wait_for("stopping")
                os.kill(daemon.pid, signal.SIGTERM)
                daemon.wait()
            self.assertNotIn("Traceback", daemon.log())

    def test_port_in_use(self) -> None:
        """A port that is taken: one clear line, status 1, nothing else starts."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            daemon = Daemon(f"[netsvc]\nstate_directory = s\n[echo]\nlisten = tcp:{port}:interface=127.0.0.1\n")
            self.addCleanup(daemon.close)
            daemon.start()
            self.assertEqual(daemon.wait(), 1)
        self.assertIn(
            f"twistd netsvc: [echo] cannot listen on tcp:127.0.0.1:{port}: Address already in use", daemon.log()
        )
        self.assertNotIn("Traceback", daemon.log())
        self.assertNotIn("ready:", daemon.log())

    def test_bad_configuration(self) -> None:
        """A bad file: every fault, status 1, no traceback, nothing starts."""
        daemon = Daemon("[echo]\nlisten = tcp:0\nmax_conections = 5\nidle_timeout = 5\n[nothing]\n")
        self.addCleanup(daemon.close)
        daemon.start()
        self.assertEqual(daemon.wait(), 1)
        self.assertEqual(len([line for line in daemon.lines if "error[" in line]), 3)
        self.assertNotIn("Traceback", daemon.log())

    def test_json_log(self) -> None:
        """log_format = json writes one object a line."""
        import json

        with Daemon(INI.replace("[netsvc]", "[netsvc]\nlog_format = json")) as daemon:
            daemon.stop()
        for line in daemon.lines:
            self.assertIn("message", json.loads(line))
