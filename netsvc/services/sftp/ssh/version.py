"""Reads the line with which a client begins: its version (RFC 4253 4.2). No I/O."""

from __future__ import annotations

from netsvc.services.sftp.ssh.numbers import DisconnectError, Reason

LONGEST = 255  # octets with CR LF
_BEGINNING = b"SSH-2.0-"


class VersionReader:
    """One client's version, however it is cut.

    :ivar line: the line without its end; None until it has come.
    """

    def __init__(self) -> None:
        self.line: bytes | None = None
        self._read = b""

    def feed(self, data: bytes) -> bytes:
        """Take what has come; what stands behind the line.

        :raises DisconnectError: it is another protocol, or the line is too long.
        """
        line, newline, rest = (self._read + data).partition(b"\n")
        if len(line) >= LONGEST or not line.startswith(_BEGINNING[: None if newline else len(line)]):
            raise DisconnectError(Reason.PROTOCOL_VERSION_NOT_SUPPORTED, "the peer does not speak SSH 2.0")
        if newline:
            self.line = line.removesuffix(b"\r")
        else:
            self._read = line
        return rest
