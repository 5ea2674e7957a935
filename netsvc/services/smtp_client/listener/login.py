"""Who may hand mail in: users of an htpasswd file. A source that fails too often must wait before anything is computed.

SCRAM is not offered: it needs a salted form of the password that bcrypt and argon2id hashes are not, and a second file
of users for what TLS protects already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

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

FAILURES = Rate(20, 60.0)  # of one source (an IPv4 address, an IPv6 /64)
SOURCES = 8192  # whose failures are remembered

Verdict = Literal["accepted", "refused", "limited", "busy"]

log = Logger()


class Logins:
    """Checks users and passwords.

    :param seconds: a monotonic clock.
    :param service: the section's name.
    """

    def __init__(
        self,
        users: UserFile,
        checks: PasswordChecks,
        *,
        seconds: Callable[[], float],
        metrics: IMetrics,
        service: str,
    ) -> None:
        self._users = users
        self._checks = checks
        self._service = service
        self._failures = Buckets(FAILURES, seconds, SOURCES)
        self._results = metrics.counter(
            "mail_logins", "Logins by result: accepted, refused, limited, busy.", ("service", "result")
        )

    def open(self) -> None:
        """Read the file.

        :raise StartError: it cannot be read, or has a fault.
        """
        self._users.open()

    def check(self, user: str, password: str, host: str | None) -> Deferred[Verdict]:
        """Whether this is the user's password; never fails.

        :param host: of the peer; None on a UNIX socket.
        """
        user, password = normal(user), normal(password)
        if not user.isprintable() or len(password.encode()) > LONGEST_PASSWORD:
            return succeed(self._tell("refused", user, host))
        digest = self._users.digest(user, password)
        if self._users.remembers(user, digest):
            return succeed(self._tell("accepted", user, host))
        source = prefix(canonical(host))
        if not self._failures.take(source):
            return succeed(self._tell("limited", user, host))
        hashed, known = self._users.hash_of(user)
        version = self._users.version
        verdict: Deferred[Verdict] = Deferred()

        def answered(result: object) -> None:
            if isinstance(result, Failure):
                self._failures.put_back(source)
                log.failure("a password could not be checked", result, event="mail-login-check-failed")
                verdict.callback(self._tell("busy", user, host))
            elif known and result is True:
                self._failures.put_back(source)
                if version == self._users.version:
                    self._users.remember(user, digest)
                verdict.callback(self._tell("accepted", user, host))
            else:
                verdict.callback(self._tell("refused", user, host))

        if not self._checks.check((digest, hashed), hashed, password, answered):
            self._failures.put_back(source)
            return succeed(self._tell("busy", user, host))
        return verdict

    def _tell(self, verdict: Verdict, user: str, host: str | None) -> Verdict:
        self._results.inc(service=self._service, result=verdict)
        if verdict != "accepted":
            log.warn(
                "{peer} is not let in as {user}: {result}",
                event="mail-login-failed",
                service=self._service,
                peer=host or "local",
                user=user,
                result=verdict,
            )
        return verdict
