"""Logins: whether somebody is who he says, by a key or a password. What an unknown user is told takes as long.

For an unknown user the same is done as for one of the others, always the same one: what that finds is thrown away. To
wait for a round time (see :mod:`.ssh.userauth`) is not enough alone, because the reactor's clock goes by milliseconds
counted from when it was last awake, so from when a thread was done.

A source that has failed too often is refused before anything is computed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.config.values import Rate
from netsvc.interfaces import IMetrics
from netsvc.net.addresses import canonical, prefix
from netsvc.net.buckets import Buckets
from netsvc.net.passwords.checks import PasswordChecks
from netsvc.net.passwords.htpasswd import LONGEST_PASSWORD, normal
from netsvc.net.passwords.users import UserFile
from netsvc.services.sftp.login.authorized_keys import AuthorizedKey
from netsvc.services.sftp.login.key_files import KeyFiles
from netsvc.services.sftp.login.users import User

SOURCES = 8192  # whose failures are remembered
LONGEST_SHOWN = 64  # characters of a name in the log

log = Logger()


@frozen
class Verdict:
    """Who it is; None: nobody who is let in."""

    user: User | None


NOBODY = Verdict(None)


@frozen
class KeyTry:
    """What a peer says of a key.

    :param algorithm: that it signs with.
    :param signature: empty when it only asks whether the key would do.
    :param signed: what the signature is of.
    """

    algorithm: bytes
    blob: bytes
    signature: bytes = b""
    signed: bytes = b""


class Logins:
    """Checks keys and passwords.

    :param users: by name; one at least.
    :param passwords: None where there are none.
    :param keys: None where there are none.
    :param failures: of one source (an IPv4 address, an IPv6 /64); None for any number.
    :param in_thread: (function, arguments ...) -> Deferred of its result.
    :param seconds: a monotonic clock.
    :param now: seconds since the epoch.
    :param service: the section's name.
    """

    def __init__(
        self,
        users: Mapping[str, User],
        *,
        passwords: UserFile | None,
        keys: KeyFiles | None,
        failures: Rate | None,
        in_thread: Callable[..., Deferred[Any]],
        seconds: Callable[[], float],
        now: Callable[[], float],
        metrics: IMetrics,
        service: str,
    ) -> None:
        self._users = users
        self._names = tuple(users)
        self._stand_in_key = secrets.token_bytes(32)
        self._passwords = passwords
        self._keys = keys
        self._checks = PasswordChecks(in_thread)
        self._failures = None if failures is None else Buckets(failures, seconds, SOURCES)
        self._in_thread = in_thread
        self._now = now
        self._service = service
        self._results = metrics.counter(
            "sftp_logins", "Logins by method and result: accepted, refused.", ("service", "method", "result")
        )

    @property
    def takes_passwords(self) -> bool:
        """Whether there is a password file."""
        return self._passwords is not None

    @property
    def takes_keys(self) -> bool:
        """Whether there are files of keys."""
        return self._keys is not None

    @property
    def methods(self) -> tuple[bytes, ...]:
        """What a peer may try."""
        return (*((b"publickey",) if self.takes_keys else ()), *((b"password",) if self.takes_passwords else ()))

    def open(self) -> None:
        """Read the password file.

        :raise StartError: it cannot be read, or has a fault.
        """
        if self._passwords is not None:
            self._passwords.open()

    def refused(self, user: bytes, method: bytes, reason: str, host: str | None) -> Deferred[Verdict]:
        """Nobody is let in by this."""
        return succeed(self._refuse(_text(user), method.decode("ascii", "replace"), reason, host))

    def password(self, user: bytes, password: bytes, host: str | None) -> Deferred[Verdict]:
        """Whether this is the user's password."""
        users = self._passwords
        assert users is not None  # noqa: S101
        name, tried = _text(user), _text(password)
        if len(password) > LONGEST_PASSWORD:
            return self.refused(user, b"password", "too long", host)
        digest = users.digest(name, tried)
        if users.remembers(name, digest) and name in self._users:
            return succeed(self._accept(self._users[name], "password", host, ""))
        if not self._may_try(host):
            return self.refused(user, b"password", "too many failures from there", host)
        hashed, known = users.hash_of(name)
        version = users.version
        verdict: Deferred[Verdict] = Deferred()

        def answered(result: object) -> None:
            if isinstance(result, Failure):
                self._forgive(host)
                verdict.errback(result)
                return
            found = self._users.get(name) if known and result is True else None
            if found is None:
                verdict.callback(self._refuse(name, "password", "wrong user or password", host))
                return
            self._forgive(host)
            if version == users.version:
                users.remember(name, digest)
            verdict.callback(self._accept(found, "password", host, ""))

        if not self._checks.check((digest, hashed), hashed, tried, answered):
            self._forgive(host)
            return self.refused(user, b"password", "too many passwords are being checked", host)
        return verdict

    def key(self, user: bytes, tried: KeyTry, host: str | None) -> Deferred[Verdict]:
        """Whether this is a signature by one of the user's keys; or whether there is such a key."""
        name = _text(user)
        if tried.signature and not self._may_try(host):
            return self.refused(user, b"publickey", "too many failures from there", host)

        def found(key: AuthorizedKey | None) -> Verdict:
            reason = self._why_not(key, tried, host)
            if key is None or reason is not None:
                return self._refuse(name, "publickey", reason or "", host)
            if not tried.signature:
                return Verdict(self._users[name])
            self._forgive(host)
            return self._accept(self._users[name], "publickey", host, f" ({key.key.fingerprint})")

        return self._find(name, tried.blob).addCallback(found)

    def _find(self, name: str, blob: bytes) -> Deferred[AuthorizedKey | None]:
        keys = self._keys
        assert keys is not None  # noqa: S101
        known = name in self._users
        found = self._in_thread(keys.find, self._looked_for(name, known=known), blob)
        return found.addCallback(lambda key: key if known else None)

    def _looked_for(self, name: str, *, known: bool) -> str:
        """Whose keys are looked at: the user's own, or of nobody's those of somebody."""
        chosen = hmac.digest(self._stand_in_key, name.encode("utf-8", "surrogateescape"), hashlib.sha256)
        return name if known else self._names[int.from_bytes(chosen[:8]) % len(self._names)]

    def _why_not(self, key: AuthorizedKey | None, tried: KeyTry, host: str | None) -> str | None:
        if key is None:
            return "wrong user or key"
        if not key.key.signs_as(tried.algorithm):
            return "the key is of another kind"
        reason = key.why_not(host, self._now())
        if reason is None and tried.signature:
            signs = key.key.verify(
                tried.algorithm, tried.signature, tried.signed, touched=key.touched, verified=key.verified
            )
            reason = None if signs else "a wrong signature"
        return reason

    def _accept(self, user: User, method: str, host: str | None, key: str) -> Verdict:
        self._results.inc(service=self._service, method=method, result="accepted")
        log.info(
            "{user} has logged in from {peer} by {method}{key}",
            event="sftp-login",
            user=user.name,
            peer=host or "local",
            method=method,
            key=key,
        )
        return Verdict(user)

    def _refuse(self, name: str, method: str, reason: str, host: str | None) -> Verdict:
        known = method if method in {"publickey", "password"} else "other"
        self._results.inc(service=self._service, method=known, result="refused")
        log.warn(
            "{peer} is not let in as {user} by {method}: {reason}",
            event="sftp-login-refused",
            user=name[:LONGEST_SHOWN],
            peer=host or "local",
            method=method[:LONGEST_SHOWN],
            reason=reason,
        )
        return NOBODY

    def _may_try(self, host: str | None) -> bool:
        address = canonical(host)
        return self._failures is None or address is None or self._failures.take(prefix(address))

    def _forgive(self, host: str | None) -> None:
        """It was no failure after all."""
        address = canonical(host)
        if self._failures is not None and address is not None:
            self._failures.put_back(prefix(address))


def _text(octets: bytes) -> str:
    return normal(octets.decode("utf-8", "backslashreplace"))
