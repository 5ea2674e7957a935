"""AUTH PLAIN and AUTH LOGIN, step by step (RFC 4954, RFC 4616). No I/O."""

from __future__ import annotations

from typing import Literal

from netsvc.services.smtp_client.listener import commands
from netsvc.services.smtp_client.listener.commands import CommandError
from netsvc.services.smtp_client.listener.events import Login

MECHANISMS = ("PLAIN", "LOGIN")
NAME, PASSWORD = "VXNlcm5hbWU6", "UGFzc3dvcmQ6"  # what LOGIN asks for: "Username:" and "Password:" in base64


class Exchange:
    """One AUTH command.

    :raises CommandError: the mechanism is not known.
    """

    def __init__(self, mechanism: str) -> None:
        if mechanism not in MECHANISMS:
            raise CommandError(504, "5.5.4", "PLAIN and LOGIN are what there is")
        self._is_login = mechanism == "LOGIN"
        self._user: bytes | None = None

    @property
    def challenge(self) -> str:
        """What is asked for now, in base64."""
        return "" if not self._is_login else NAME if self._user is None else PASSWORD

    def step(self, line: bytes) -> Login | Literal[True] | None:
        """Take a line from the client: who wants to log in; None when it is nobody; True when there is more to ask.

        :raises CommandError: it gives up, or this is no base64.
        """
        if line == b"*":
            raise CommandError(501, "5.7.0", "as you like")
        octets = commands.from_base64(line)
        if self._is_login and self._user is None:
            self._user = octets
            return True
        found = commands.plain(octets) if self._user is None else commands.login(self._user, octets)
        return None if found is None else Login(*found)
