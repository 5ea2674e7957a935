"""The options of a filetransfer service. No Twisted here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import ServerSettings
from netsvc.services.filetransfer.wire import usable_name


@frozen(kw_only=True)
class FileTransferSettings(ServerSettings):
    """What is offered, and in which order when that is a directory."""

    offer: Path = option(
        values.path(),
        help="The file that is offered, or a directory of files (hidden ones and symbolic links are passed over).",
    )
    order: str = option(
        values.choice("newest", "rotate"),
        default="newest",
        help="Of a directory: its newest file to everyone, or each file in turn, by name.",
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the values in this place and at this time, as (key, message)."""
        offer = str(self.offer)
        if not self.offer.exists():
            yield "offer", f"{offer!r} does not exist"
        elif not (self.offer.is_file() or self.offer.is_dir()):
            yield "offer", f"{offer!r} is neither a file nor a directory"
        elif not os.access(self.offer, os.R_OK | (os.X_OK if self.offer.is_dir() else 0)):
            yield "offer", f"{offer!r} cannot be read"
        elif self.offer.is_file() and not usable_name(self.offer.name):
            yield "offer", f"{offer!r} is not a name that a peer could use"
