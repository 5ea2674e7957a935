"""The options of an sftp service. No Twisted here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import DAY, HOUR, ServerSettings
from netsvc.config.values import Rate
from netsvc.filestore.settings import StoreSettings
from netsvc.net.passwords import htpasswd
from netsvc.services.sftp.login.strict_modes import fault_of_place, fault_of_secret
from netsvc.services.sftp.login.users import User, users

HOST_KEYS = ("ssh_host_ed25519_key", "ssh_host_rsa_key")


@frozen(kw_only=True)
class SftpSettings(StoreSettings, ServerSettings):
    """Who may log in, and where his files are."""

    users: tuple[User, ...] = option(
        users(),
        help="Who may log in, one a line: the name; 'full', 'read-only' or 'upload-only'; a directory instead of root.",
    )
    root: Path | None = option(
        values.path(),
        default=None,
        help="Where a user's files are; %u is his name. It is made when he first comes, if what is above it is there.",
    )
    authorized_keys: Path | None = option(
        values.path(),
        default=None,
        help="The file with a user's public keys, as sshd's; %u is his name. Only root and the daemon may write it.",
    )
    password_file: Path | None = option(
        values.path(),
        default=None,
        help="htpasswd file with the users' passwords (bcrypt, argon2id; see 'netsvc htpasswd'); none: keys only.",
    )
    host_keys: Path | None = option(
        values.path(),
        default=None,
        help="Directory of the server's own keys, named as sshd's; those that are missing are made. Without it they "
        "are in the state directory, in sftp-host-keys.",
    )
    login_timeout: float = option(
        values.duration(1, HOUR), default=60.0, help="Time from the connection to the end of the login."
    )
    login_tries: int = option(
        values.integer(1, 100), default=6, help="Failed tries to log in after which the connection is closed."
    )
    max_logins: int = option(
        values.integer(2, 10_000),
        default=32,
        help="Connections at the same time on which nobody has logged in yet, half of them from one source; more are "
        "refused.",
    )
    login_failures: Rate | None = option(
        values.rate(),
        default=Rate(20, 60.0),
        help="How often one source may fail (an IPv4 address, an IPv6 /64); more tries are refused for a while.",
    )
    idle_timeout: float = option(
        values.duration(0, 7 * DAY),
        default=HOUR,
        help="Close a connection on which no octet moved for so long; 0 is never. Clients can keep theirs alive.",
    )

    max_open_files: int = option(
        values.integer(1, 10000), default=100, help="Files and directories that one session may have open at once."
    )

    def directory_of(self, user: User) -> Path | None:
        """Where a user's files are; None: nothing says it."""
        if user.directory is not None:
            return user.directory
        return None if self.root is None else Path(str(self.root).replace("%u", user.name))

    def check(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the values in this place and at this time, as (key, message)."""
        if self.authorized_keys is None and self.password_file is None:
            yield "users", "nobody can log in: set authorized_keys or password_file"
        for user in self.users:
            yield from self._check_directory(user)
            yield from self._check_keys(user)
        yield from self._check_passwords()
        if self.host_keys is not None:
            yield from _check_host_keys(self.host_keys)

    def _check_directory(self, user: User) -> Iterator[tuple[str, str]]:
        directory = self.directory_of(user)
        if directory is None:
            yield "users", f"{user.name} has no directory, and there is no root"
        elif not directory.is_dir() and (directory.exists() or not directory.parent.is_dir()):
            key = "root" if user.directory is None else "users"
            yield key, f"{str(directory)!r}, the directory of {user.name}, is not there"

    def _check_keys(self, user: User) -> Iterator[tuple[str, str]]:
        """A file may come later; one that is there must be fit to be believed."""
        if self.authorized_keys is None:
            return
        path = Path(str(self.authorized_keys).replace("%u", user.name))
        try:
            fault = fault_of_place(path)
        except OSError:
            return
        if fault is not None:
            yield "authorized_keys", f"{str(path)!r} is not used: {fault}"

    def _check_passwords(self) -> Iterator[tuple[str, str]]:
        if self.password_file is None:
            return
        try:
            if not self.password_file.is_file():
                raise OSError(None, "it is not a regular file, or not there")
            known = htpasswd.parse(self.password_file.read_bytes())
        except (OSError, ValueError) as error:
            yield "password_file", f"{str(self.password_file)!r}: {getattr(error, 'strerror', None) or error}"
            return
        for user in self.users:
            if self.authorized_keys is None and user.name not in known:
                yield "users", f"{user.name} cannot log in: he is not in the password_file"


def _check_host_keys(directory: Path) -> Iterator[tuple[str, str]]:
    if not directory.is_dir():
        yield "host_keys", f"{str(directory)!r} is not a directory"
        return
    for name in HOST_KEYS:
        try:
            fault = fault_of_secret(directory / name)
        except OSError:
            continue
        if fault is not None:
            yield "host_keys", f"{str(directory / name)!r}: {fault}"
