"""Where a TLS listener's certificates are: the fields of a listen line that name them. Reads no certificate.

``privateKey=``, ``certKey=``, ``extraCertChain=`` name files, as in Twisted's ssl: endpoints. ``directory=`` is ours.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from netsvc.config.endpoint_fields import Arguments
from netsvc.config.options import Context
from netsvc.errors import BadValue

_FILES = ("privateKey", "certKey", "extraCertChain")
TLS_ARGUMENTS = (*_FILES, "directory")
DEFAULT_FILE = "server.pem"  # of Twisted's ssl: endpoints


@frozen
class Tls:
    """The one certificate of a TLS listener.

    :param certificate: PEM file of the certificate (and, if `chain` is None, of what it has of the chain).
    :param key: PEM file of the private key.
    :param chain: PEM file of the intermediate certificates, or None.
    """

    certificate: Path
    key: Path
    chain: Path | None = None


@frozen
class TlsDirectory:
    """The certificates of a TLS listener, chosen by name; runtime/certificates.py knows what of it is one.

    :param directory: holds them.
    """

    directory: Path


TlsPlace = Tls | TlsDirectory


def tls_fields(tls: TlsPlace | None) -> dict[str, Path | None]:
    """The fields that mean it."""
    if isinstance(tls, TlsDirectory):
        return {"directory": tls.directory}
    return {} if tls is None else {"privateKey": tls.key, "certKey": tls.certificate, "extraCertChain": tls.chain}


def names_tls(arguments: Arguments) -> bool:
    """Whether any of the fields is there."""
    return any(arguments.text(one) is not None for one in TLS_ARGUMENTS)


def read_tls(arguments: Arguments, context: Context) -> TlsPlace:
    """The place that the fields name; ``server.pem`` beside the configuration when there is none.

    :raise BadValue: it cannot be read, at the field's offset.
    """
    directory = arguments.file("directory", context)
    if directory is not None:
        for name in _FILES:
            if arguments.text(name) is not None:
                raise BadValue(f"{name} contradicts directory: a directory has the keys as well", at=arguments.at(name))
        _check(directory, "directory", arguments, stat.S_ISDIR, "a directory")
        return TlsDirectory(directory)
    key = arguments.file("privateKey", context) or context.directory / DEFAULT_FILE
    certificate = arguments.file("certKey", context) or key
    chain = arguments.file("extraCertChain", context)
    for name, file in (("privateKey", key), ("certKey", certificate), ("extraCertChain", chain)):
        if file is not None:
            _check(file, name, arguments, stat.S_ISREG, "a regular file")
    return Tls(certificate=certificate, key=key, chain=chain)


def _check(path: Path, name: str, arguments: Arguments, is_right: Callable[[int], bool], what: str) -> None:
    try:
        # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not is_right(os.fstat(descriptor).st_mode):
                raise OSError(None, f"it is not {what}")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadValue(f"{str(path)!r} cannot be read: {error.strerror}", at=arguments.at(name)) from None
