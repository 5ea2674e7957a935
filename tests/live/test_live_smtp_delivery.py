"""The delivery client against strangers: aiosmtpd with STARTTLS, implicit TLS and AUTH, and sockets that misbehave.

deliver() runs in a child process with a reactor of its own; the peers run in threads here.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from twisted.trial.unittest import SynchronousTestCase

from tests.services.smtp_client.certs import Issued, authority, server

CHILD = """
import json, sys
from pathlib import Path
from twisted.internet import reactor
from netsvc.config.secrets import Secret
from twisted.internet.defer import Deferred
from netsvc.services.smtp_client.delivery import Envelope, Relay, Timeouts, deliver
from netsvc.services.smtp_client.pool import Pool

job = json.load(sys.stdin)
relay = job["relay"]
if relay.get("password"):
    relay["password"] = Secret("literal", relay["password"])
if relay.get("trust_roots"):
    relay["trust_roots"] = Path(relay["trust_roots"])
relay["token_command"] = tuple(relay.get("token_command", ()))
relays = [*(Relay(host="127.0.0.1", port=port, tls="none") for port in job["before"]), Relay(**relay)]
pool = Pool(reactor)
all_outcomes = []

async def send():
    envelope = Envelope(sender=job["sender"], recipients=tuple(job["to"]))
    for _ in range(job["messages"]):
        all_outcomes.extend(await deliver(
            reactor, relays, envelope, job["content"].encode("latin-1"),
            helo_name="client.example", timeouts=Timeouts(**job["timeouts"]), pool=pool,
        ))
    await pool.stop()
    json.dump([[o.recipient, o.result, o.code, o.enhanced, o.text, o.phase] for o in all_outcomes], sys.stdout)
    reactor.callLater(0, reactor.stop)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(send()))
reactor.run()
"""


class Box:
    """An aiosmtpd handler that keeps what it takes."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes, bool]] = []
        self.peers: list[Any] = []

    async def handle_RCPT(self, smtp: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("no"):
            return "550 5.1.1 nobody"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, smtp: Any, session: Any, envelope: Any) -> str:
        self.peers.append(session.peer)
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content, session.ssl is not None))
        return "250 2.0.0 taken"


class Strict(SMTP):
    """An aiosmtpd with the mechanisms that it lacks, by their own arithmetic."""

    async def auth_CRAM__MD5(self, server: Any, args: list[str]) -> AuthResult:
        answer = await self.challenge_auth("<1896.697170952@postoffice.example>")
        expected = b"anna " + hmac.new(b"secret", b"<1896.697170952@postoffice.example>", "md5").hexdigest().encode()
        return AuthResult(success=answer == expected, handled=False)

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        said = base64.b64decode(args[1])
        if said == b"user=anna\1auth=Bearer fresh-token\1\1":
            return AuthResult(success=True)
        await self.challenge_auth('{"status":"401"}')
        return AuthResult(success=False, handled=False)


