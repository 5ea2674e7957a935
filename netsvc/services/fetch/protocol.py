"""The socket of a list: what :mod:`netsvc.net.request_socket` answers is what the desk says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.interfaces import IReactorTime

from netsvc.net.request_socket import RequestFactory
from netsvc.net.unix_peer import UnixPeer, unix_peer
from netsvc.services.fetch.wire import Request, make_reader

DEADLINE = 30.0  # seconds for a request of some hundred octets, ours; the command waits longer for its answer

Answer = Callable[[Request, UnixPeer], Coroutine[Any, Any, dict[str, Any]]]


class SocketFactory(RequestFactory[Request]):
    """Makes the connections.

    :param answer: the reply to a request; never raises.
    :param reactor: the clock of deadlines.
    :param peer: transport -> UnixPeer.
    """

    def __init__(self, answer: Answer, reactor: IReactorTime, peer: Callable[[Any], UnixPeer] = unix_peer) -> None:
        super().__init__(make_reader, answer, reactor, deadline=DEADLINE, patient=False, peer=peer)
