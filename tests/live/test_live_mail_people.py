"""Who may do what with the mail of a real daemon that has dropped its privileges."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import Connection
from tests.live.daemon import Daemon
from tests.waiting import wait_until

INI = """\
[netsvc]
user = nobody
state_directory = {state}/state
[smtp_client]
socket = {state}/mail.sock
relay = smtp:127.0.0.1:1
tls = none
allow_volatile = yes
socket_mode = 0666
"""
CONTENT = b"Subject: x\r\n\r\nhello\r\n"


class PeopleTest(SynchronousTestCase):
    """The daemon starts as root and becomes nobody."""

    def test_operators_after_privileges_drop(self) -> None:
        """Root and the user that the daemon has become see everybody's mail; others see their own."""
        if os.geteuid() != 0:
            self.skipTest("needs root")
        directory = tempfile.TemporaryDirectory(prefix="netsvc-people-")
        self.addCleanup(directory.cleanup)
        Path(directory.name).chmod(0o755)
        state = Path(directory.name)
        with Daemon(INI.format(state=state)) as daemon:
            wait_until((state / "mail.sock").exists, "the socket is not there")

            def ask(user: str, content: bytes = b"", **head: Any) -> Any:
                os.seteuid(pwd.getpwnam(user).pw_uid)  # whom the kernel tells the daemon of
                try:
                    connection = Connection(state / "mail.sock")
                finally:
                    os.seteuid(0)
                with connection:
                    return connection.ask(head, content)

            def mine(user: str) -> list[str]:
                return [one["id"] for one in ask(user, command="queue")["items"]]

            length = len(CONTENT)
            sent = ask("daemon", CONTENT, command="send", sender="", recipients=["b@x.example"], length=length)["id"]
            self.assertEqual((mine("root"), mine("nobody"), mine("daemon")), ([sent], [sent], [sent]))
            self.assertEqual(mine("bin"), [])
            with self.assertRaisesRegex(CommandError, "only the daemon's user and root"):
                ask("bin", command="hold", all=True)
            self.assertEqual(ask("nobody", command="hold", all=True)["count"], 1, daemon.log())
