"""The submission socket: what :mod:`netsvc.net.request_socket` answers is what the desk says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from netsvc.net.request_socket import RequestFactory
from netsvc.net.unix_peer import UnixPeer, unix_peer
from netsvc.services.sms.desk import Desk
from netsvc.services.sms.wire import Query, Send, make_reader


class SubmissionFactory(RequestFactory[Send | Query]):
    """Makes the connections of one submission socket.

    :param timeout: seconds that a request may take to arrive.
    :param reactor: the clock of deadlines.
    :param peer: transport -> UnixPeer.
    """

    def __init__(
        self, desk: Desk, *, timeout: float, reactor: IReactorTime, peer: Callable[[Any], UnixPeer] = unix_peer
    ) -> None:
        super().__init__(make_reader, desk.answer, reactor, deadline=timeout, refuse=desk.refuse, peer=peer)
