"""DANE and MTA-STS through a real daemon: a validating resolver, signed zones, an HTTPS server, a host with TLS."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.mail_connection import Connection
from tests.live.daemon import Daemon
from tests.live.unbound import Unbound
from tests.ports import free_port
from tests.services.smtp_client.certs import Issued, authority, server
from tests.services.smtp_client.routing.test_routing_sts import Https
from tests.waiting import wait_until

# Where policies are, on port 443: an address of this process alone, for two suites may run side by side.
POLICY_HOST = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
CERTIFICATE = ("mx.signed.example", "mx.sts.example", "mx.astray.example")
INI = """\
[smtp_client]
relay = mx
dns_servers = 127.0.0.1:{dns}
dns_trust_ad = {trust}
mx_port = {port}
own_addresses = no
mta_sts = {sts}
trust_roots = {roots}
helo_name = client.example
allow_volatile = yes
retry_first = 1h
"""
HOSTS = "@ MX 10 mx\nmx A 127.0.0.1\n"
CONTENT = b"Subject: x\r\n\r\nhello\r\n"


class Host:
    """A mail host that takes everything and remembers whether it came under TLS."""

    def __init__(self) -> None:
        self.taken: dict[str, bool] = {}

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken[envelope.rcpt_tos[0]] = session.ssl is not None
        return "250 2.0.0 taken"


def digest(issued: Issued) -> str:
    """The data of a record 3 1 1 for a certificate."""
    key = issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(key).hexdigest()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-dnssec-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.roots = self.directory / "roots.pem"
        self.roots.write_bytes(authority("test CA").pem)
        self.issued = server(*CERTIFICATE)
        pem = self.directory / "mx.pem"
        pem.write_bytes(self.issued.pem + self.issued.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.host = Host()
        self.port = free_port()  # aiosmtpd connects to itself and so must be told one
        controller = Controller(
            self.host, hostname="127.0.0.1", port=self.port, ready_timeout=30.0, tls_context=context
        )
        controller.start()
        self.addCleanup(controller.stop)
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def daemon(self, names: Unbound, *, trust: str = "loopback", sts: str = "no") -> Callable[..., Any]:
        """Start a daemon; what asks it."""
        ini = INI.format(dns=names.port, trust=trust, port=self.port, sts=sts, roots=self.roots)
        self.running = self.stack.enter_context(Daemon(ini))
        (path,) = wait_until(lambda: list(self.running.directory.glob("**/mail.sock")), "the socket is not there")

        def ask(command: str, content: bytes = b"", **more: Any) -> Any:
            with Connection(path) as connection:
                return connection.ask({"command": command, **more}, content)

        return ask

    def sent(self, ask: Callable[..., Any], *recipients: str) -> dict[str, tuple[str, str | None, str]]:
        """What the first attempt brings each of these recipients."""
        found = [ask("send", CONTENT, sender="", recipients=[one], length=len(CONTENT))["id"] for one in recipients]

        def tried() -> Any:
            items = [ask("show", id=one)["item"] for one in found]
            return all(one["ledger"] for one in items) and [one["targets"][0] for one in items]

        targets = wait_until(tried, "not all were tried")
        self.vias = {one["target"]: one["via"] for id_ in found for one in ask("show", id=id_)["item"]["ledger"]}
        return {one["address"]: (one["state"], one["enhanced"], one["text"]) for one in targets}


class DaneTest(Case):
    """Zones: signed and right, signed with a record that is not the server's, forged, unsigned."""

    def setUp(self) -> None:
        super().setUp()
        right, wrong = digest(self.issued), "ab" * 32
        tlsa = f"_{self.port}._tcp.mx TLSA 3 1 1 "
        zones = {
            "signed.example.": f"{HOSTS}{tlsa}{right}\nwrong MX 10 two\ntwo A 127.0.0.1\n"
            f"_{self.port}._tcp.two TLSA 3 1 1 {wrong}\n",
            "forged.example.": f"{HOSTS}{tlsa}{right}\n",
            "plain.example.": f"{HOSTS}{tlsa}{wrong}\n",
        }
        self.names = self.stack.enter_context(
            Unbound(
                zones, signed=("signed.example.", "forged.example."), forged=(("forged.example.", "forged.example."),)
            )
        )

    def test_dane(self) -> None:
        """Mail goes to the server that secure records name, and waits for another; what is forged, too, makes it wait.

        Records of an unsigned zone count for nothing.
        """
        ask = self.daemon(self.names)
        found = self.sent(ask, "a@signed.example", "b@wrong.signed.example", "c@forged.example", "d@plain.example")
        states = {address: (state, enhanced) for address, (state, enhanced, _) in found.items()}
        self.assertEqual(
            states,
            {
                "a@signed.example": ("delivered", "2.0.0"),
                "b@wrong.signed.example": ("waiting", "4.7.5"),
                "c@forged.example": ("waiting", "4.4.3"),
                "d@plain.example": ("delivered", "2.0.0"),
            },
            self.running.log(),
        )
        self.assertIn("match none of its TLSA records", found["b@wrong.signed.example"][2])
        self.assertIn("SERVFAIL", found["c@forged.example"][2])
        self.assertEqual(self.host.taken, {"a@signed.example": True, "d@plain.example": True})
        self.assertRegex(self.vias["a@signed.example"], rf"\Asmtp:mx.signed.example:{self.port} TLSv1\.3 \S+ dane\Z")
        self.assertRegex(self.vias["d@plain.example"], r" unverified\Z")
        (one,) = ask("route", address="a@signed.example")["recipients"]
        (line,) = one["way"]["server"]
        self.assertIn("mx.signed.example [127.0.0.1]", line)
        self.assertIn("TLS: verify, by DANE: TLSA records of mx.signed.example", line)

    def test_nobody_is_believed(self) -> None:
        """A resolver that is not believed makes nothing secure: its records count for nothing."""
        ask = self.daemon(self.names, trust="no")
        for address in ("a@signed.example", "b@wrong.signed.example"):
            (one,) = ask("route", address=address)["recipients"]
            self.assertIn("TLS: may, by no policy", one["way"]["server"][0])
        self.assertEqual(self.sent(ask, "b@wrong.signed.example")["b@wrong.signed.example"][0], "delivered")


