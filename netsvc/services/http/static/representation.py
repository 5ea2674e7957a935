"""Chooses in which coding a file is sent: as it is, from a compressed file beside it, or compressed as it is sent."""

from __future__ import annotations

import os

from attrs import frozen

from netsvc.services.http.site.paths import File
from netsvc.services.http.static.conditional import Validators
from netsvc.services.http.static.encodings import CODINGS, Accepted
from netsvc.services.http.static.media_types import shrinks
from netsvc.services.http.static.settings import StaticSettings


def etag_of(found: os.stat_result, digest: bytes | None, coding: bytes = b"") -> bytes:
    """A strong entity tag: the file's SHA-256 where that is kept, else its identity, length and time; and the coding.

    :param digest: of the file, or None.
    :param coding: its Content-Encoding.
    """
    suffix = b"-" + coding if coding else b""
    if digest is not None:
        return b'"%s%s"' % (digest.hex().encode("ascii"), suffix)
    return b'"%x-%x-%x%s"' % (found.st_ino, found.st_size, found.st_mtime_ns & 0xFFFFFFFFFFFFFFFF, suffix)


@frozen(kw_only=True)
class Representation:
    """What is sent of a file.

    :param file: the open file whose octets these are: the file itself, or one of its siblings.
    :param coding: its Content-Encoding, or b"" for none.
    :param packs: whether it is compressed as it is sent.
    :param varies: whether another request could get another one.
    """

    file: File
    coding: bytes = b""
    packs: bool = False
    varies: bool = False

    def modified(self, now: float) -> int:
        """Seconds since the epoch, whole; never later than now (RFC 9110 8.8.2.1)."""
        return int(min(self.file.stat.st_mtime, now))

    def validators(self, now: float) -> Validators:
        """What tells versions of it apart.

        :param now: seconds since the epoch.
        """
        return Validators(etag=etag_of(self.file.stat, self.file.digest, self.coding), modified=self.modified(now))


def choose(
    file: File, kind: bytes, accepted: Accepted, settings: StaticSettings, *, whole: bool
) -> Representation | None:
    """The representation that a peer likes best, the shortest of those that it likes as much; None: it takes none.

    :param kind: the file's media type.
    :param whole: whether all of it is asked for: a range is one of octets that stay the same, so not of what is
        compressed anew each time.
    """
    packs = settings.compress and shrinks(kind) and settings.compress_min <= file.stat.st_size <= settings.compress_max
    varies = packs or bool(file.siblings)
    plain = accepted.weight(b"identity")
    found = [
        (-accepted.weight(coding), sibling.stat.st_size, CODINGS.index(coding), Representation(
            file=sibling, coding=coding, varies=True
        ))
        for coding, sibling in file.siblings.items()
        if accepted.weight(coding) >= max(1, plain)
    ]  # fmt: skip
    if found:
        found.sort(key=lambda one: one[:3])
        best = found[0]
        if not (packs and whole and b"gzip" not in file.siblings and accepted.weight(b"gzip") > -best[0]):
            return best[3]
    if packs and whole and b"gzip" not in file.siblings and accepted.weight(b"gzip") >= max(1, plain):
        return Representation(file=file, coding=b"gzip", packs=True, varies=True)
    if plain:
        return Representation(file=file, varies=varies)
    return None
