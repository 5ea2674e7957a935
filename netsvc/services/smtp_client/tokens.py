"""OAuth 2.0 access tokens that connections share: one program at a time for each login, run when a new one is needed.

A token is kept until shortly before it expires, as far as that is known, and dropped when a server refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.token import Token, fetch_token
from netsvc.services.smtp_client.terms import Relay

UNKNOWN = 300.0  # seconds that a token is kept whose end is not known, ours; the usual ones are good for an hour
MARGIN = 60.0  # seconds before its end at which a token is not used any more, ours: the server's clock may differ
LONGEST = 3600.0  # seconds that any token is kept, ours: one that was withdrawn is not offered for a day

InThread = Callable[..., Deferred[Any]]  # IRuntime.in_thread


@frozen
class Given:
    """A token for one connection.

    :param fresh: it was asked for now: when the server refuses it, another would be no better.
    """

    secret: Secret
    fresh: bool


@frozen
class _Kept:
    secret: Secret
    until: float


_Login = tuple[tuple[str, ...], str | None]


class Tokens:
    """The tokens of one section.

    :param clock: an IReactorTime.
    :param in_thread: runs blocking work elsewhere.
    """

    def __init__(self, clock: Any, in_thread: InThread) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._kept: dict[_Login, _Kept] = {}
        self._waiting: dict[_Login, list[Deferred[Given]]] = {}

    def get(self, relay: Relay) -> Deferred[Given]:
        """A token for the relay's login. TokenError: there is none. Who cancels it leaves the others waiting."""
        login = (relay.token_command, relay.username)
        kept = self._kept.get(login)
        if kept is not None and self._clock.seconds() < kept.until:
            return succeed(Given(kept.secret, fresh=False))
        waiter: Deferred[Given] = Deferred()
        waiting = self._waiting.setdefault(login, [])
        waiting.append(waiter)
        if len(waiting) == 1:
            maybeDeferred(self._in_thread, fetch_token, relay.token_command).addBoth(self._fetched, login)
        return waiter

    def refused(self, relay: Relay, secret: Secret) -> None:
        """A server did not take this token: it is offered nowhere again."""
        login = (relay.token_command, relay.username)
        kept = self._kept.get(login)
        if kept is not None and kept.secret is secret:
            del self._kept[login]

    def _fetched(self, result: Token | Failure, login: _Login) -> None:
        waiting = self._waiting.pop(login)
        if isinstance(result, Failure):
            self._kept.pop(login, None)
            for one in waiting:
                one.errback(result)
            return
        lifetime = UNKNOWN if result.lifetime is None else min(result.lifetime - MARGIN, LONGEST)
        self._kept[login] = _Kept(result.secret, self._clock.seconds() + lifetime)
        for one in waiting:
            one.callback(Given(result.secret, fresh=True))