def login(smtp: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    """An aiosmtpd authenticator that knows one name."""
    return AuthResult(success=(data.login, data.password) == (b"anna", b"secret"), handled=False)


class LiveCase(SynchronousTestCase):
    patience = 20  # seconds; what is to time out has less

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.roots = self.directory / "roots.pem"
        self.roots.write_bytes(authority("test CA").pem)

    def server_context(self, issued: Issued) -> ssl.SSLContext:
        path = self.directory / "server.pem"
        path.write_bytes(issued.pem + issued.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    @contextmanager
    def aiosmtpd(
        self, issued: Issued | None = None, *, implicit: bool = False, **more: Any
    ) -> Iterator[tuple[Box, int]]:
        """A running aiosmtpd on a free port."""
        box = Box()
        context = self.server_context(issued) if issued else None

        class OnFreePort(Controller):
            def factory(self) -> SMTP:
                return Strict(box, enable_SMTPUTF8=True, tls_context=None if implicit else context, **more)

            def _trigger_server(self) -> None:
                self.port = self.server.sockets[0].getsockname()[1]
                super()._trigger_server()

        controller = OnFreePort(box, hostname="127.0.0.1", port=0, ssl_context=context if implicit else None)
        controller.start()
        try:
            yield box, controller.port
        finally:
            controller.stop()

    def send(self, port: int, **changes: Any) -> list[list[Any]]:
        """Run deliver() in a child; its outcomes."""
        relay = {"host": "127.0.0.1", "port": port, "tls": "none"}
        job: dict[str, Any] = {
            "sender": "me@here.example",
            "to": ["a@there.example"],
            "content": "Subject: x\n\nHello\n",
            "messages": 1,
            "before": [],
            "timeouts": {
                **dict.fromkeys(("connect", "greeting", "ehlo"), 60),
                **dict.fromkeys(("block", "termination", "handshake"), self.patience),
            },
        }
        for key, value in changes.items():
            (job if key in job else relay)[key] = value
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", CHILD],
            input=json.dumps({**job, "relay": relay}),
            capture_output=True,
            text=True,
            timeout=180,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        outcomes: list[list[Any]] = json.loads(done.stdout)
        return outcomes


class AiosmtpdTests(LiveCase):
    def test_plain(self) -> None:
        """A message arrives octet for octet, dots and line ends put right; a refused recipient is told apart."""
        content = ".\r\n..\n.x\rSubject\r\n" + "." * 200 + "\n" + "line\n" * 40_000
        with self.aiosmtpd(data_size_limit=1 << 24) as (box, port):
            outcomes = self.send(port, content=content, to=["a@there.example", "no@there.example"])
        self.assertEqual([outcome[1] for outcome in outcomes], ["delivered", "permanent"])
        self.assertEqual(outcomes[0][2:], [250, "2.0.0", "taken", "dot"])
        self.assertEqual(outcomes[1][2:], [550, "5.1.1", "nobody", "rcpt"])
        expected = content.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode()
        self.assertEqual(box.taken, [("me@here.example", ["a@there.example"], expected, False)])

    def test_starttls_with_login(self) -> None:
        """STARTTLS, verified chain and name, then AUTH: the tutorials' way on port 587."""
        with self.aiosmtpd(server("127.0.0.1"), authenticator=login, auth_required=True) as (box, port):
            how = {"tls": "verify", "trust_roots": str(self.roots), "username": "anna"}
            good = self.send(port, **how, password="secret")
            bad = self.send(port, **how, password="wrong-pass")
        self.assertEqual(good[0][1], "delivered")
        self.assertTrue(box.taken[0][3])
        self.assertEqual((bad[0][1], bad[0][2], bad[0][5]), ("retry", 535, "auth"))
        self.assertNotIn("wrong-pass", str(bad))

    def test_one_connection_for_many_messages(self) -> None:
        """Messages behind each other go over one connection, TLS and login once, refused recipients or not."""
        how = {"tls": "verify", "trust_roots": str(self.roots), "username": "anna", "password": "secret"}
        with self.aiosmtpd(server("127.0.0.1"), authenticator=login, auth_required=True) as (box, port):
            outcomes = self.send(port, **how, messages=5, to=["a@there.example", "no@there.example"])
        self.assertEqual([outcome[1] for outcome in outcomes], ["delivered", "permanent"] * 5)
        self.assertEqual((len(box.taken), len(set(box.peers))), (5, 1))

    def test_mail_fault_01_the_next_relay(self) -> None:
        """Where nobody listens at the first relay the second has the message."""
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            unused = listener.getsockname()[1]
        with self.aiosmtpd() as (box, port):
            outcomes = self.send(port, before=[unused])
        self.assertEqual((outcomes[0][1], len(box.taken)), ("delivered", 1))

    def test_challenge_and_token(self) -> None:
        """CRAM-MD5, and XOAUTH2 with what a program prints; a stale token is told as a failed login."""
        how: dict[str, Any] = {"tls": "require", "username": "anna"}
        few = {"auth_exclude_mechanism": ["LOGIN", "PLAIN"], "authenticator": login, "auth_required": True}
        with self.aiosmtpd(server("127.0.0.1"), **few) as (box, port):
            good = self.send(port, **how, password="secret", mechanisms=["CRAM-MD5"])
            token = self.send(port, **how, token_command=["/bin/echo", "fresh-token"])
            stale = self.send(port, **how, token_command=["/bin/echo", "stale-token"])
            none = self.send(port, **how, token_command=["/bin/false"])
        self.assertEqual([good[0][1], token[0][1], len(box.taken)], ["delivered", "delivered", 2])
        self.assertEqual((stale[0][1:3], stale[0][5]), (["retry", 535], "auth"))
        self.assertEqual(none[0][4], "the token command ended with status 1")

    def test_implicit_tls_with_login_by_name(self) -> None:
        """TLS from the first octet, the name localhost verified: the tutorials' way on port 465."""
        issued = server("localhost")
        with self.aiosmtpd(issued, implicit=True, authenticator=login, auth_require_tls=False) as (box, port):
            outcomes = self.send(
                port,
                host="localhost",
                tls="verify",
                implicit=True,
                trust_roots=str(self.roots),
                username="anna",
                password="secret",
                content="From: 汤众 <a@example.com>\nSubject: 你好\n\n正文\n".encode().decode("latin-1"),
            )
        self.assertEqual(outcomes[0][1:3], ["delivered", 250], outcomes)
        self.assertIn("正文".encode(), box.taken[0][2])

    def test_mail_fault_16_17_18_certificates(self) -> None:
        """A certificate of a stranger, for another name, or of last week: refused with the reason, nothing is sent."""
        for issued, reason in (
            (server("127.0.0.1", by="other CA"), "not trusted here"),
            (server("other.example"), "bears other names"),
            (server("127.0.0.1", days=(-9, -2)), "has expired"),
        ):
            for implicit in (False, True):
                with self.aiosmtpd(issued, implicit=implicit) as (box, port):
                    outcomes = self.send(port, tls="verify", implicit=implicit, trust_roots=str(self.roots))
                self.assertEqual((outcomes[0][1], outcomes[0][5]), ("retry", "tls"))
                self.assertIn(reason, outcomes[0][4])
                self.assertEqual(box.taken, [])

    def test_a_big_message_over_tls(self) -> None:
        """Megabytes over TLS arrive whole."""
        content = "Subject: x\r\n\r\n" + ".123456789\r\n" * 300_000
        with self.aiosmtpd(server("127.0.0.1"), data_size_limit=1 << 24) as (box, port):
            outcomes = self.send(port, tls="require", content=content)
        self.assertEqual(outcomes[0][1], "delivered")
        self.assertEqual(box.taken[0][2], content.encode())


class SocketTests(LiveCase):
    patience = 5

    @contextmanager
    def peer(self, behave: Callable[[socket.socket], None]) -> Iterator[int]:
        """A server in a thread that does one thing to one connection."""
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            listener.settimeout(120)

            def run() -> None:
                connection, _ = listener.accept()
                with closing(connection), contextlib.suppress(OSError):  # the client may cut
                    connection.settimeout(120)
                    behave(connection)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            yield listener.getsockname()[1]
            thread.join(120)
            self.assertFalse(thread.is_alive())

    def up_to_data(self, connection: socket.socket) -> Any:
        stream = connection.makefile("rwb", buffering=0)
        self.addCleanup(stream.close)
        for reply in (b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
            stream.write(reply)
            if reply[:1] == b"2":
                stream.readline()
        return stream

    @staticmethod
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def read_to_the_dot(self, stream: Any) -> bytes:
        got = b""
        while not got.endswith(b"\r\n.\r\n"):
            got += stream.read(65536)
        return got

    def test_mail_fault_01_refused(self) -> None:
        """A port where nobody listens."""
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            port = listener.getsockname()[1]
        outcomes = self.send(port)
        self.assertEqual((outcomes[0][1], outcomes[0][5]), ("retry", "connect"))
        self.assertIn("refused", outcomes[0][4])

    def test_mail_fault_36_zero_window(self) -> None:
        """A peer that stops reading in the body is left after the block's limit; the mail is retried, not ambiguous."""

        def behave(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.up_to_data(connection)
            gone.wait(120)

        gone = threading.Event()
        with self.peer(behave) as port:
            try:
                outcomes = self.send(port, content="a: b\r\n\r\n" + ("x" * 70 + "\r\n") * 200_000)
            finally:
                gone.set()
        self.assertEqual((outcomes[0][1], outcomes[0][5]), ("retry", "body"))

    def test_mail_fault_37_cut_in_the_body(self) -> None:
        """RST in the body: retry."""

        def behave(connection: socket.socket) -> None:
            stream = self.up_to_data(connection)
            stream.read(65536)
            self.reset(connection)
            stream.close()

        with self.peer(behave) as port:
            outcomes = self.send(port, content="a: b\r\n\r\n" + ("x" * 70 + "\r\n") * 200_000)
        self.assertEqual((outcomes[0][1], outcomes[0][5]), ("retry", "body"))

    def test_mail_fault_38_39_42_after_the_dot(self) -> None:
        """FIN, RST, silence or half a reply after the dot: ambiguous."""
        for ending in ("fin", "rst", "silence", "half"):

            def behave(connection: socket.socket, ending: str = ending) -> None:
                stream = self.up_to_data(connection)
                self.read_to_the_dot(stream)
                if ending == "rst":
                    self.reset(connection)
                elif ending == "half":
                    stream.write(b"25")
                elif ending == "silence":
                    stream.read(1)  # until the client gives up
                stream.close()

            with self.peer(behave) as port:
                outcomes = self.send(port)
            self.assertEqual((outcomes[0][1], outcomes[0][2], outcomes[0][5]), ("ambiguous", None, "dot"), ending)

    def test_mail_fault_44_250_then_rst(self) -> None:
        """250, then RST: delivered."""

        def behave(connection: socket.socket) -> None:
            stream = self.up_to_data(connection)
            self.read_to_the_dot(stream)
            stream.write(b"250 ok\r\n")
            stream.readline()
            self.reset(connection)
            stream.close()

        with self.peer(behave) as port:
            outcomes = self.send(port)
        self.assertEqual(outcomes[0][1], "delivered")

    def test_mail_fault_19_20_handshakes(self) -> None:
        """A handshake that hangs or is cut: retry, in the phase of TLS."""
        for cut in (False, True):

            def behave(connection: socket.socket, cut: bool = cut) -> None:
                stream = connection.makefile("rwb", buffering=0)
                self.addCleanup(stream.close)
                for reply in (b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n"):
                    stream.write(reply)
                    stream.readline()
                stream.write(b"220 go\r\n")
                stream.read(1)
                while not cut and stream.read(65536):
                    pass
                stream.close()

            with self.peer(behave) as port:
                outcomes = self.send(port, tls="require")
            self.assertEqual((outcomes[0][1], outcomes[0][5]), ("retry", "tls"), cut)
