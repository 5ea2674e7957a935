"""Mail by the DNS through a real daemon: mail hosts in their order, what is returned, and signatures."""

from __future__ import annotations

import base64
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import dkim
from aiosmtpd.controller import Controller
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.mail_connection import Connection
from tests.live.daemon import Daemon
from tests.ports import free_port
from tests.services.smtp_client.routing.authority import Authority
from tests.waiting import wait_until

# 127.0.0.2 is a mail host that refuses connections, 127.0.0.1 the one that takes mail; 127.0.0.3 puts mail off.
RECORDS = {
    ("far.example", "MX"): ["10 down.far.example.", "20 up.far.example."],
    ("down.far.example", "A"): ["127.0.0.2"],
    ("up.far.example", "A"): ["127.0.0.1"],
    ("never.example", "MX"): ["0 ."],
    ("six.example", "MX"): ["10 busy.six.example.", "20 new.six.example."],
    ("busy.six.example", "A"): ["127.0.0.3"],
    ("new.six.example", "A"): ["127.0.0.2"],
    ("new.six.example", "AAAA"): ["::1"],
}
INI = """\
[smtp_client]
relay = mx
routes = home.example maildir:home
dns_servers = 127.0.0.1:{dns}
mx_port = {port}
own_addresses = no
mta_sts = no
helo_name = client.home.example
origin = home.example
allow_volatile = yes
dkim = home.example s1 file:{key}
"""


class Host:
    """A mail host that takes everything."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        return "250 2.0.0 taken"


class Busy(Host):
    """One that has no room."""

    async def handle_MAIL(self, *_: object) -> str:
        return "451 4.3.1 no room"


class RoutesTest(SynchronousTestCase):
    """Mail for the hosts that the DNS names."""

    def key(self) -> tuple[Any, Path]:
        """A key to sign with, and its file."""
        private = generate_private_key(65537, 2048)
        key = Path(self.mktemp()).absolute()
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        return private, key

    def test_hosts_in_their_order(self) -> None:
        """A host that puts mail off gives way to the next one, which is reached by IPv6 where IPv4 is refused."""
        busy, host = Busy(), Host()
        port = free_port("::1")
        for one, address in ((busy, "127.0.0.3"), (host, "::1")):
            server = Controller(one, hostname=address, port=port, ready_timeout=30.0)
            server.start()
            self.addCleanup(server.stop)
        _, key = self.key()
        with Authority(dict(RECORDS)) as names, Daemon(INI.format(dns=names.port, port=port, key=key)) as daemon:
            sockets = wait_until(lambda: list(daemon.directory.glob("**/mail.sock")), "the socket is not there")
            with Connection(sockets[0]) as connection:
                head = {"command": "send", "sender": "root", "recipients": ["b@six.example"], "length": 2}
                queue_id = connection.ask(head, b"\r\n")["id"]

                def tried() -> Any:
                    return connection.ask({"command": "show", "id": queue_id})["item"]["ledger"]

                (attempt,) = wait_until(tried, "it is not tried")
        self.assertEqual(
            (attempt["result"], attempt["via"]), ("delivered", f"smtp:new.six.example:{port}"), daemon.log()
        )
        self.assertEqual((len(busy.taken), len(host.taken)), (0, 1))

    def test_mail_goes_where_the_dns_says(self) -> None:
        """The first mail host that answers gets it, signed; a domain that takes no mail has it returned at once."""
        host = Host()
        port = free_port()  # aiosmtpd connects to itself and so must be told one
        server = Controller(host, hostname="127.0.0.1", port=port, ready_timeout=30.0)
        server.start()
        self.addCleanup(server.stop)
        private, key = self.key()
        with Authority(dict(RECORDS)) as names, Daemon(INI.format(dns=names.port, port=port, key=key)) as daemon:
            sockets = wait_until(lambda: list(daemon.directory.glob("**/mail.sock")), "the socket is not there")
            connection = Connection(sockets[0])
            self.addCleanup(connection.__exit__)
            content = b"From: root@home.example\r\nTo: b@far.example\r\nSubject: x\r\n\r\nhello\r\n"
            recipients = ["b@far.example", "c@never.example", "d"]
            head = {"command": "send", "sender": "root", "recipients": recipients, "length": len(content)}
            queue_id = connection.ask(head, content)["id"]

            def books() -> Any:
                found = connection.ask({"command": "audit"})["audit"]
                return found["waiting"] == 0 and found["accepted"] == 4 and found

            found = wait_until(books, "it is not over")
            self.assertEqual((found["delivered"], found["bounced"], found["balanced"]), (3, 1, True), daemon.log())
            targets = connection.ask({"command": "show", "id": queue_id})["item"]["targets"]
            self.assertEqual(
                [one["address"] for one in targets], ["b@far.example", "c@never.example", "d@home.example"]
            )
            self.assertEqual((targets[1]["state"], targets[1]["enhanced"]), ("bounced", "5.1.10"))
            home = sockets[0].parent / "home" / "new"
            kept = [message_from_bytes(one.read_bytes(), policy=default) for one in home.iterdir()]
        ((sender, to, received),) = host.taken
        self.assertEqual((sender, to), ("root@home.example", ["b@far.example"]))
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = b"v=DKIM1; p=" + base64.b64encode(public)
        self.assertTrue(dkim.verify(received, dnsfunc=lambda name, timeout=5: record))
        notice = next(one for one in kept if one.get_content_type() == "multipart/report")
        assert isinstance(notice, EmailMessage)
        self.assertEqual(notice["From"].addresses[0].addr_spec, "MAILER-DAEMON@home.example")
        self.assertIn("c@never.example", notice.as_string())
        self.assertEqual(len(kept), 2)
