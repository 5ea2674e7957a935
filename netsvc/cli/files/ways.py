"""What a way of moving files has to do, and which one a URL takes. Imports a way only when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from attrs import frozen

from netsvc.cli.files.local import Source, Target
from netsvc.cli.files.locations import Location
from netsvc.cli.files.meter import Meter
from netsvc.filestore.entry import Entry

Facts = dict[str, Any]  # what is told of a transfer that is done: size, sha256, verified ...


def got(target: Target, entry: Entry, *, verified: bool, resumed_at: int) -> Facts:
    """The facts of a file that was fetched."""
    assert entry.digest is not None  # noqa: S101 - the store has just computed it
    file = str(target.path / entry.name)
    return {"file": file, "sha256": entry.digest.hex(), "verified": verified, "resumed_at": resumed_at}


@frozen(kw_only=True)
class Wishes:
    """How files are moved.

    :param resume: go on where an earlier run stopped, if the peer can.
    :param verify: be sure of the digest, or fail.
    :param timeout: seconds without a sign of life from the peer.
    :param cafile: PEM file of the authorities for https, or None for the system's.
    :param ssh: the command that sftp runs.
    """

    resume: bool = False
    verify: bool = False
    timeout: float = 60.0
    cafile: str | None = None
    ssh: tuple[str, ...] = ("ssh",)


@frozen
class Listed:
    """One name of a directory.

    :param size: octets; None where it is not known.
    :param modified: seconds since the epoch, or None.
    """

    name: str
    directory: bool
    size: int | None
    modified: float | None


class Way(Protocol):
    """A module that moves files. Every function raises TransferError or OSError; get and put honour the meter."""

    def get(self, location: Location, target: Target, wishes: Wishes, meter: Meter) -> Facts: ...

    def put(self, source: Source, location: Location, wishes: Wishes, meter: Meter) -> Facts: ...

    def ls(self, location: Location, wishes: Wishes) -> Iterator[Listed]: ...

    def rm(self, location: Location, wishes: Wishes) -> None: ...


_WAYS = {"netsvc": "netsvc_scheme", "http": "http_scheme", "https": "http_scheme", "sftp": "sftp_scheme"}


def way_of(location: Location) -> Way:
    """The way that a URL's scheme names."""
    module: Any = import_module(f"netsvc.cli.files.{_WAYS[location.scheme]}")
    way: Way = module
    return way
