"""A stage for the delivery protocol: a transport that takes octets at the test's pace, a clock, a scripted server."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as Lost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.protocol import Connection
from netsvc.services.smtp_client.session import Session
from netsvc.services.smtp_client.terms import Envelope, Outcome, Relay, Timeouts

PLAIN = Relay(host="mail.example", port=25, tls="none")
PASSWORD = "geheim-9§"
LOGIN = Relay(
    host="mail.example",
    port=25,
    tls="none",
    username="anna",
    password=Secret("literal", PASSWORD),
    auth_without_tls=True,
)
MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
GREETING = b"220 mail.example ESMTP\r\n"
EHLO = b"250-mail.example\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 HELP\r\n"
PIPELINING = b"250-mail.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
OK = b"250 2.1.0 fine\r\n"
GO = b"354 go ahead\r\n"


class Pipe(StringTransport):
    """A transport whose pull producer is asked as TCP does: at once, then whenever all was taken."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        producer.resumeProducing()


class Stage:
    """One Connection with one message on a Pipe.

    :param open_window: the kernel takes what is written at once; otherwise the test calls ``drain``.
    """

    def __init__(
        self,
        relay: Relay = PLAIN,
        *,
        sender: str = "me@here.example",
        to: tuple[str, ...] = ("a@there.example",),
        content: bytes = MESSAGE,
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        open_window: bool = True,
        envelope: Envelope | None = None,
        token: Secret | None = None,
    ) -> None:
        self.clock = Clock()
        self.pipe = Pipe()
        self.open_window = open_window
        self.session = Session(relay, helo_name="client.example", timeouts=timeouts, token=token)
        self.delivery = Connection(self.session, creator=None, clock=self.clock)
        self.fired: list[tuple[Outcome, ...]] = []
        self.delivery.makeConnection(self.pipe)
        self.delivery.send(envelope or Envelope(sender=sender, recipients=to), content).addCallback(self.fired.append)

    def say(self, *replies: bytes) -> bytes:
        """The server says these, one segment each; what the client sent in answer."""
        for reply in replies:
            self.delivery.dataReceived(reply)
            if self.open_window:
                self.drain()
        return self.sent()

    def sent(self) -> bytes:
        sent = self.pipe.value()
        self.pipe.clear()
        return bytes(sent)

    def drain(self) -> None:
        while self.pipe.producer is not None:
            self.pipe.producer.resumeProducing()

    def lose(self, clean: bool = False) -> None:
        """The connection ends, by FIN or by RST."""
        if self.pipe.producer is not None:
            self.pipe.producer.stopProducing()
        self.delivery.connectionLost(Failure(ConnectionDone() if clean else Lost()))

    def to_data(self, ehlo: bytes = EHLO) -> None:
        """Up to the 354's answer, without pipelining."""
        self.say(GREETING, ehlo, OK, OK)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        assert len(self.fired) == 1, self.fired
        return self.fired[0]

    @property
    def results(self) -> list[str]:
        return [outcome.result for outcome in self.outcomes]

    @property
    def only(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome
