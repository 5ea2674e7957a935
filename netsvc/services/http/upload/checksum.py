"""What the octets of one request must digest to."""

from __future__ import annotations

from attrs import frozen


@frozen
class Checksum:
    """Promised by the peer.

    :param algorithm: a name of hashlib.
    """

    algorithm: str
    digest: bytes
