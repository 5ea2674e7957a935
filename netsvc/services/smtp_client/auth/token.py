"""Asks a program for an OAuth 2.0 access token. Blocks, so it is called in a thread; no Twisted.

The program runs without a shell, in a clean environment, in a session of its own, and not longer than it may; what it
prints is the token and goes nowhere else, what it complains goes nowhere at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from netsvc.config.secrets import Secret
from netsvc.net.environment import clean_environment

MAX_TOKEN = 16 * 1024  # octets, ours; RFC 4954 4 holds 12,288 enough for a whole response
PATIENCE = 30.0  # seconds for the program, ours

_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # b64token, RFC 6750 2.1


class TokenError(Exception):
    """There is no token. The text holds nothing that the program said."""


def fetch_token(
    command: Sequence[str], *, patience: float = PATIENCE, environ: Mapping[str, str] | None = None
) -> Secret:
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
    token = printed.strip()
    if len(printed) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise TokenError("the token command printed no token")
    return Secret("token command", token.decode("ascii"))


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
