"""SMTP AUTH, the client's side: PLAIN (RFC 4616) and LOGIN (as in use; draft-murchison-sasl-login). No I/O, no Twisted.

Also the scrubber: a server may say a password back in its reply, and replies end in logs and bounces.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from netsvc.config.secrets import Secret

MAX_COMMAND = 512  # octets of a command line with CRLF, RFC 5321 4.5.3.1.4


class AuthError(Exception):
    """The exchange cannot go on. The text holds neither secrets nor the peer's words."""


def _base64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


class Plain:
    """RFC 4616: one message, sent with the command when it fits there (RFC 4954 4)."""

    name = "PLAIN"

    def __init__(self, username: str, password: Secret) -> None:
        if "\0" in username or "\0" in password.reveal():
            raise AuthError("a name or password with NUL cannot be sent with AUTH PLAIN")
        self._steps: list[Callable[[], bytes]] = [lambda: f"\0{username}\0{password.reveal()}".encode()]  # noqa: PLW0108 - revealed when sent

    def begin(self) -> bytes:
        """The AUTH command with CRLF."""
        command = b"AUTH PLAIN " + _base64(self._steps[0]()) + b"\r\n"
        if len(command) > MAX_COMMAND:
            return b"AUTH PLAIN\r\n"
        self._steps.clear()
        return command

    def respond(self, challenge: str) -> bytes:
        """The answer to a 334, with CRLF."""
        return _next(self._steps, challenge)


class Login:
    """Two questions, name and password, known by their order: their words differ between servers."""

    name = "LOGIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._steps: list[Callable[[], bytes]] = [username.encode, lambda: password.reveal().encode()]

    def begin(self) -> bytes:
        """The AUTH command with CRLF; not every server takes an initial response here."""
        return b"AUTH LOGIN\r\n"

    def respond(self, challenge: str) -> bytes:
        """The answer to a 334, with CRLF."""
        return _next(self._steps, challenge)


def _next(steps: list[Callable[[], bytes]], challenge: str) -> bytes:
    if not steps:
        raise AuthError("the server asked for more than the mechanism has to say")
    try:
        base64.b64decode(challenge.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise AuthError("the server's challenge is not base64") from None
    return _base64(steps.pop(0)()) + b"\r\n"


Mechanism = Plain | Login
MECHANISMS: tuple[type[Plain | Login], ...] = (Plain, Login)  # best first


class Scrubber:
    """Removes a login's secrets from text, in the forms in which they cross the wire."""

    def __init__(self, username: str | None, password: Secret | None) -> None:
        secrets: set[str] = set()
        if password is not None and (word := password.reveal()):
            secrets = {word, _base64(word.encode()).decode(), " ".join(word.split())}
            secrets.add(_base64(f"\0{username}\0{word}".encode()).decode())
        found = sorted(filter(None, secrets), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub("[secret]", text) if self._pattern else text
