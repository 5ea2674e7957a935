"""What the store says of something that is there."""

from __future__ import annotations

from attrs import frozen


@frozen
class Entry:
    """A file or a directory.

    :param name: "" for the root.
    :param size: octets; 0 for a directory.
    :param modified_ns: nanoseconds since the epoch.
    :param digest: SHA-256, if it is kept and was asked for.
    """

    name: str
    directory: bool
    size: int
    modified_ns: int
    digest: bytes | None = None
