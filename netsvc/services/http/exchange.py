"""One request and its answer, whatever protocol version carried them: what routes (static, cgi) see.

HTTP/1 makes these today, HTTP/2 later; a route cannot tell which.
"""

from __future__ import annotations

from attrs import frozen
from zope.interface import Attribute, Interface

Headers = tuple[tuple[bytes, bytes], ...]


@frozen(kw_only=True)
class RequestHead:
    """The head of a request, checked.

    :param method: such as "GET"; known to netsvc.
    :param target: the request target as it came, octets.
    :param path: the raw path of the target, still percent-encoded; absolute-form is reduced to it; "*" for OPTIONS *.
    :param query: what stands behind the first "?", without it; b"" when there is none.
    :param version: (1, 0) or (1, 1), (2, 0).
    :param headers: (name in lower case, value) in order of arrival.
    :param host: the authority the request is for, without userinfo, as given ("example.com:8000", "[::1]").
    """

    method: str
    target: bytes
    path: bytes
    query: bytes
    version: tuple[int, int]
    headers: Headers
    host: str

    def first(self, name: bytes) -> bytes | None:
        """The first value of a field (name in lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def all(self, name: bytes) -> list[bytes]:
        """All values of a field (name in lower case), in order."""
        return [value for key, value in self.headers if key == name]


class IBodyReceiver(Interface):
    """Who takes a request's body, decoded, as it arrives."""

    def body_received(data):
        """Some octets, never empty."""

    def body_finished():
        """The body is whole."""

    def body_lost():
        """The peer left or broke the rules before the body was whole; called instead of body_finished."""


class IExchange(Interface):
    """A request and the means to answer it. A route calls begin once, then write any number of times, then finish.

    ``begin`` may be called before the request's body has arrived. If the peer leaves, ``lost`` fires, later calls
    do nothing, and a registered producer is told to stop.
    """

    head = Attribute("The RequestHead.")
    peer = Attribute("(host, port) of the peer as text and int; a v4-mapped address is v4; ('', 0) on UNIX sockets.")
    local = Attribute("(host, port) that the peer connected to.")
    secure = Attribute("True under TLS.")
    request_id = Attribute("A short unique word for logs and error pages.")
    body_length = Attribute("Declared length of the body in octets; 0 for none; None when it is chunked.")
    style = Attribute("The AnswerStyle of the answer; routes may set another one before anything answers.")
    user = Attribute("Whom netsvc has authenticated, as text; '' for nobody. Routes set it.")
    lost = Attribute("A Deferred that fires with None when the peer has left before the answer was finished.")

    def receive_body(receiver):
        """Deliver the body to an IBodyReceiver from now on. Without this call the body is drained and dropped."""

    def pause_body():
        """Stop reading the body from the peer (back-pressure); it may still deliver what was already read."""

    def resume_body():
        """Read on."""

    def send_continue():
        """Send 100 Continue if the peer waits for it. receive_body does this itself."""

    def inform(status, headers, reason):
        """Send an interim answer (RFC 9110 15.2), of which there may be any number before begin.

        Nothing is sent to a peer of HTTP/1.0, which knows none, nor when the answer has begun.

        :param status: 102 to 199; 100 is send_continue's.
        :param headers: as of begin.
        :param reason: the reason phrase, or None for the usual one.
        """

    def begin(status, headers, length=None, reason=None):
        """Send the answer's head.

        :param status: the code, int.
        :param headers: (name, value) octets in the spelling to be sent, without Date, Server, Connection,
            Content-Length and Transfer-Encoding: these are the exchange's.
        :param length: octets of the body, or None for an unknown length (chunked, or until close in 1.0).
        :param reason: the reason phrase, or None for the usual one.
        """

    def take_over():
        """Instead of begin: every octet written from now on goes to the peer as it is, status line included (nph-).

        The connection ends with finish. Not possible where answers share a connection (HTTP/2).

        :return: whether it is so; when not, call begin.
        """

    def write(data):
        """Send some of the body. For HEAD, 204 and 304 it is dropped. Never more than `length` in all."""

    def send_file(descriptor, offset, length):
        """Send part of an open file (sendfile where possible); a Deferred; the caller closes the descriptor."""

    def answer(status, headers, body, reason=None):
        """begin, write and finish of an answer that is at hand as a whole, in one go."""

    def register_producer(producer, streaming):
        """As ITransport.registerProducer: back-pressure from the peer to the route."""

    def unregister_producer():
        """As ITransport.unregisterProducer."""

    def finish():
        """The answer is complete. If fewer octets than `length` were written, this is abort()."""

    def abort():
        """Break the answer visibly: no last chunk, the connection is cut."""

    def refuse(status, reason=None, headers=()):
        """Answer with netsvc's own small error page and finish; closes the connection if the body was not read."""
