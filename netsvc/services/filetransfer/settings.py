"""The options of a filetransfer service. No Twisted here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import ServerSettings
from netsvc.filestore.settings import StoreSettings
from netsvc.services.filetransfer.wire import usable_name


@frozen(kw_only=True)
class FileTransferSettings(StoreSettings, ServerSettings):
    """What is offered, or where what is received goes."""

    offer: Path | None = option(
        values.path(),
        default=None,
        help="The file that is offered, or a directory of files (hidden ones and symbolic links are passed over).",
    )
    order: str = option(
        values.choice("newest", "rotate"),
        default="newest",
        help="Of a directory: its newest file to everyone, or each file in turn, by name.",
    )
    receive: bool = option(
        values.boolean(), default=False, help="Take files from peers, in the same form, instead of offering one."
    )
    store: Path | None = option(values.path(), default=None, help="The directory that received files are stored in.")
    replace: bool = option(
        values.boolean(), default=False, help="A received file takes the place of one with its name; no: it is refused."
    )
    lowest_rate: int = option(
        values.size(0, 1 << 30),
        default=64,
        help="Close a connection that takes or sends octets slower than this a second, over an idle_timeout; 0 is off.",
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the values in this place and at this time, as (key, message)."""
        if self.receive:
            yield from self._check_inbox()
        elif self.store is not None:
            yield "store", "it is for receive = yes"
        elif self.offer is None:
            yield "offer", "there is nothing to offer; or say receive = yes, and a store"
        else:
            yield from _check_offer(self.offer)

    def _check_inbox(self) -> Iterator[tuple[str, str]]:
        if self.offer is not None:
            yield "offer", "a service either offers or receives; two sections do both"
        if self.store is None:
            yield "receive", "a store must say where received files go"
        elif not self.store.is_dir():
            yield "store", f"{str(self.store)!r} is not a directory"


def _check_offer(path: Path) -> Iterator[tuple[str, str]]:
    shown = repr(str(path))
    if not path.exists():
        yield "offer", f"{shown} does not exist"
    elif not (path.is_file() or path.is_dir()):
        yield "offer", f"{shown} is neither a file nor a directory"
    elif not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        yield "offer", f"{shown} cannot be read"
    elif path.is_file() and not usable_name(path.name):
        yield "offer", f"{shown} is not a name that a peer could use"
