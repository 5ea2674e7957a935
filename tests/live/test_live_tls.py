"""Certificates of a directory as openssl, curl and Python's ssl get them from a real twistd, while they change."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.runtime.certificates import make_pem
from tests.waiting import wait_until

BOUND = 120.0  # seconds

INI = """\
[netsvc]
{options}
[http]
docroot = {www}
listen =
    tls:0:interface=127.0.0.1:directory={directory}
"""


class TlsTests(SynchronousTestCase):
    """One daemon a test; its certificates are in a directory."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="netsvc-tls-"))
        self.addCleanup(shutil.rmtree, self.place)
        self.place.chmod(0o755)
        self.directory = self.place / "tls"
        www = self.place / "www"
        for folder in (self.directory, www):
            folder.mkdir()
        (www / "a.txt").write_text("hello")
        self.signer = make_pem(["signer.example"], days=300)
        self.roots = self.place / "roots.pem"
        self.roots.write_bytes(self.signer[0])

    def write(self, name: str, *names: str, days: float = 90, kind: str = "ec", mode: int = 0o644) -> None:
        """A certificate of our signer, and its key, in one file."""
        pem, key = make_pem(names, days=days, kind=kind, signer=self.signer)
        temporary = self.directory / f".{name}"
        temporary.write_bytes(pem + self.signer[0] + key)
        temporary.chmod(mode)
        temporary.rename(self.directory / name)

    def run_daemon(self, options: str = "") -> Daemon:
        www = self.place / "www"
        daemon = Daemon(INI.format(options=options, www=www, directory=self.directory))
        self.addCleanup(daemon.close)
        daemon.__enter__()
        self.port = daemon.port("http", "tls")
        return daemon

    def served(self, name: str | None) -> dict[str, Any]:
        """The certificate that Python gets, verified against our signer but for its name."""
        context = ssl.create_default_context(cafile=str(self.roots))
        context.check_hostname = False
        with (
            socket.create_connection(("127.0.0.1", self.port), BOUND) as connection,
            context.wrap_socket(connection, server_hostname=name) as secured,
        ):
            found: Any = secured.getpeercert()
            return dict(found)

    def served_names(self, name: str | None) -> list[str]:
        return [value for _, value in self.served(name)["subjectAltName"]]

    def s_client(self, *arguments: str) -> str:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile", str(self.roots), *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND, check=False
        )
        return done.stdout + done.stderr

    def test_static_tls_peers(self) -> None:
        """openssl, curl and Python get the certificate of the name that they ask for, verified with its chain."""
        self.write("1.pem", "one.example", "xn--bcher-kva.example")
        self.write("2.pem", "*.example.org")
        self.write("3-rsa.pem", "www.example.org", kind="rsa")
        self.write("3-ec.pem", "www.example.org")
        self.run_daemon()
        for name, expected in (
            ("one.example", "one.example"),
            ("blog.example.org", "*.example.org"),
            ("www.example.org", "www.example.org"),
        ):
            said = self.s_client("-servername", name, "-verify_hostname", name, "-verify_return_error")
            self.assertIn("Verify return code: 0 (ok)", said)
            self.assertIn(expected, self.served_names(name))
            curl = subprocess.run(
                ["curl", "-sS", "--cacert", self.roots, "--resolve", f"{name}:{self.port}:127.0.0.1",
                 f"https://{name}:{self.port}/a.txt"],
                capture_output=True, text=True, timeout=BOUND, check=False,
            )  # fmt: skip
            self.assertEqual((curl.stdout, curl.stderr), ("hello", ""))
        self.assertEqual(self.served_names("bücher.example"), ["one.example", "xn--bcher-kva.example"])
        self.assertEqual(self.served_names(None), ["one.example", "xn--bcher-kva.example"])
        for signature, shown in (("ECDSA+SHA256", "ECDSA"), ("RSA-PSS+SHA256", "RSA-PSS")):
            said = self.s_client("-servername", "www.example.org", "-sigalgs", signature)
            self.assertIn(f"Peer signature type: {shown}", said)

    def test_static_tls_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken and 1.1 is not; a peer that renegotiates is refused; nothing is compressed."""
        self.write("1.pem", "one.example")
        self.run_daemon()
        for version in ("1_2", "1_3"):
            said = self.s_client(f"-tls{version}", "-servername", "one.example")
            self.assertIn(f"New, TLSv{version.replace('_', '.')}", said)
            self.assertIn("Compression: NONE", said)
        self.assertIn("New, (NONE)", self.s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"))
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-tls1_2", "-CAfile", str(self.roots)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert client.stdout is not None
            assert client.stdin is not None
            for line in client.stdout:
                if "Extended master secret" in line:
                    break
            client.stdin.write("R\n")
            client.stdin.flush()
            said = client.communicate(timeout=BOUND)[0]
        finally:
            client.kill()
            client.wait()
        self.assertIn("no renegotiation", said)

    def test_static_tls_reload(self) -> None:
        """While peers come without a pause certificates are renewed, added, spoilt and removed; no handshake fails."""
        self.write("1.pem", "one.example", days=50)
        self.write("2.pem", "two.example")
        daemon = self.run_daemon()
        before = self.served("one.example")["notAfter"]
        failures: list[BaseException] = []
        over = threading.Event()

        def come() -> None:
            while not over.is_set():
                try:
                    self.served("one.example")
                except BaseException as error:
                    failures.append(error)

        peer = threading.Thread(target=come)
        peer.start()
        try:
            self.write("1.pem", "one.example", days=60)
            wait_until(lambda: self.served("one.example")["notAfter"] != before, "it is not reloaded")
            self.write("3.pem", "three.example")
            wait_until(lambda: "three.example" in self.served_names("three.example"), "it is not added")
            spoilt = self.directory / ".spoilt"
            spoilt.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
            spoilt.rename(self.directory / "3.pem")  # one change, which is told of once
            daemon.wait_for(r"a certificate stays as it was: the certificate .*3\.pem cannot be used")
            self.assertEqual(self.served_names("three.example"), ["three.example"])
            (self.directory / "3.pem").unlink()
            daemon.wait_for(r"certificate 3\.pem is no longer there")
            self.assertEqual(self.served_names("three.example"), ["one.example"])
        finally:
            over.set()
            peer.join(BOUND)
        self.assertEqual(failures, [])
        self.assertEqual(daemon.log().count("a certificate stays as it was"), 1)

    def test_static_tls_bad_start(self) -> None:
        """With a bad file in the directory the daemon does not start, and says what is wrong, a line each."""
        self.write("1.pem", "one.example")
        (self.directory / "bad.pem").write_bytes(b"bad")
        (self.directory / "lonely.crt").write_bytes(self.signer[0])
        daemon = Daemon(INI.format(options="", www=self.place / "www", directory=self.directory))
        self.addCleanup(daemon.close)
        daemon.start()
        self.assertEqual(daemon.wait(), 1)
        self.assertRegex(
            daemon.log(), r"netsvc: \[http\] the certificate \S+/bad\.pem cannot be used: it is not in PEM"
        )
        self.assertRegex(daemon.log(), r"netsvc: \[http\] the private key \S+/lonely\.key cannot be used: No such file")
        self.assertNotIn("Traceback", daemon.log())

    def test_static_tls_expiry(self) -> None:
        """A certificate that expires within 14 days, or has expired, is warned of at the start."""
        self.write("1.pem", "one.example", days=10)
        self.write("2.pem", "two.example", days=-0.1)
        self.write("3.pem", "three.example")
        daemon = self.run_daemon()
        daemon.wait_for(r"certificate 1\.pem for one\.example expires on \d{4}-\d\d-\d\d")
        daemon.wait_for(r"certificate 2\.pem for two\.example has expired on")
        self.assertNotIn("3.pem", daemon.log())

    def test_static_tls_after_privileges_drop(self) -> None:
        """A new key that only root may read leaves the old certificate in use, and the log says why."""
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.write("1.pem", "one.example", days=50, mode=0o600)
        daemon = self.run_daemon("user = nobody\n")
        before = self.served("one.example")["notAfter"]
        self.write("1.pem", "one.example", days=60, mode=0o600)
        wait_until(lambda: self.served("one.example") and "Permission denied" in daemon.log(), "nothing is logged")
        self.assertEqual(self.served("one.example")["notAfter"], before)
        (self.directory / "1.pem").chmod(0o644)
        wait_until(lambda: self.served("one.example")["notAfter"] != before, "it is not reloaded")
