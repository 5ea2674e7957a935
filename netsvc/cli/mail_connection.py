"""Talks to a running mail service over its UNIX socket. Standard library only, and little of it: sendmail stands on it.

The form of a request is that of :mod:`netsvc.services.smtp_client.submission_wire`, which is not imported because its
package needs more than the standard library; a test holds the two together.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

# sysexits(3), which what calls sendmail-like commands knows
EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_NOUSER = 67
EX_NOHOST = 68
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_PROTOCOL = 76
EX_NOPERM = 77
EX_CONFIG = 78

VERSION = 1  # of the protocol
NO_SERVICE = "what answers there is no mail service of netsvc"

TIMEOUT = 330.0  # seconds without any progress: more than the daemon's own 5 minutes for a submission
MAX_REPLY = 64 << 20  # octets: a page of 1,000 items whose recipients have long reasons is far below

# Where a daemon of the machine may have its socket: file-hierarchy(7), and systemd's StateDirectory=netsvc.
SYSTEM_PLACES = ("/run/netsvc", "/var/lib/netsvc")


class MailError(Exception):
    """The command failed.

    :param status: of sysexits(3).
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Unreachable(MailError):  # noqa: N818 - it says what the service is
    """No service answers, or it broke off before its answer: with a key the request may be made again."""


def socket_places(environ: Mapping[str, str], name: str = "mail.sock") -> Iterator[str]:
    """Where the socket may be, the likeliest first: the caller's own daemon, then the machine's.

    The first are those of :func:`netsvc.config.daemon.default_state_directory`.
    """
    granted = environ.get("STATE_DIRECTORY", "").split(":")[0]
    own = (
        (granted, ""),
        (environ.get("XDG_STATE_HOME", ""), "/netsvc"),
        (environ.get("HOME", ""), "/.local/state/netsvc"),
    )
    for base, below in own:
        if base.startswith("/"):
            yield f"{base.rstrip('/')}{below}/{name}"
    for place in SYSTEM_PLACES:
        yield f"{place}/{name}"


class Connection:
    """One connection to the service.

    :raises MailError: there is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT)
        self._path = os.fspath(path)
        try:
            self._socket.connect(self._path)
        except PermissionError:
            self.close()
            raise MailError(EX_NOPERM, f"{self._path}: permission denied") from None
        except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
            self.close()
            reason = getattr(error, "strerror", None) or str(error)
            raise Unreachable(EX_UNAVAILABLE, f"no mail service answers at {self._path}: {reason}") from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def ask(self, request: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        """Send a request, with a message behind it perhaps; the reply, if it is ok.

        :raises MailError: it is not, or there is none.
        """
        head = json.dumps({"v": VERSION, **request}, separators=(",", ":")).encode() + b"\n"
        try:
            self._send(head, content)
            line = self._file.readline(MAX_REPLY)
        except OSError as error:
            text = f"the mail service at {self._path} broke off: {error.strerror or error}"
            raise Unreachable(EX_TEMPFAIL, text) from None
        if not line.endswith(b"\n"):
            # It is not known whether the message was taken: with a key it can be sent again without harm.
            raise Unreachable(EX_TEMPFAIL, f"the mail service at {self._path} gave no answer")
        return _understood(line)

    def _send(self, head: bytes, content: bytes) -> None:
        try:
            self._socket.sendall(head)
            self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end; the reply says why


def _understood(line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
        if reply["ok"] is True:
            return dict(reply)
        code, text = str(reply["code"]), str(reply["text"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MailError(EX_PROTOCOL, NO_SERVICE) from None
    if code.startswith("4"):
        raise MailError(EX_TEMPFAIL, f"{code} {text}")
    raise MailError(EX_NOPERM if code.startswith("5.7") else EX_DATAERR, f"{code} {text}")
