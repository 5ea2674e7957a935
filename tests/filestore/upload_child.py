"""Uploads into a store, and says what has come of it. Run under strace, which kills it or fails its calls.

Arguments: the root, how many files, octets of each, and the door: ``whole``, or ``parts``, each kept and continued.
It writes "begun NAME", "kept NAME OFFSET", "refused NAME KIND", and "acknowledged NAME SHA256" when that is published.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from netsvc.filestore.errors import StoreError
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms

BLOCK = 4096


def say(*words: object) -> None:
    """Write a line at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def octets_of(name: str, length: int) -> bytes:
    """What a file of this name has."""
    seed = hashlib.sha256(name.encode()).digest()
    return (seed * (length // len(seed) + 1))[:length]


def main(root: str, count: str, length: str, door: str) -> None:
    """Upload the files one after the other."""
    store = FileStore(Path(root), Terms())
    for number in range(int(count)):
        name = f"{door}-{os.getpid()}-{number}"
        octets = octets_of(name, int(length))
        half = len(octets) // 2 if door == "parts" else len(octets)
        say("begun", name)
        try:
            upload = store.create((name,), owner="me", size=len(octets))
            for at in range(0, half, BLOCK):
                upload.write(at, octets[at : min(at + BLOCK, half)])
            if door == "parts":
                upload.keep()
                say("kept", name, half)
                upload = store.resume(upload.id, "me", half)
                upload.write(half, octets[half:])
            upload.commit()
        except StoreError as error:
            say("refused", name, type(error).__name__)
        else:
            say("acknowledged", name, hashlib.sha256(octets).hexdigest())
    say("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
