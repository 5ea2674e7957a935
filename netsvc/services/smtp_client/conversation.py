"""The mechanics of an SMTP client session without I/O: replies wake a script, the script asks for actions.

A script is a generator. It sends with :meth:`Conversation.send` and waits by yielding from :meth:`Conversation.reply`,
:meth:`Conversation.handshake` or :meth:`Conversation.body`. Every input method returns the actions to be done, in
order. Whatever goes wrong with the peer is raised inside the script as a SessionEnded, at the place where it waits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from attrs import frozen

from netsvc.services.smtp_client.replies import Reply, ReplyError, ReplyParser, clean
from netsvc.services.smtp_client.terms import Outcome, Timeouts

T = TypeVar("T")
Script = Generator["Wait", Any, T]


@frozen
class Send:
    """Write these octets."""

    data: bytes


@frozen
class BeginTLS:
    """Begin the TLS handshake; nothing more goes in clear."""


@frozen
class PullBody:
    """Call ``body_wanted`` now, and again each time the transport has handed all it had to the kernel."""


@frozen
class StopPulling:
    """The body needs no more calls."""


@frozen
class Deadline:
    """Call ``deadline_passed`` in so many seconds unless another Deadline comes; None: no limit any more."""

    seconds: float | None


@frozen
class Close:
    """End the connection: after what was written, or at once."""

    abort: bool


@frozen
class Finished:
    """The transaction is decided. One outcome per recipient, in the envelope's order."""

    outcomes: tuple[Outcome, ...]


Action = Send | BeginTLS | PullBody | StopPulling | Deadline | Close | Finished


@frozen
class Wait:
    """What a script waits for, in which phase: the words of the phase stand in Timeouts."""

    kind: str
    phase: str


class SessionEnded(Exception):  # noqa: N818 - an ending, not always an error
    """The session cannot go on.

    :param reason: one sentence for people; holds nothing of the peer.
    :param enhanced: our RFC 3463 status.
    :param reply: the server's words, when they ended it.
    :param broken: nothing more may be sent, not even QUIT.
    """

    def __init__(
        self, reason: str, enhanced: str = "4.5.0", reply: Reply | None = None, *, broken: bool = True
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.enhanced = enhanced
        self.reply = reply
        self.broken = broken


def refused(reply: Reply) -> SessionEnded:
    """The session ended by the server's own words."""
    return SessionEnded(f"the server answered {reply.code}", "4.5.0", reply, broken=reply.code == 421)


UNASKED = "the server sent a reply that no command asked for"


class Conversation:
    """Runs one script at a time over one connection."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._parser = ReplyParser()
        self._script: Script[None] | None = None
        self._wait: Wait | None = None
        self._actions: list[Action] = []
        self._blocks: Iterator[bytes] = iter(())
        self.phase = "greeting"
        self.usable = True  # whether another message may be sent on this connection

    # What scripts use.

    def send(self, data: bytes) -> None:
        """Send commands. Nothing may have come since the last reply that was asked for."""
        if self._parser.residue:
            pending = self._next_reply()
            if pending is not None and pending.code == 421:
                raise refused(pending)
            raise SessionEnded(UNASKED)
        self._actions.append(Send(data))

    def act(self, action: Action) -> None:
        """Ask for an action."""
        self._actions.append(action)

    def reply(self, phase: str) -> Script[Reply]:
        """The next reply. A 421 ends the session wherever it comes (RFC 5321 3.8)."""
        reply: Reply = yield Wait("reply", phase)
        if reply.code == 421:
            raise refused(reply)
        return reply

    def handshake(self) -> Script[None]:
        """Begin TLS (RFC 3207 4.2) and wait for it. Octets behind the 220 came in clear and end the session."""
        if self._parser.residue:
            raise SessionEnded("the server sent more in clear behind its reply to STARTTLS", "4.7.0")
        self._actions.append(BeginTLS())
        yield Wait("handshake", "tls")

    def body(self, blocks: Iterator[bytes]) -> Script[Reply | None]:
        """Send the message. None once the kernel has taken the final dot; a reply that came before it."""
        if self._parser.residue:
            raise SessionEnded(UNASKED)
        self._blocks = blocks
        self._actions.append(PullBody())
        early: Reply | None = yield Wait("body", "body")
        self._actions.append(StopPulling())
        return early

    # Inputs.

    def receive(self, data: bytes) -> list[Action]:
        """Octets came."""
        if self._wait is None or self._wait.kind == "handshake":
            if self._script is None:
                self.usable = False  # nobody asked
            return self._flush()
        self._parser.feed(data)
        while self._wait is not None and self._wait.kind in {"reply", "body"}:
            try:
                reply = self._next_reply()
            except SessionEnded as end:
                self._throw(end)
                break
            if reply is None:
                break
            self._resume(reply)
        return self._flush()

    def tls_established(self) -> list[Action]:
        """The handshake is done and the peer's certificate as wanted."""
        if self._wait is not None and self._wait.kind == "handshake":
            self._resume(None)
        return self._flush()

    def body_wanted(self) -> list[Action]:
        """The kernel has taken all that was written."""
        if self._wait is not None and self._wait.kind == "body":
            block = next(self._blocks, None)
            if block is None:
                self._resume(None)
            else:
                self._actions += [Send(block), Deadline(self._timeouts.block)]
        return self._flush()

    def connection_lost(self, reason: str, enhanced: str = "4.4.2") -> list[Action]:
        """The connection is gone."""
        self.usable = False
        self._throw(SessionEnded(reason, enhanced))
        return self._flush()

    def deadline_passed(self) -> list[Action]:
        """The time of the last Deadline is over."""
        self.usable = False
        if self._wait is None:
            self._actions.append(Close(abort=True))
        elif self._wait.kind == "handshake":
            self._throw(SessionEnded("the TLS handshake took too long", "4.4.2"))
        elif self._wait.kind == "body":
            self._throw(SessionEnded("the server took the message too slowly", "4.4.2"))
        else:
            self._throw(SessionEnded(f"no complete reply within the time limit of {self.phase}", "4.4.2"))
        return self._flush()

    # The engine.

    def _next_reply(self) -> Reply | None:
        try:
            return self._parser.next_reply()
        except ReplyError as error:
            raise SessionEnded(f"the server broke the protocol: {error}") from None

    def _run(self, script: Script[None]) -> list[Action]:
        self._script = script
        self._step(lambda: next(script))
        return self._flush()

    def _resume(self, value: object) -> None:
        script = self._script
        if script is not None:
            self._step(lambda: script.send(value))

    def _throw(self, error: SessionEnded) -> None:
        script = self._script
        if script is not None:
            self._step(lambda: script.throw(error))

    def _step(self, run: Any) -> None:
        self._wait = None
        try:
            wait: Wait = run()
        except StopIteration:
            self._script = None
            self._actions.append(Deadline(None))
            if self._parser.residue:
                self.usable = False
            return
        self._wait = wait
        self.phase = wait.phase
        self._actions.append(Deadline(_limit(self._timeouts, wait)))

    def _flush(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions


_FIELDS = {"tls": "handshake", "rset": "mail", "body": "block", "dot": "termination"}


def _limit(timeouts: Timeouts, wait: Wait) -> float:
    limit: float = getattr(timeouts, _FIELDS.get(wait.phase, wait.phase))
    return limit


def words(reply: Reply, scrub: Any) -> str:
    """A reply's text as it may be shown: secrets out before anything is cut, then cleaned and bounded."""
    return clean(scrub(clean(scrub(reply.text), 1 << 20)))
