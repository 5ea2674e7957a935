"""What is to be downloaded, on what terms, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from attrs import Attribute, field, frozen

import netsvc

Algorithm = Literal["md5", "sha1", "sha256", "sha384", "sha512"]


def _is_line(_: object, attribute: Attribute[Any], value: str | tuple[tuple[str, str], ...]) -> None:
    """What goes into a request must not end its line."""
    for one in (value,) if isinstance(value, str) else sum(value, ()):
        if not one.isprintable():
            raise ValueError(f"{attribute.name} has control characters")


@frozen(kw_only=True)
class Terms:
    """The terms of one :class:`Downloader`; times are seconds, sizes octets.

    :param connect_timeout: until name, connection and TLS handshake are through.
    :param first_byte_timeout: from the request until the head of the answer is whole.
    :param idle_timeout: between two pieces of the body.
    :param total_timeout: from the first connection to the last octet, redirects included; None: no limit.
    :param lowest_speed: octets a second, on the average of `speed_window`; slower ends the attempt. 0: no limit.
    :param rate_limit: octets a second of all downloads together; None: no limit.
    :param max_size: of a file; None: the store's limits only.
    :param max_redirects: followed at most.
    :param max_retry_after: a longer Retry-After counts as this.
    :param private_addresses: whether hosts may have addresses that are not public.
    :param headers: further fields of each request; sent to the URL's own origin, not to where it redirects.
    :param ca_file: PEM file of the authorities to believe; None: those of this machine.
    :param max_connections: at once.
    :param max_connections_per_host: at once, to one host name.
    :param keep_alive: how long an idle connection is kept.
    """

    connect_timeout: float = 15.0
    first_byte_timeout: float = 30.0
    idle_timeout: float = 30.0
    total_timeout: float | None = None
    lowest_speed: int = 0
    speed_window: float = 30.0
    rate_limit: int | None = None
    max_size: int | None = None
    max_redirects: int = 10
    max_retry_after: float = 86400.0
    private_addresses: bool = False
    user_agent: str = field(default=f"netsvc/{netsvc.__version__}", validator=_is_line)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False, validator=_is_line)
    ca_file: Path | None = None
    max_connections: int = 16
    max_connections_per_host: int = 8
    keep_alive: float = 15.0


@frozen
class Checksum:
    """What the file's digest must be."""

    algorithm: Algorithm
    digest: bytes


@frozen(kw_only=True)
class Validators:
    """What an earlier answer said of the file, as it stood in the fields; for a mirror's conditional GET."""

    etag: str | None = None
    last_modified: str | None = None


@frozen(kw_only=True)
class Wanted:
    """One file to download.

    :param url: http or https.
    :param names: where it goes; None: into `directory`, under the name that the answer or else the URL gives it.
    :param replace: whether a file that has the name may be replaced.
    :param checksum: what it must be, or None.
    :param validators: of the file that is there, or None to download it whatever is there. With `names` only.
    :param resume: id of a partial upload; None: with `names`, one that is kept for them, without any, none.
    :param fresh: nothing is kept of it, and there are no `validators`: that is not looked for, which saves time.
    """

    url: str = field(repr=False)
    names: tuple[str, ...] | None = None
    directory: tuple[str, ...] = ()
    replace: bool = True
    checksum: Checksum | None = None
    validators: Validators | None = None
    resume: str | None = None
    fresh: bool = False


@frozen
class Progress:
    """How far it is.

    :param received: octets that are here, with those of earlier attempts.
    :param size: of the whole file, or None while nobody knows.
    :param resumed_from: octets that were here before.
    """

    received: int
    size: int | None
    resumed_from: int


@frozen(kw_only=True)
class Done:
    """A file that is whole, verified, and under its name.

    :param sha256: digest of the file, also of one that was kept (a 304).
    :param url: where it came from in the end, without user and password.
    :param from_cache: True: the peer said that the file that was there is still the right one (304).
    :param resumed_from: octets that earlier attempts had brought; 0: none.
    :param status: of the answer.
    :param headers: of the answer, names in lower case; peer's text.
    """

    names: tuple[str, ...]
    size: int
    sha256: bytes
    url: str
    etag: str | None
    last_modified: str | None
    from_cache: bool
    resumed_from: int
    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)


@frozen(kw_only=True)
class Document:
    """A small answer in memory: a feed, a list of checksums.

    :param url: where it came from in the end, without user and password.
    """

    url: str
    content: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
