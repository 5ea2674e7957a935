"""Delivers into a Maildir, durably and at most once for each recipient. Blocking: it belongs in a thread.

The way of https://cr.yp.to/proto/maildir.html: write to tmp/, fsync, link to new/, fsync the directory. The file's name
comes from the queue id and the recipient, so an attempt that is made again after a crash finds its own file and writes
no second one (unless a reader has deleted it meanwhile).

Lines end with LF in the file, as every reader of Maildirs expects: CRLF becomes LF, and all else stays. An attachment
in base64 or quoted-printable is decoded to the same octets either way. Return-Path and Delivered-To come first
(RFC 5321 4.4).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from netsvc.outbox.directories import make_directories, sync_directory
from netsvc.services.smtp_client.terms import Envelope, Outcome

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def deliver_to_maildir(
    root: Path, envelope: Envelope, content: bytes, *, unique: str, indexes: Iterable[int]
) -> tuple[Outcome, ...]:
    """Write one file for each recipient; an outcome for each, in their order. Never raises OSError.

    :param root: the Maildir; made when it is not there.
    :param unique: names the message for ever, such as ``1700000000.Qabc.host``; one file name without a slash.
    :param indexes: the place of each recipient among all of the message's, which makes its name unique.
    """
    outcomes: list[Outcome] = []
    local = content.replace(b"\r\n", b"\n")
    for recipient, index in zip(envelope.recipients, indexes, strict=True):
        head = f"Return-Path: <{envelope.sender}>\nDelivered-To: {recipient}\n".encode()
        try:
            _make(root)
            _write(root, f"{unique}R{index}", (head, local))
        except OSError as error:
            full = error.errno in _FULL
            reason = f"the Maildir cannot be written: {error.strerror}"
            outcomes.append(Outcome(recipient, "retry", None, "4.3.1" if full else "4.3.0", reason, "maildir"))
        else:
            outcomes.append(Outcome(recipient, "delivered", None, "2.0.0", "written to the Maildir", "maildir"))
    return tuple(outcomes)


def _make(root: Path) -> None:
    if all((root / name).is_dir() for name in ("tmp", "new", "cur")):
        return
    make_directories(root)
    for name in ("tmp", "new", "cur"):
        (root / name).mkdir(mode=0o700, exist_ok=True)
    sync_directory(root)


def _write(root: Path, name: str, octets: Iterable[bytes]) -> None:
    temporary = root / "tmp" / name
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()  # of an attempt of ours that died
    if _is_there(root, name):
        sync_directory(root / "new")  # the attempt that wrote it may have died before it did
        return
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            for part in octets:
                _write_all(file.fileno(), part)
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            _link(temporary, root / "new" / name)
        sync_directory(root / "new")
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        os.rename(source, target)  # a file system without hard links


def _write_all(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _is_there(root: Path, name: str) -> bool:
    """Whether the message is in the Maildir: new, or moved to cur/ with a reader's flags behind a colon."""
    if (root / "new" / name).exists():
        return True
    with os.scandir(root / "cur") as entries:
        return any(entry.name == name or entry.name.startswith(name + ":") for entry in entries)
