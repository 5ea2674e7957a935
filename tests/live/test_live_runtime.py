"""What every service has from the runtime, in a real twistd: TLS, PROXY, systemd's sockets, limits, privileges."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import START_BOUND, TWISTD, Daemon
from tests.ports import free_port
from tests.runtime.certificates import make_certificate
from tests.waiting import receive, wait_until

BOUND = 120.0  # seconds that any answer may take on a loaded machine

HEAD = "[netsvc]\nstate_directory = state\n"
ECHO = HEAD + "[echo]\nlisten = tcp:0:interface=127.0.0.1\n"

# Does what systemd does before it runs a service: the sockets are descriptors 3 and up, and the variables tell.
ACTIVATE = """
import os, sys
given = [int(one) for one in sys.argv[1].split(",")]
safe = [os.dup2(one, 100 + number) for number, one in enumerate(given)]
for number, one in enumerate(safe):
    os.dup2(one, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def read_all(connection: socket.socket) -> bytes:
    """Read to the end; a reset is an end too."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


class RuntimeCase(SynchronousTestCase):
    """Runs daemons."""

    def run_daemon(self, ini: str, **options: object) -> Daemon:
        """A daemon that is ready; it ends with the test."""
        daemon = Daemon(ini, **options)  # type: ignore[arg-type]
        self.addCleanup(daemon.close)
        daemon.__enter__()
        return daemon

    def connect(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A connection that ends with the test."""
        made = socket.create_connection((host, port), BOUND)
        self.addCleanup(made.close)
        return made

    def assert_echoes(self, connection: socket.socket, text: bytes = b"hello") -> None:
        """What is sent comes back."""
        connection.sendall(text)
        found = b""
        while len(found) < len(text):
            piece = connection.recv(len(text) - len(found))
            if not piece:
                break
            found += piece
        self.assertEqual(found, text)

    def directory(self) -> Path:
        made = Path(tempfile.mkdtemp(prefix="netsvc-live-"))
        self.addCleanup(shutil.rmtree, made, True)
        return made


class TlsTests(RuntimeCase):
    """TLS listeners."""

    def setUp(self) -> None:
        self.certificate, key = make_certificate(self.directory(), "one")
        self.context = ssl.create_default_context(cafile=str(self.certificate))
        self.tls = f"interface=127.0.0.1:privateKey={key}:certKey={self.certificate}"

    def secure(self, port: int) -> ssl.SSLSocket:
        """A TLS connection whose certificate was verified."""
        made = self.context.wrap_socket(self.connect(port), server_hostname="localhost")
        self.addCleanup(made.close)
        return made

    def test_services(self) -> None:
        """Echo, greeter and daytime over TLS; to peers that offer application protocols as well."""
        daemon = self.run_daemon(
            HEAD
            + f"[echo]\nlisten = tls:0:{self.tls}\n[daytime]\nlisten = tls:0:{self.tls}\n"
            + f"[greeter]\nlisten = tls:0:{self.tls}\nwelcome = Welcome!\n"
        )
        for protocols in ((), ("h2", "http/1.1")):
            if protocols:
                self.context.set_alpn_protocols(list(protocols))
            self.assert_echoes(self.secure(daemon.port("echo", "tls")), os.urandom(100_000))
            self.assertTrue(read_all(self.secure(daemon.port("daytime", "tls"))).endswith(b"\r\n"))
            greeted = self.secure(daemon.port("greeter", "tls"))
            self.assertEqual(greeted.recv(100), b"Welcome!")
            greeted.sendall(b"Sarah")
            self.assertEqual(greeted.recv(100), b"Hello, Sarah!")
            greeted.sendall(b"exit")
            self.assertEqual(greeted.recv(100), b"")
        self.assertNotIn("Traceback", daemon.log())

    def test_strangers(self) -> None:
        """What socat sent before its half-close comes back; openssl connects with TLS 1.2 and 1.3, not with 1.1."""
        daemon = self.run_daemon(HEAD + f"[echo]\nlisten = tls:0:{self.tls}\n")
        port = daemon.port("echo", "tls")
        half_closing = subprocess.run(
            ["socat", "-t", "10", "-", f"OPENSSL:localhost:{port},pf=ip4,cafile={self.certificate}"],
            input=b"hello",
            capture_output=True,
            timeout=BOUND,
        )
        self.assertEqual(half_closing.stdout, b"hello")
        for version, verdict in (("-tls1_1", 1), ("-tls1_2", 0), ("-tls1_3", 0)):
            done = subprocess.run(
                ["openssl", "s_client", version, "-CAfile", self.certificate, "-connect", f"127.0.0.1:{port}"],
                input=b"",
                capture_output=True,
                timeout=BOUND,
            )
            self.assertEqual(done.returncode, verdict, done.stderr)
        self.assertNotIn("Traceback", daemon.log())

    def test_bad_handshakes(self) -> None:
        """Plain text, silence and a handshake that stops are ended; nobody else notices, and a stop does not wait."""
        daemon = self.run_daemon(
            HEAD + f"[echo]\nlisten = tls:0:{self.tls}\nhandshake_timeout = 3s\n"
            f"[echo:patient]\nlisten = tls:0:{self.tls}\ndrain_timeout = 1h\n"
        )
        port = daemon.port("echo", "tls")
        steady = self.secure(port)
        strangers = [self.connect(port) for _ in range(4)]
        for bad, said in zip(
            strangers, (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.0\r\n\r\n", os.urandom(1000)), strict=True
        ):
            bad.sendall(said)
        for bad in strangers:
            self.assertNotIn(b"HTTP", read_all(bad))
        self.assert_echoes(steady)
        half = self.connect(daemon.port("echo:patient", "tls"))
        half.sendall(b"\x16\x03\x01")
        daemon.stop()
        self.assertIn("stopped", daemon.log())
        self.assertEqual(read_all(half), b"")
        self.assertNotIn("Traceback", daemon.log())


class ProxyTests(RuntimeCase):
    """haproxy: listeners."""

    V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((192, 0, 2, 9, 127, 0, 0, 1)) + struct.pack("!HH", 5000, 80)

    def test_proxy_headers(self) -> None:
        """The client's address of a trusted proxy's header counts for the rules; other sources are refused."""
        daemon = self.run_daemon(
            HEAD + "[echo]\nlisten = haproxy:tcp:0:interface=127.0.0.1\nproxy_from = 127.0.0.1\ndeny = 192.0.2.66\n"
            "[daytime]\nlisten = haproxy:tcp:0:interface=127.0.0.1\nproxy_from = 127.0.0.0/8\n"
        )
        port = daemon.port("echo")
        v1 = b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 80\r\n"
        for header in (v1, self.V2, b"PROXY UNKNOWN\r\n"):
            whole = self.connect(port)
            whole.sendall(header + b"first;")
            self.assertEqual(receive(whole, 6), b"first;")
            self.assert_echoes(whole)
            slow = self.connect(port)
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in header:
                slow.send(bytes((octet,)))
            self.assert_echoes(slow)
        with self.connect(daemon.port("daytime")) as client:
            client.sendall(v1 + b"ignored")
            self.assertTrue(read_all(client).endswith(b"\r\n"))
        denied = self.connect(port)
        denied.sendall(b"PROXY TCP4 192.0.2.66 192.0.2.1 5000 80\r\n")
        self.assertEqual(read_all(denied), b"")
        daemon.wait_for(r"refused 192\.0\.2\.66: deny 192\.0\.2\.66/32")
        rubbish = self.connect(port)
        rubbish.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(read_all(rubbish), b"")
        stranger = socket.create_connection(("127.0.0.1", port), BOUND, source_address=("127.0.0.2", 0))
        self.addCleanup(stranger.close)
        self.assertEqual(read_all(stranger), b"")
        daemon.wait_for(r"refused 127\.0\.0\.2: .*proxy_from")
        self.assertNotIn("Traceback", daemon.log())


class SystemdTests(RuntimeCase):
    """Sockets that systemd passes in."""

    def test_two_of_one_name(self) -> None:
        """A .socket with v4, v6 and UDP passes three descriptors of one name; all are served, one with TLS on top."""
        certificate, key = make_certificate(self.directory(), "one")
        sockets = [
            socket.create_server(("127.0.0.1", 0)),
            socket.create_server(("::1", 0), family=socket.AF_INET6),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            socket.create_server(("127.0.0.1", 0)),
            socket.create_server(("127.0.0.1", 0)),
        ]
        for one in sockets:
            self.addCleanup(one.close)
        sockets[2].bind(("127.0.0.1", 0))
        v4, v6, udp, secured, _ = (one.getsockname()[1] for one in sockets)
        numbers = tuple(one.fileno() for one in sockets)
        daemon = self.run_daemon(
            HEAD + "[echo]\nlisten =\n  systemd:name=echo\n"
            f"  systemd:name=tls:privateKey={key}:certKey={certificate}\n",
            launcher=(sys.executable, "-c", ACTIVATE, ",".join(map(str, numbers)), "echo:echo:echo:tls:unused"),
            descriptors=numbers,
        )
        self.assert_echoes(self.connect(v4))
        self.assert_echoes(self.connect(v6, "::1"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(BOUND)
            client.sendto(b"ping", ("127.0.0.1", udp))
            self.assertEqual(client.recv(10), b"ping")
        context = ssl.create_default_context(cafile=str(certificate))
        with context.wrap_socket(self.connect(secured), server_hostname="localhost") as client:
            self.assert_echoes(client)
        daemon.wait_for(r"systemd passed the socket unused in")
        daemon.stop()
        self.assertIn("stopped", daemon.log())
        self.connect(v4)  # systemd's own descriptor, here the test's, still listens


class PrivilegeTests(RuntimeCase):
    """The option user."""

    def test_user(self) -> None:
        """Started as root it binds a low port and becomes the user for good; as anybody else it says why it cannot."""
        ini = "[netsvc]\nstate_directory = state\nuser = nobody\n[echo]\nlisten =\n  tcp:{}:interface=127.0.0.1\n"
        if os.geteuid() != 0:
            daemon = Daemon(ini.format(0))
            self.addCleanup(daemon.close)
            daemon.start()
            self.assertEqual(daemon.wait(), 1)
            self.assertIn("twistd netsvc: ", daemon.log())
            self.assertNotIn("Traceback", daemon.log())
            return
        daemon = Daemon(ini.format(0) + "  unix:echo.sock:mode=600\n")
        self.addCleanup(daemon.close)
        daemon.directory.chmod(0o755)  # the user must get through to the state directory
        daemon.__enter__()
        nobody = pwd.getpwnam("nobody")
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        ids = {line.split(":")[0]: line.split()[1:] for line in status.splitlines()}
        self.assertEqual(ids["Uid"], [str(nobody.pw_uid)] * 4)
        self.assertEqual(ids["Gid"], [str(nobody.pw_gid)] * 4)
        self.assertEqual(set(ids["Groups"]), {str(one) for one in os.getgrouplist("nobody", nobody.pw_gid)})
        self.assertEqual(int(ids["CapEff"][0], 16), 0)
        found = daemon.state.stat()
        self.assertEqual((found.st_uid, found.st_mode & 0o777), (nobody.pw_uid, 0o700))
        self.assert_echoes(self.connect(daemon.port("echo")))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(BOUND)
            client.connect(str(daemon.directory / "echo.sock"))
            self.assert_echoes(client)
        found = (daemon.directory / "echo.sock").stat()
        self.assertEqual((found.st_uid, found.st_gid), (nobody.pw_uid, nobody.pw_gid))
        daemon.stop()
        self.assertIn("stopped", daemon.log())
        self.assertNotIn("Traceback", daemon.log())


class ExhaustionTests(RuntimeCase):
    """Descriptors, queues, datagrams."""

    def test_limit_is_raised(self) -> None:
        """A soft limit of descriptors that is lower than the hard one is raised."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        try:
            daemon = self.run_daemon(ECHO)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE), (min(hard, 1 << 20), hard))

    def test_no_descriptors_left(self) -> None:
        """Without descriptors new connections wait, old ones are served, the log has one line; then all are served."""
        daemon = self.run_daemon(ECHO)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, 64))
        clients = [self.connect(daemon.port("echo")) for _ in range(90)]
        daemon.wait_for("accepting pauses, new connections wait: Too many open files")
        self.assert_echoes(clients[0])
        waiting = clients[-1]
        waiting.sendall(b"later")
        for client in clients[:-1]:
            client.close()
        self.assertEqual(receive(waiting, 5), b"later")
        self.assertEqual(daemon.log().count("accepting pauses"), 1)
        self.assertNotIn("EMFILE", daemon.log())
        self.assertNotIn("Traceback", daemon.log())

    def test_resets_in_the_queue(self) -> None:
        """Connections that are reset before they are accepted cost nothing."""
        daemon = self.run_daemon(ECHO)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            for _ in range(200):
                client = self.connect(daemon.port("echo"))
                client.sendall(b"never read")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        self.assert_echoes(self.connect(daemon.port("echo")))
        self.assertNotIn("Traceback", daemon.log())

    def test_udp_on_every_address(self) -> None:
        """A UDP listener on the wildcard answers from the address that was asked."""
        daemon = self.run_daemon(HEAD + "[echo]\nlisten = udp:0\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(BOUND)
            client.connect(("127.0.0.2", daemon.port("echo", "udp")))
            client.send(b"ping")
            self.assertEqual(client.recv(10), b"ping")


class SignalTests(RuntimeCase):
    """Signals that are not for stopping."""

    def test_log_signal_in_the_foreground(self) -> None:
        """SIGUSR1, at which a log file is reopened, does nothing to a daemon that logs to stdout."""
        daemon = self.run_daemon(ECHO)
        os.kill(daemon.pid, signal.SIGUSR1)
        self.assert_echoes(self.connect(daemon.port("echo")))
        daemon.stop()
        self.assertIn("stopped", daemon.log())


class BackgroundTests(RuntimeCase):
    """twistd without -n."""

    def start(self, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TWISTD, *arguments, "netsvc", "--config", directory / "netsvc.ini"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=START_BOUND,
        )

    def test_daemon(self) -> None:
        """It leaves the terminal, logs to its file, reopens it at SIGUSR1; a second one fails with a clear line."""
        directory = self.directory()
        port = free_port()
        (directory / "netsvc.ini").write_text(ECHO.replace("tcp:0", f"tcp:{port}"))
        pidfile, log, moved = directory / "one.pid", directory / "one.log", directory / "one.log.1"
        done = self.start(directory, "--pidfile=one.pid", "--logfile=one.log")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        pid = int(pidfile.read_text())
        ended = False
        try:
            self.assert_echoes(self.connect(port))
            second = self.start(directory, "--pidfile=two.pid", "--logfile=two.log")
            self.assertEqual(second.returncode, 1)
            self.assertIn(f"[echo] cannot listen on tcp:127.0.0.1:{port}: Address already in use", second.stderr)
            lines = (directory / "two.log").read_text()
            self.assertIn(f"cannot start: [echo] cannot listen on tcp:127.0.0.1:{port}: Address already in use", lines)
            self.assertNotIn("Traceback", lines)
            self.assertFalse((directory / "two.pid").exists())
            foreground = self.start(directory, "-n", "--pidfile=", "--logfile=three.log")
            self.assertEqual(foreground.returncode, 1)
            self.assertIn("twistd netsvc: [echo] cannot listen on", foreground.stderr)
            log.rename(moved)
            os.kill(pid, signal.SIGUSR1)
            wait_until(log.exists, "the log is not opened anew")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pidfile.exists(), "the daemon does not end")
            ended = True
        finally:
            if not ended:
                os.kill(pid, signal.SIGKILL)
        self.assertIn("stopped", log.read_text())
        self.assertIn("ready", moved.read_text())
        self.assertNotIn("Traceback", log.read_text() + moved.read_text())
