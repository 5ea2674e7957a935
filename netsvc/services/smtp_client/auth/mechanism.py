"""What a SASL mechanism is, and the simple ones: PLAIN, LOGIN and CRAM-MD5. No I/O, no Twisted.

PLAIN: RFC 4616. LOGIN: as in use (draft-murchison-sasl-login). CRAM-MD5: RFC 2195.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from typing import ClassVar

from netsvc.config.secrets import Secret

MAX_COMMAND = 512  # octets of a command line with CRLF, RFC 5321 4.5.3.1.4; RFC 4954 4 keeps it for AUTH

# What to answer to a challenge; the first of a mechanism that speaks first is given an empty one.
Step = Callable[[bytes], bytes]


class AuthError(Exception):
    """The exchange cannot go on. The text holds neither secrets nor the peer's words."""


class Mechanism:
    """One exchange: steps that are taken in their order.

    :cvar name: as servers offer it.
    :cvar speaks_first: the first step needs no challenge.
    """

    name: ClassVar[str]
    speaks_first: ClassVar[bool] = True

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)

    def begin(self) -> bytes:
        """The AUTH command with CRLF; with the first message where it fits (RFC 4954 4)."""
        if self.speaks_first:
            command = f"AUTH {self.name} ".encode() + base64.b64encode(self._steps[0](b"")) + b"\r\n"
            if len(command) <= MAX_COMMAND:
                del self._steps[0]
                return command
        return f"AUTH {self.name}\r\n".encode()

    def respond(self, challenge: str) -> bytes:
        """The answer to a 334, with CRLF."""
        if not self._steps:
            raise AuthError("the server asked for more than the mechanism has to say")
        try:
            octets = base64.b64decode(challenge.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise AuthError("the server's challenge is not base64") from None
        return base64.b64encode(self._steps.pop(0)(octets)) + b"\r\n"

    def succeeded(self) -> None:
        """The server said 235. AuthError when it has not proved what the mechanism demands of it."""


class Plain(Mechanism):
    """One message with everything."""

    name = "PLAIN"

    def __init__(self, username: str, password: Secret) -> None:
        if "\0" in username or "\0" in password.reveal():
            raise AuthError("a name or password with NUL cannot be sent with AUTH PLAIN")
        super().__init__(lambda _: f"\0{username}\0{password.reveal()}".encode())


class Login(Mechanism):
    """Two questions, name and password, known by their order: their words differ between servers."""

    name = "LOGIN"
    speaks_first = False  # not every server takes an initial response here

    def __init__(self, username: str, password: Secret) -> None:
        super().__init__(lambda _: username.encode(), lambda _: password.reveal().encode())


class CramMD5(Mechanism):
    """A keyed digest of the server's challenge."""

    name = "CRAM-MD5"
    speaks_first = False

    def __init__(self, username: str, password: Secret) -> None:
        super().__init__(lambda challenge: f"{username} {self._digest(password, challenge)}".encode())

    @staticmethod
    def _digest(password: Secret, challenge: bytes) -> str:
        try:
            return hmac.new(password.reveal().encode(), challenge, "md5").hexdigest()
        except ValueError:
            raise AuthError("MD5 is not available on this machine") from None
