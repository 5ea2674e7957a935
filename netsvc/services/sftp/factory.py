"""SftpFactory: makes a Transport for each peer, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.conch.ssh.keys import Key
from twisted.internet.protocol import Factory

from netsvc.interfaces import IRuntime
from netsvc.net.addresses import canonical, prefix
from netsvc.services.sftp.host_keys import HostKeys
from netsvc.services.sftp.login.logins import Logins, Verdict
from netsvc.services.sftp.login.places import LoginPlaces
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.ssh.connection import Connection, Session
from netsvc.services.sftp.ssh.transport import Transport
from netsvc.services.sftp.ssh.userauth import Userauth

REKEY_AFTER = 1 << 30  # octets in both directions, RFC 4253 9


@frozen
class Limits:
    """Of connections.

    :param login_timeout: seconds from the connection to the end of the login.
    :param login_tries: failed ones of one connection.
    :param max_logins: connections at once that nobody has logged in on.
    :param rekey_after: octets.
    """

    login_timeout: float
    login_tries: int
    max_logins: int
    rekey_after: int = REKEY_AFTER


class SftpFactory(Factory):
    """Makes a Transport for each peer.

    :param session: (user, peer's address or None) -> what he gets.
    """

    noisy = False

    def __init__(
        self,
        runtime: IRuntime,
        host_keys: HostKeys,
        logins: Logins,
        session: Callable[[User, str | None], Session],
        limits: Limits,
    ) -> None:
        self.reactor: Any = runtime.reactor
        self.login_timeout = limits.login_timeout
        self.rekey_after = limits.rekey_after
        self._tries = limits.login_tries
        self._host_keys = host_keys
        self._logins = logins
        self._session = session
        self._open: set[Transport] = set()
        self._places = LoginPlaces(limits.max_logins)
        too_many = runtime.metrics.counter(
            "sftp_logins_over_limit", "Connections that were refused by max_logins.", ("service",)
        )
        self._too_many = too_many.bind(service=runtime.name)
        octets = runtime.metrics.counter("sftp_octets", "Octets of SSH connections.", ("service", "direction"))
        self._octets_in = octets.bind(service=runtime.name, direction="in")
        self._octets_out = octets.bind(service=runtime.name, direction="out")

    @property
    def privateKeys(self) -> dict[bytes, Key]:
        """As conch's key exchange looks for them."""
        return self._host_keys.private

    @property
    def publicKeys(self) -> dict[bytes, Key]:
        """As conch's key exchange looks for them."""
        return self._host_keys.public

    @property
    def host_key_algorithms(self) -> tuple[bytes, ...]:
        """Those of the server's own signatures."""
        return self._host_keys.algorithms

    def buildProtocol(self, addr: Any) -> Transport:  # type: ignore[override] # conch's transport has another factory
        return Transport(self, getattr(addr, "host", None))

    def userauth(self, transport: Transport) -> Userauth:
        """The login of a peer."""
        return Userauth(transport, self._logins, self._tries)

    def connection(self, transport: Transport, verdict: Verdict) -> Connection:
        """What somebody gets who was let in."""
        assert verdict.user is not None  # noqa: S101
        return Connection(transport, self._session(verdict.user, transport.host))

    def take_login_place(self, host: str | None) -> bool:
        """Whether one more may try to log in.

        :param host: the peer's address; None on a UNIX socket.
        """
        taken = self._places.take(prefix(canonical(host)))
        if not taken:
            self._too_many.inc()
        return taken

    def give_back_login_place(self, host: str | None) -> None:
        """One who might has logged in, or is gone."""
        self._places.give_back(prefix(canonical(host)))

    def opened(self, transport: Transport) -> None:
        """A connection has begun."""
        self._open.add(transport)

    def closed(self, transport: Transport) -> None:
        """A connection has ended."""
        self._open.discard(transport)

    def count_octets(self, received: int, sent: int) -> None:
        """Count what a connection has moved."""
        self._octets_in.inc(received)
        self._octets_out.inc(sent)

    def drain(self) -> None:
        """The service stops: connections end as soon as nothing is open on them."""
        for transport in tuple(self._open):
            transport.drain()
