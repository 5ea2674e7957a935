"""Basic authentication (RFC 7617): asks who it is, and lets in whom an htpasswd file knows.

    Authorization: Basic BASE64(user ":" password)          in UTF-8, which the challenge says

Whatever is malformed is answered as if nothing had been sent: 401. An unknown user takes as long as a wrong password.
A source that fails too often gets 429 before anything is computed, so guessing is slow and costs little.
"""

from __future__ import annotations

import binascii
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.interfaces import IMetrics
from netsvc.net.addresses import canonical, prefix
from netsvc.net.buckets import Buckets
from netsvc.net.passwords.checks import PasswordChecks
from netsvc.net.passwords.htpasswd import LONGEST_PASSWORD, normal
from netsvc.net.passwords.users import UserFile
from netsvc.services.http.auth.settings import AuthSettings

log = Logger()

LONGEST = 4096  # octets of the field; a name and a password of LONGEST_PASSWORD in base64 are less
BUSY_RETRY = 2  # seconds
SOURCES = 8192  # whose failures are remembered in each scope

_TOKEN = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?")  # RFC 4648 4, padded

GoOn = Callable[[], None]


def credentials(field: bytes) -> tuple[str, str] | None:
    """(user, password) in NFC of an Authorization field; None for another scheme or a malformed one."""
    scheme, _, token = field.partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"basic" or len(field) > LONGEST or not _TOKEN.fullmatch(token):
        return None
    try:
        text = normal(binascii.a2b_base64(token).decode())
    except UnicodeDecodeError:
        return None
    user, colon, password = text.partition(":")
    if not colon or any(one < " " or one == "\x7f" for one in text) or len(password.encode()) > LONGEST_PASSWORD:
        return None
    return user, password


class Authenticator:
    """Asks for user and password in one scope. Made by :class:`Authentication`.

    :param settings: of the scope, with an auth_file.
    """

    def __init__(
        self,
        settings: AuthSettings,
        *,
        users: UserFile,
        checks: PasswordChecks,
        seconds: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._users = users
        self._checks = checks
        self._count = count
        self._only = frozenset(settings.auth_users)
        self._exempt = settings.auth_exempt
        rate = settings.auth_failures
        self._failures = None if rate is None else Buckets(rate, seconds, SOURCES)
        self._limited_retry = 1 if rate is None else max(1, round(rate.period / rate.count))
        self._challenge = b'Basic realm="%s", charset="UTF-8"' % (
            settings.auth_realm.replace("\\", "\\\\").replace('"', '\\"').encode("ascii")
        )

    def admit(self, exchange: Any, go_on: GoOn) -> None:
        """Let an exchange in, perhaps later, or answer it with a refusal.

        :param exchange: an IExchange that nothing has answered.
        :param go_on: called once, with exchange.user set, when it may be answered; never when the peer has left.
        """
        host = exchange.peer[0]
        if self._is_exempt(host):
            go_on()
            return
        fields = exchange.head.all(b"authorization")
        given = credentials(fields[0]) if len(fields) == 1 else None
        if given is None:
            self._ask(exchange)
            return
        user, password = given
        digest = self._users.digest(user, password)
        if self._users.remembers(user, digest):
            self._decide(exchange, user, go_on)
            return
        source = self._source(host)
        if not self._may_try(source):
            self._count("limited")
            exchange.refuse(429, headers=((b"Retry-After", b"%d" % self._limited_retry),))
            return
        hashed, known = self._users.hash_of(user)
        version = self._users.version
        left = False

        def lost(_: Any) -> None:
            nonlocal left
            left = True

        def answered(result: object) -> None:
            if isinstance(result, Failure):
                self._forgive(source)
                log.failure("a password could not be checked", result, event="http-auth-check-failed")
                exchange.refuse(503)
            elif not (known and result is True):
                self._fail(exchange, user)
            else:
                self._forgive(source)
                if version == self._users.version:
                    self._users.remember(user, digest)
                if not left:
                    self._decide(exchange, user, go_on)

        if self._checks.check((digest, hashed), hashed, password, answered):
            exchange.lost.addCallback(lost)
        else:
            self._forgive(source)
            self._count("busy")
            exchange.refuse(503, headers=((b"Retry-After", b"%d" % BUSY_RETRY),))

    def _decide(self, exchange: Any, user: str, go_on: GoOn) -> None:
        """The password is right; whether the user may come in here."""
        if self._only and user not in self._only:
            self._fail(exchange, user)
            return
        self._count("accepted")
        exchange.user = user
        go_on()

    def _fail(self, exchange: Any, user: str) -> None:
        self._count("refused")
        log.warn(
            "{peer} is not let in as {user}: {request_id}",
            event="http-auth-failed",
            peer=exchange.peer[0],
            user=user,
            request_id=exchange.request_id,
        )
        exchange.refuse(401, headers=((b"WWW-Authenticate", self._challenge),))

    def _ask(self, exchange: Any) -> None:
        self._count("asked")
        exchange.refuse(401, headers=((b"WWW-Authenticate", self._challenge),))

    def _is_exempt(self, host: str) -> bool:
        if not self._exempt:
            return False
        address = canonical(host or None)
        return address is not None and any(address in network for network in self._exempt)

    def _source(self, host: str) -> bytes | None:
        """What failures are counted by; None on UNIX sockets, where all peers would be one."""
        address = canonical(host or None)
        return None if address is None else prefix(address)

    def _may_try(self, source: bytes | None) -> bool:
        return self._failures is None or source is None or self._failures.take(source)

    def _forgive(self, source: bytes | None) -> None:
        """It was no failure after all."""
        if self._failures is not None and source is not None:
            self._failures.put_back(source)


class Authentication:
    """What the authenticators of one service share: files, checks, metrics.

    :param clock: IReactorTime.
    :param in_thread: (function, arguments ...) -> Deferred of its result.
    :param metrics: an IMetrics.
    :param service: the section's name, a label of the metrics.
    :param now: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        clock: Any,
        in_thread: Callable[..., Deferred[Any]],
        metrics: IMetrics,
        service: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._seconds = clock.seconds
        self._now = now
        self._checks = PasswordChecks(in_thread)
        self._files: dict[Path, UserFile] = {}
        counter = metrics.counter(
            "http_auth",
            "Requests to places with a password, by result: accepted, asked, refused, limited, busy.",
            ("service", "result"),
        )
        self._count: Callable[[str], None] = lambda result: counter.inc(1, service=service, result=result)

    def authenticator(self, settings: AuthSettings) -> Authenticator | None:
        """The authenticator of a scope; None when nobody is asked there."""
        path = settings.auth_file
        if path is None:
            return None
        users = self._files.get(path)
        if users is None:
            users = self._files[path] = UserFile(path, self._seconds, self._now)
        return Authenticator(settings, users=users, checks=self._checks, seconds=self._seconds, count=self._count)

    def open(self) -> None:
        """Read the files, before privileges are dropped.

        :raise StartError: one cannot be read, or has a fault.
        """
        for users in self._files.values():
            users.open()
