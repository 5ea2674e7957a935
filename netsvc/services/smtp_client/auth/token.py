"""Asks a program for an OAuth 2.0 access token. Blocks, so it is called in a thread; no Twisted.

The program runs without a shell, in a clean environment, in a session of its own, and not longer than it may; what it
prints is the token and goes nowhere else, what it complains goes nowhere at all. It may also print what a token
endpoint answers (RFC 6749 5.1), which says how long the token is good; so does a token that is a JWT (RFC 7519 4.1.4).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from netsvc.config.secrets import Secret
from netsvc.net.environment import clean_environment

MAX_TOKEN = 16 * 1024  # octets, ours; RFC 4954 4 holds 12,288 enough for a whole response
PATIENCE = 30.0  # seconds for the program, ours

_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # b64token, RFC 6750 2.1


class TokenError(Exception):
    """There is no token. The text holds nothing that the program said."""


@frozen
class Token:
    """An access token.

    :param lifetime: seconds from now until it expires; None: not known.
    """

    secret: Secret
    lifetime: float | None = None


def fetch_token(
    command: Sequence[str], *, patience: float = PATIENCE, environ: Mapping[str, str] | None = None
) -> Token:
    """Run the program and take what it prints.

    :param patience: seconds until it is killed, with all that it started in its session.
    :param environ: the daemon's own by default; what systemd meant for the daemon alone is left out.
    :raises TokenError: it cannot be run, failed, took too long, or printed no token.
    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean_environment(os.environ if environ is None else environ),
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name or an argument holds NUL"
        raise TokenError(f"the token command cannot be run: {reason}") from None
    until = time.monotonic() + patience
    try:
        printed = _read(process, until)
        status = process.wait(max(0.0, until - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise TokenError(f"the token command took longer than {patience:g} seconds") from None
    finally:
        _end(process)
    if status != 0:
        raise TokenError(f"the token command ended with status {status}")
    if len(printed) > MAX_TOKEN:
        raise TokenError("the token command printed no token")
    return read_token(printed, time.time())


def read_token(printed: bytes, now: float) -> Token:
    """What a program printed.

    :param now: seconds since 1970.
    :raises TokenError: it is no token.
    """
    token, lifetime = printed.strip(), None
    if token.startswith(b"{"):
        reply = _object(token)
        token, lifetime = str(reply.get("access_token", "")).encode(), _number(reply.get("expires_in"))
    if not _TOKEN.fullmatch(token):
        raise TokenError("the token command printed no token")
    if lifetime is None and token.count(b".") == 2:  # RFC 7519 3.1; an opaque one may have two dots as well
        with contextlib.suppress(ValueError, binascii.Error):
            payload = token.split(b".")[1]
            expires = _number(_object(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))).get("exp"))
            lifetime = None if expires is None else expires - now
    return Token(Secret("token command", token.decode("ascii")), lifetime)


def _object(octets: bytes) -> dict[str, Any]:
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    """A finite number of JSON that may be a time."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if number else None  # type: ignore[arg-type]  # it is a number


def _read(process: subprocess.Popen[bytes], until: float) -> bytes:
    """All that it prints, but not much more than a token. TimeoutError when it prints for too long."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    descriptor, printed = process.stdout.fileno(), b""
    poll = select.poll()  # select() knows no descriptor above 1,023
    poll.register(descriptor, select.POLLIN)
    while len(printed) <= MAX_TOKEN:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError
        octets = os.read(descriptor, MAX_TOKEN)
        if not octets:
            break
        printed += octets
    return printed


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind of one that has not ended by itself."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    process.stdout.close()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
