"""Userauth: somebody logs in, by a key or a password (RFC 4252). Few tries, and no answer tells whether a user exists.

A refusal is sent at a point of a fixed grid in time, so that how long the search for a user or a key took is not seen.
Requests that come while one is answered wait, a few of them.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from netsvc.services.sftp.login.logins import KeyTry
from netsvc.services.sftp.ssh.algorithms import USER_KEYS
from netsvc.services.sftp.ssh.numbers import DisconnectError, Message, Reason
from netsvc.services.sftp.ssh.octets import MalformedError, Octets, string

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from netsvc.services.sftp.login.logins import Logins, Verdict
    from netsvc.services.sftp.ssh.transport import Transport

log = Logger()

STEP = 0.1  # seconds between two points at which refusals leave
MOST_WAITING = 8  # requests that a client has sent ahead
LONGEST_USER = 256  # octets
LONGEST_KIND = 64  # octets of a name of an algorithm in the log


class Userauth:
    """The login of one peer.

    :param logins: knows users, keys and passwords.
    :param tries: refusals after which the connection ends.
    """

    def __init__(self, transport: Transport, logins: Logins, tries: int) -> None:
        self._transport = transport
        self._logins = logins
        self._tries = tries
        self._seconds = transport.factory.reactor.seconds
        self._waiting: deque[bytes] = deque()
        self._busy = False
        self._over = False
        self._began = 0.0  # when the request came that is answered now
        self._refused = 0
        self._asked_for_methods = False
        self._later: IDelayedCall | None = None

    def connection_lost(self) -> None:
        """The peer is gone."""
        self._over = True
        self._waiting.clear()
        if self._later is not None and self._later.active():
            self._later.cancel()

    def request(self, payload: bytes) -> None:
        """USERAUTH_REQUEST; when somebody has logged in, more of them say nothing (RFC 4252 5.3)."""
        if self._over:
            return
        if self._busy:
            if len(self._waiting) >= MOST_WAITING:
                raise DisconnectError(Reason.PROTOCOL_ERROR, "too many logins at once")
            self._waiting.append(payload)
            return
        self._began = self._seconds()
        fields = Octets(payload)
        user, service, method = fields.string(), fields.string(), fields.string()
        if service != b"ssh-connection":
            raise DisconnectError(Reason.SERVICE_NOT_AVAILABLE, "there is no such service")
        if len(user) > LONGEST_USER:
            raise DisconnectError(Reason.PROTOCOL_ERROR, "a user's name of that length")
        if method == b"none" and not self._asked_for_methods:
            self._asked_for_methods = True
            self._send_refusal()
        elif method == b"password" and self._logins.takes_passwords:
            self._password(user, fields)
        elif method == b"publickey" and self._logins.takes_keys:
            self._key(user, fields, payload)
        else:
            self._wait(self._logins.refused(user, method, "no such method", self._transport.host))

    def _password(self, user: bytes, fields: Octets) -> None:
        changes, password = fields.boolean(), fields.string()
        if changes:
            self._wait(self._logins.refused(user, b"password", "passwords are not changed here", self._transport.host))
        else:
            self._wait(self._logins.password(user, password, self._transport.host))

    def _key(self, user: bytes, fields: Octets, payload: bytes) -> None:
        is_signed, algorithm, blob = fields.boolean(), fields.string(), fields.string()
        host = self._transport.host
        if algorithm not in USER_KEYS:
            kind = algorithm[:LONGEST_KIND].decode("ascii", "backslashreplace")
            self._wait(self._logins.refused(user, b"publickey", f"keys of the kind {kind} are not taken", host))
            return
        if not is_signed:
            fields.end()
            asked = string(algorithm) + string(blob)
            self._wait(self._logins.key(user, KeyTry(algorithm, blob), host), asked)
            return
        signature = fields.string()
        if not signature:
            raise MalformedError("an empty signature")
        fields.end()
        session = self._transport.sessionID
        assert session is not None  # noqa: S101
        # What is signed is the session and the request itself up to its signature (RFC 4252 7).
        signed = string(session) + bytes((Message.USERAUTH_REQUEST,)) + payload[: -len(signature) - 4]
        self._wait(self._logins.key(user, KeyTry(algorithm, blob, signature, signed), host))

    def _wait(self, verdict: Deferred[Verdict], key: bytes = b"") -> None:
        """Answer when the verdict is there.

        :param key: what is asked about, where nothing was signed yet.
        """
        self._busy = True
        verdict.addCallback(self._decided, key).addErrback(self._broken)

    def _decided(self, verdict: Verdict, key: bytes) -> None:
        if self._over:
            return
        if verdict.user is None:
            took = self._seconds() - self._began
            later = (math.floor(took / STEP) + 1) * STEP - took
            self._later = self._transport.factory.reactor.callLater(later, self._refuse)
        elif key:
            self._transport.sendPacket(Message.USERAUTH_PK_OK, key)
            self._go_on()
        else:
            self._over = True
            self._waiting.clear()
            self._transport.logged_in(verdict.user.name, self._transport.factory.connection(self._transport, verdict))

    def _broken(self, failure: Any) -> None:
        log.failure("a login could not be checked", failure, event="sftp-login-fault")
        if not self._over:
            self._transport.disconnect(Reason.BY_APPLICATION, "a login could not be checked")

    def _refuse(self) -> None:
        self._refused += 1
        if self._refused >= self._tries:
            self._over = True
            self._transport.disconnect(Reason.NO_MORE_AUTH_METHODS_AVAILABLE, "too many failed logins")
            return
        self._send_refusal()
        self._go_on()

    def _send_refusal(self) -> None:
        self._transport.sendPacket(Message.USERAUTH_FAILURE, string(b",".join(self._logins.methods)) + b"\0")

    def _go_on(self) -> None:
        self._busy = False
        try:
            while self._waiting and not self._busy and not self._over:
                self.request(self._waiting.popleft())
        except DisconnectError as error:
            self._transport.disconnect(error.reason, error.text)
        except ValueError:
            self._transport.disconnect(Reason.PROTOCOL_ERROR, "a malformed message")
