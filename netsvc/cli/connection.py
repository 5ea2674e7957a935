"""Asks a service of a daemon that runs: a line of JSON out, perhaps with octets behind it, and a line back.

Standard library only, and little of it: sendmail stands on it.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, ClassVar, Self

MAX_REPLY = 64 << 20  # octets: a page of 1,000 items with long reasons is far below


class CommandError(Exception):
    """The command failed.

    :param status: of sysexits(3).
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Unreachable(CommandError):  # noqa: N818 - it says what the service is
    """No service answers, or it broke off before its answer: with a key the request may be made again."""


class Connection:
    """One connection to a service; a context manager.

    :cvar service: what it is, in words.
    :cvar timeout: seconds without any progress: more than the daemon's own for a request.
    :cvar hint: what may be said when none answers.
    :cvar version: of the protocol.
    :raises CommandError: there is none.
    """

    service: ClassVar[str]
    timeout: ClassVar[float] = 60.0
    hint: ClassVar[str] = "; --config or --socket says where one is"
    version: ClassVar[int] = 1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self.timeout)
        self._path = os.fspath(path)
        try:
            self._socket.connect(self._path)
        except PermissionError:
            self.close()
            raise CommandError(os.EX_NOPERM, f"{self._path}: permission denied") from None
        except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
            self.close()
            reason = getattr(error, "strerror", None) or str(error)
            text = f"no {self.service} answers at {self._path}: {reason}{self.hint}"
            raise Unreachable(os.EX_UNAVAILABLE, text) from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def ask(self, request: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        """Send a request, with octets behind it perhaps; the reply, if it is ok.

        :raises CommandError: it is not, or there is none.
        """
        head = json.dumps({"v": self.version, **request}, separators=(",", ":")).encode() + b"\n"
        try:
            self._send(head, content)
            line = self._file.readline(MAX_REPLY)
        except OSError as error:
            text = f"the {self.service} at {self._path} broke off: {error.strerror or error}"
            raise Unreachable(os.EX_TEMPFAIL, text) from None
        if not line.endswith(b"\n"):
            # It is not known whether the request was taken: with a key it can be sent again without harm.
            raise Unreachable(os.EX_TEMPFAIL, f"the {self.service} at {self._path} gave no answer")
        return self._understood(line)

    def _send(self, head: bytes, content: bytes) -> None:
        try:
            self._socket.sendall(head)
            self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end; the reply says why

    def stranger(self) -> CommandError:
        """What to say when the answer is none of this protocol."""
        return CommandError(os.EX_PROTOCOL, f"what answers there is no {self.service} of netsvc")

    def _understood(self, line: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(line)
            if reply["ok"] is True:
                return dict(reply)
            code, text = str(reply["code"]), str(reply["text"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self.stranger() from None
        if code.startswith("4"):
            raise CommandError(os.EX_TEMPFAIL, f"{code} {text}")
        raise CommandError(os.EX_NOPERM if code.startswith("5.7") else os.EX_DATAERR, f"{code} {text}")
