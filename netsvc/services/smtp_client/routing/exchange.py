"""One question to one DNS server, over UDP or TCP, within a time limit.

Not Twisted's DNS client: it takes an answer from any address, hides AD and response codes, and has no EDNS. Nor its UDP
port, which logs two lines for each question. The socket is connected, so the kernel drops what others send, and has a
port of the kernel's choice; that and the number of the question are what a forger must guess (RFC 5452 9).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.smtp_client.routing.answers import Answer
from netsvc.services.smtp_client.routing.questions import NotOurs, Question, Truncated
from netsvc.services.smtp_client.routing.servers import Server

MAX_STRANGERS = 100  # datagrams that are no answer, ours; then the server, or who speaks for it, is given up


class NoAnswer(Exception):  # noqa: N818 - what happened
    """The server said nothing that is an answer. The text is for people."""


async def exchange(reactor: Any, server: Server, question: Question, seconds: float) -> Answer[Any]:
    """Ask, over UDP, and once more over TCP when the answer is too long for that.

    :raises NoAnswer: there was none within so many seconds, of each way.
    :raises ValueError: the name is none.
    """
    octets = question.octets()
    try:
        return await _within(seconds, reactor, _by_datagram(reactor, server, question, octets))
    except Truncated:
        return await _within(seconds, reactor, _by_stream(reactor, server, question, octets, seconds))


def _within(seconds: float, reactor: Any, asked: Deferred[Answer[Any]]) -> Deferred[Answer[Any]]:
    def silent(_: object, __: float) -> Any:
        raise NoAnswer(f"no answer within {seconds:g} seconds")

    return asked.addTimeout(seconds, reactor, silent)


@implementer(IReadDescriptor)
class _Datagram:
    """A connected UDP socket that waits for one answer."""

    def __init__(self, reactor: Any, server: Server, read: Callable[[bytes], Answer[Any]]) -> None:
        self._reactor = reactor
        self._read = read
        self._strangers = 0
        self.done: Deferred[Answer[Any]] = Deferred(lambda _: self._close())
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def ask(self, server: Server, octets: bytes) -> None:
        try:
            self._socket.connect((server.host, server.port))
            self._socket.send(octets)
        except OSError:
            self._socket.close()
            raise
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """The socket's, or -1."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "dns"

    def doRead(self) -> None:
        """A datagram is here, or the port is known to be closed."""
        try:
            octets = self._socket.recv(65535)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(NoAnswer(error.strerror or "the question could not be sent"))
            return
        try:
            answer = self._read(octets)
        except NotOurs:
            self._strangers += 1
            if self._strangers >= MAX_STRANGERS:
                self._end(NoAnswer("what it says is no answer"))
        except Truncated as cut:
            self._end(cut)
        else:
            self._end(answer)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002 - the interface's
        """The reactor found an error on the socket, such as that nobody is at the port."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._socket.fileno() >= 0 else 0
        self._end(NoAnswer(os.strerror(error) if error else "the socket was lost"))

    def _end(self, result: Answer[Any] | Exception) -> None:
        self._close()
        if not self.done.called:
            self.done.callback(result) if not isinstance(result, Exception) else self.done.errback(result)

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()


def _by_datagram(reactor: Any, server: Server, question: Question, octets: bytes) -> Deferred[Answer[Any]]:
    def read(data: bytes) -> Answer[Any]:
        return question.read(data, believed=server.believed, datagram=True)

    try:
        one = _Datagram(reactor, server, read)
        one.ask(server, octets)
    except OSError as error:
        raise NoAnswer(error.strerror or "the question could not be sent") from None
    return one.done


class _Stream(Int16StringReceiver):
    """RFC 1035 4.2.2: each message behind its length."""

    transport: Any

    def __init__(self, octets: bytes, read: Callable[[bytes], Answer[Any]]) -> None:
        self._octets = octets
        self._read = read
        self.done: Deferred[Answer[Any]] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.sendString(self._octets)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        if self.done.called:
            return
        try:
            answer = self._read(string)
        except NotOurs:
            self.done.errback(NoAnswer("what it says is no answer"))
        else:
            self.done.callback(answer)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - the interface's
        if not self.done.called:
            self.done.errback(NoAnswer("it closed the connection"))


def _by_stream(
    reactor: Any, server: Server, question: Question, octets: bytes, seconds: float
) -> Deferred[Answer[Any]]:
    def read(data: bytes) -> Answer[Any]:
        return question.read(data, believed=server.believed, datagram=False)

    async def ask() -> Answer[Any]:
        kind = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
        factory = Factory.forProtocol(lambda: _Stream(octets, read))
        factory.noisy = False
        connecting: Deferred[Any] = kind(reactor, server.host, server.port, timeout=seconds).connect(factory)
        connecting.addErrback(_not_connected)
        stream = await connecting
        answer: Answer[Any] = await stream.done
        return answer

    return Deferred.fromCoroutine(ask())


def _not_connected(failure: Failure) -> Any:
    if failure.check(CancelledError):
        return failure
    raise NoAnswer("no connection for an answer that is too long for a datagram")
