"""A TLS listener's certificates as files: which there are, whether they have changed, what stands in them.

In a directory each of these is one; hidden names and all others are left alone:

- ``NAME.pem``: the certificate, its chain and its key;
- ``NAME.crt`` or ``NAME.cert``, with the chain, and ``NAME.key``;
- ``NAME/fullchain.pem`` and ``NAME/privkey.pem``, as certbot's live/ has them, by symbolic links.

Which names one is for is said by itself (subjectAltName, RFC 5280 4.2.1.6), not by its file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

MOST_OCTETS = 1 << 20  # of one file; a chain has a few KiB

_FULL_CHAIN, _PRIVATE_KEY = "fullchain.pem", "privkey.pem"

Identity = tuple[tuple[int, ...], ...]


class BadCertificateError(Exception):
    """A certificate cannot be used. Its text is one clear line."""


@frozen
class Source:
    """The files of one certificate.

    :param name: by which people know it: the file's or the folder's.
    :param chain: its own certificate first.
    """

    name: str
    chain: tuple[Path, ...]
    key: Path

    @property
    def stem(self) -> str:
        """The name without what tells the kind of file."""
        return self.name.removesuffix(".pem").removesuffix(".crt").removesuffix(".cert")

    def identity(self) -> Identity:
        """What tells versions of the files apart, without reading them.

        :raise OSError: one is not there.
        """
        found = [os.stat(path) for path in (*self.chain, self.key)]
        return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found)


def sources_in(directory: Path) -> list[Source]:
    """The certificates of a directory, by name.

    :raise OSError: it cannot be read.
    """
    found = []
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        path = directory / name
        if name.endswith(".pem"):
            found.append(Source(name, (path,), path))
        elif name.endswith((".crt", ".cert")):
            found.append(Source(name, (path,), path.with_suffix(".key")))
        elif _is_there(path / _FULL_CHAIN) or _is_there(path / _PRIVATE_KEY):
            found.append(Source(name, (path / _FULL_CHAIN,), path / _PRIVATE_KEY))
    return found


def _is_there(path: Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:  # it is not to be seen; nothing must be taken for removed because of that
        return True
    except OSError:
        return False
    return True


@frozen(eq=False)
class Certificate:
    """A certificate that was read, and its key, which belongs to it.

    :param chain: its own certificate first.
    :param names: of hosts, in lower case and A-form (RFC 5890); one may begin with ``*.``.
    :param algorithm: of its key; a peer may know some only.
    :param begins: seconds since the epoch.
    :param ends: likewise.
    """

    source: Source
    chain: tuple[x509.Certificate, ...]
    key: Any = field(repr=False)
    names: frozenset[bytes]
    algorithm: str
    begins: float
    ends: float

    def valid_at(self, now: float) -> bool:
        """Whether it is valid at a time."""
        return self.begins <= now <= self.ends

    def shown_names(self) -> str:
        """Its names, for people."""
        return ", ".join(sorted(name.decode("ascii", "backslashreplace") for name in self.names)) or "no name"


def read(source: Source) -> Certificate:
    """Read a certificate.

    :raise BadCertificateError: it cannot be used as it is.
    """
    chain: list[x509.Certificate] = []
    for path in source.chain:
        try:
            chain += x509.load_pem_x509_certificates(_octets(path))
        except (OSError, ValueError) as error:
            raise BadCertificateError(f"the certificate {path} cannot be used: {_reason(error)}") from None
    try:
        key: Any = serialization.load_pem_private_key(_octets(source.key), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCertificateError(f"the private key {source.key} cannot be used: {_reason(error)}") from None
    own = chain[0]
    try:
        belongs = own.public_key() == key.public_key()
        found = Certificate(
            source=source,
            chain=tuple(chain),
            key=key,
            names=_names(own),
            algorithm=type(key).__name__,
            begins=own.not_valid_before_utc.timestamp(),
            ends=own.not_valid_after_utc.timestamp(),
        )
    except Exception as error:  # noqa: BLE001  (an odd extension raises one of many, which share no other class)
        raise BadCertificateError(f"the certificate {source.chain[0]} cannot be used: {error}") from None
    if not belongs:
        raise BadCertificateError(f"the private key {source.key} does not belong to the certificate {source.chain[0]}")
    return found


def _octets(path: Path) -> bytes:
    # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, "it is not a regular file")
        if found.st_size > MOST_OCTETS:
            raise OSError(None, f"it is longer than {MOST_OCTETS} octets")
        return file.read(MOST_OCTETS)


def _names(certificate: x509.Certificate) -> frozenset[bytes]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower().encode("ascii") for name in extension.value.get_values_for_type(x509.DNSName))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not in PEM form, is damaged, or is encrypted"
