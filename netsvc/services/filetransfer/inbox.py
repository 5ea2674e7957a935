"""Inbox: where the files of peers go. Blocking; no Twisted.

A peer has no account: it may only add, unless the operator lets it replace what others have sent.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.filestore.upload import Upload

_BLOCK = 1 << 20  # octets copied at once


class Inbox:
    """The files of one service. Threads may share it.

    :param root: the directory; it is there when the first file comes.
    """

    def __init__(self, root: Path, terms: Terms) -> None:
        self.terms = terms
        self._store = FileStore(root, terms)

    def begin(self, name: str) -> Upload:
        """Begin a file.

        :raises StoreError: it is not taken.
        """
        return self._store.create((name,), resumable=False)

    def begin_unnamed(self) -> Upload:
        """Begin a file whose name comes after its octets."""
        return self.begin(f"unnamed-{secrets.token_hex(8)}")

    def move(self, upload: Upload, name: str) -> Upload:
        """Begin a file with all that an upload has, which is no more then.

        :raises StoreError: it is not taken, for its name or for want of room.
        """
        try:
            named = self.begin(name)
            try:
                while named.offset < upload.length:
                    named.write(named.offset, upload.read(named.offset, _BLOCK))
            except BaseException:
                named.discard()
                raise
            return named
        finally:
            upload.discard()

    def sweep(self) -> int:
        """Remove what a crash has left; how many files."""
        return self._store.sweep()
