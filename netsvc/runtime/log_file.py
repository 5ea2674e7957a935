"""A log file that can be reopened after logrotate moved it away, and that no error of the disk makes fatal.

Only regular files: as root, ``-l /dev/null`` makes Twisted's own log file rename the device away after 1 MB.
"""

from __future__ import annotations

import os
from pathlib import Path

from netsvc.errors import StartError, printable
from netsvc.net.log_file import open_at_end


class ReopeningFile:
    """An open log file; each write is one write(2) at the end of the file.

    :param path: absolute, or relative to the working directory at each opening.
    :raise OSError: it cannot be opened, or is not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write_errors = 0
        self._torn = False  # the last write ended within a line
        self._descriptor = open_at_end(path)

    def write(self, text: str) -> None:
        """Append whole lines.

        :raise OSError: not all of it could be written. Whoever writes next starts on a new line.
        """
        octets = memoryview((b"\n" if self._torn else b"") + text.encode("utf-8", "backslashreplace"))
        try:
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]
                self._torn = bool(octets)
        except OSError:
            self.write_errors += 1
            raise

    def flush(self) -> None:
        """Part of a stream; nothing is held back here."""

    def fileno(self) -> int:
        """The descriptor; it stays the same over :meth:`reopen`."""
        return self._descriptor

    def reopen(self) -> str | None:
        """Open the file of that name anew, which logrotate has moved or removed.

        :return: None, or in words why not; then the log goes on into the old file.
        """
        try:
            fresh = open_at_end(self.path)
        except OSError as error:
            self.write_errors += 1
            return _complaint(self.path, error)
        # The number must not be free for an instant: a thread that is writing would write into somebody's socket.
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)
        self._torn = False
        return None

    def close(self) -> None:
        """Close it; twice is once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_log_file(path: str | Path) -> ReopeningFile:
    """Open or make a log file, mode 0640.

    :raise StartError: it cannot be opened, or is a device, pipe, directory or symbolic link.
    """
    try:
        return ReopeningFile(Path(path))
    except OSError as error:
        raise StartError(_complaint(path, error)) from None


def _complaint(path: str | Path, error: OSError) -> str:
    return printable(f"cannot log to {str(path)!r}: {error.strerror or error}")
