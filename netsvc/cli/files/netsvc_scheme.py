"""netsvc://: the tutorials' protocol. One JSON object with a name and base64 is all that it has; it cannot go on.

get reads what a filetransfer service offers. put sends the object to one that receives, and believes that the file is
stored when the peer says so with the SHA-256 that it should have.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from netsvc.cli.files.errors import NotVerifiedError, TransferError, UsageError
from netsvc.cli.files.local import Download, Source, Target
from netsvc.cli.files.locations import Location
from netsvc.cli.files.meter import Meter
from netsvc.cli.files.ways import Facts, Listed, Wishes, got
from netsvc.services.filetransfer.decode import BadObjectError, Decoder, Name
from netsvc.services.filetransfer.wire import encode

GROUPS = 3  # octets that make four digits of base64: pieces of a multiple cost no copy
LONGEST_ANSWER = 64 << 10  # octets


def _connect(location: Location, wishes: Wishes, meter: Meter, stack: ExitStack) -> socket.socket:
    assert location.port is not None  # noqa: S101 - the URL has one
    peer = stack.enter_context(socket.create_connection((location.host, location.port), wishes.timeout))

    def cut() -> None:
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)

    stack.enter_context(meter.stop.cutting(cut))
    return peer


def get(location: Location, target: Target, wishes: Wishes, meter: Meter) -> Facts:
    """Receive the file that is offered."""
    if wishes.verify:
        raise NotVerifiedError("the tutorials' protocol has no digest: --verify cannot be done")
    decoder = Decoder()
    download: Download | None = None
    with ExitStack() as stack:
        peer = _connect(location, wishes, meter, stack)
        try:
            while data := peer.recv(meter.piece):
                for event in decoder.feed(data):
                    if isinstance(event, Name):
                        download = download or stack.enter_context(target.begin(target.named(event.text)))
                    elif isinstance(event, bytes):
                        # The octets may come before their name; without -o there is no file then to put them in.
                        download = download or stack.enter_context(target.begin(target.named("")))
                        download.write(event)
                        meter.moved(len(event))
            decoder.finish()
        except BadObjectError as error:
            raise TransferError(f"what came is not the object that was expected: {error}") from None
        meter.check()
        assert download is not None  # noqa: S101 - a whole object has a name
        entry = download.commit()
    return got(target, entry, verified=False, resumed_at=0)


def put(source: Source, location: Location, wishes: Wishes, meter: Meter) -> Facts:
    """Send a file to a service that receives."""
    name = location.name or source.name
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for block in source.blocks(length=max(meter.piece // GROUPS, 1) * GROUPS):
            digest.update(block)
            meter.moved(len(block))
            yield block

    meter.expect(source.size)
    with ExitStack() as stack:
        peer = _connect(location, wishes, meter, stack)
        try:
            for piece in encode(name, blocks()):
                peer.sendall(piece)
            peer.shutdown(socket.SHUT_WR)
        except ConnectionError:
            meter.check()  # else the peer has said why, before it closed
        answer = bytearray()
        with contextlib.suppress(ConnectionError):
            while len(answer) <= LONGEST_ANSWER and (data := peer.recv(4096)):
                answer += data
        meter.check()
    try:
        found = json.loads(answer)
        if isinstance(error := found.get("error"), str):
            raise TransferError(error)
        stored, sha256 = str(found["stored"]), str(found["sha256"])
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise TransferError("the peer did not say that it has stored the file") from None
    if sha256 != digest.hexdigest():
        raise NotVerifiedError("the peer has stored other octets")
    return {"stored": stored, "sha256": sha256, "verified": True}


def ls(location: Location, wishes: Wishes) -> Iterator[Listed]:  # noqa: ARG001
    """There is no list."""
    raise UsageError("the tutorials' protocol has no list of files")


def rm(location: Location, wishes: Wishes) -> None:  # noqa: ARG001
    """Nothing can be removed."""
    raise UsageError("the tutorials' protocol removes nothing")
