"""HostKeys: the server's own keys, made on the first start and kept. Clients know the server by them.

They stand in files as sshd has them, so that a machine's own can be copied there: ssh_host_ed25519_key and
ssh_host_rsa_key, 0600, with the public halves beside them in .pub.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, Key
from twisted.logger import Logger

from netsvc.errors import StartError, printable
from netsvc.services.sftp.login.public_keys import LEAST_RSA, read
from netsvc.services.sftp.login.strict_modes import fault_of_secret
from netsvc.services.sftp.settings import HOST_KEYS

log = Logger()

RSA_BITS = 3072  # NIST SP 800-57: as strong as AES-128, until 2030 and beyond
_PUBLIC_EXPONENT = 65537

_Private = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(_PUBLIC_EXPONENT, RSA_BITS)


_ED25519_FILE, _RSA_FILE = HOST_KEYS
FILES: dict[str, Callable[[], _Private]] = {_ED25519_FILE: ed25519.Ed25519PrivateKey.generate, _RSA_FILE: _rsa}
_KINDS = {"Ed25519": _ED25519_FILE, "RSA": _RSA_FILE}


class HostKeys:
    """The keys in one directory.

    :ivar private: by the kind of key, as conch wants them.
    :ivar public: their public halves.
    :ivar algorithms: of the signatures they make, the best first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.private: dict[bytes, Key] = {}
        self.public: dict[bytes, Key] = {}
        self.algorithms: tuple[bytes, ...] = ()

    def open(self) -> None:
        """Read the keys that are there: root's too, while the daemon is root.

        :raise StartError: one is damaged, or others may read it.
        """
        for name in FILES:
            path = self._directory / name
            try:
                fault = fault_of_secret(path)
                octets = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StartError(printable(f"the host key {path}: {error.strerror}")) from None
            if fault is not None:
                raise StartError(printable(f"the host key {path}: {fault}"))
            self._take(name, path, octets)

    def make_missing(self) -> None:
        """Make those that are not there yet. When another process makes them too, all take the same.

        :raise StartError: one cannot be written.
        """
        for name, make in FILES.items():
            if any(_KINDS[key.type()] == name for key in self.private.values()):
                continue
            path = self._directory / name
            try:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                made = _write(path, make())
                self._take(name, path, path.read_bytes())
            except OSError as error:
                raise StartError(printable(f"the host key {path} cannot be made: {error.strerror}")) from None
            if made:
                log.info("the host key {path} was made", event="sftp-host-key-made", path=str(path))
        self.algorithms = tuple(
            algorithm
            for kind, algorithms in (
                (b"ssh-ed25519", (b"ssh-ed25519",)),
                (b"ssh-rsa", (b"rsa-sha2-512", b"rsa-sha2-256")),
            )
            for algorithm in algorithms
            if kind in self.private
        )
        for kind in self.private:
            log.info(
                "the host key {kind} is {fingerprint}",
                event="sftp-host-key",
                kind=kind.decode(),
                fingerprint=read(self.public[kind].blob()).fingerprint,
            )

    def _take(self, name: str, path: Path, octets: bytes) -> None:
        try:
            key = Key.fromString(octets)
        except (BadKeyError, EncryptedKeyError, ValueError, TypeError, IndexError):
            raise StartError(printable(f"the host key {path}: it is damaged, or has a passphrase")) from None
        if key.isPublic() or _KINDS.get(key.type()) != name or (key.type() == "RSA" and key.size() < LEAST_RSA):
            raise StartError(printable(f"the host key {path}: it is no private key of the kind that its name says"))
        kind = bytes(key.sshType())
        self.private[kind] = key
        self.public[kind] = key.public()


def _write(path: Path, key: _Private) -> bool:
    """Publish a key under its name, if nobody else has; whether we did."""
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(part, path)
        except FileExistsError:
            return False
    finally:
        os.unlink(part)
    path.with_name(f"{path.name}.pub").write_bytes(public + b"\n")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