class StsTest(Case):
    """Domains that publish policies, without DNSSEC."""

    def test_mta_sts(self) -> None:
        """The host that a policy names is verified; another is not used; a policy that was seen counts on."""
        policies = {
            "mta-sts.sts.example": b"version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.sts.example\n",
            "mta-sts.astray.example": b"version: STSv1\nmode: enforce\nmax_age: 86400\nmx: other.astray.example\n",
            "mta-sts.strict.example": b"version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.strict.example\n",
        }

        def answer(request: Any) -> None:
            body = policies[request.headers["Host"].partition(":")[0]]
            request.send_response(200)
            request.send_header("Content-Type", "text/plain")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        try:
            web = Https(server(*policies), self.directory, answer, address=(POLICY_HOST, 443))
        except PermissionError:
            self.skipTest("port 443 is for root")
        self.stack.enter_context(web)
        zone = f'{HOSTS}_mta-sts TXT "v=STSv1; id=1;"\nmta-sts A {POLICY_HOST}\n'
        zones = {f"{name}.example.": zone for name in ("sts", "astray", "strict")}
        zones["without.example."] = HOSTS
        names = self.stack.enter_context(Unbound(zones, signed=()))
        ask = self.daemon(names, sts="yes")
        found = self.sent(ask, "a@sts.example", "b@astray.example", "c@strict.example", "d@without.example")
        states = {address: (state, enhanced) for address, (state, enhanced, _) in found.items()}
        self.assertEqual(
            states,
            {
                "a@sts.example": ("delivered", "2.0.0"),
                "b@astray.example": ("waiting", "4.7.5"),  # not named
                "c@strict.example": ("waiting", "4.7.5"),  # the certificate bears other names
                "d@without.example": ("delivered", "2.0.0"),
            },
            self.running.log(),
        )
        self.assertIn("does not name its mail host", found["b@astray.example"][2])
        self.assertIn("bears other names", found["c@strict.example"][2])
        self.assertEqual(self.host.taken, {"a@sts.example": True, "d@without.example": True})
        (one,) = ask("route", address="a@sts.example")["recipients"]
        self.assertIn("TLS: verify, by MTA-STS of sts.example, mode enforce", one["way"]["server"][0])
