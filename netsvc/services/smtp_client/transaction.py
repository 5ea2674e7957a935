"""One message in one or more mail transactions (RFC 5321 3.3): MAIL, RCPT, DATA, the message, the final dot.

The one thing that can be unknown: once the kernel has taken the final dot, and until its reply is whole, a broken
connection leaves the message ambiguous. Before that it is retried, after that the reply decides. A message is never
ended (by a dot) where it would reach a recipient without its content.

Many recipients go in several transactions: of at most RECIPIENTS, or as few as the server wants (RFC 9422), and those
whom it refused because there were enough already (452) go in the next.

BDAT (RFC 3030) is not used. Beside pipelined DATA it saves no round trip unless the message leaves before any recipient
is known to be taken, and then every cut would be ambiguous; and all that we send has lines that DATA carries.
"""

from __future__ import annotations

from collections.abc import Callable

from netsvc.services.smtp_client.commands import Commands, commands
from netsvc.services.smtp_client.conversation import UNASKED, Conversation, Finished, Script, SessionEnded
from netsvc.services.smtp_client.replies import Capabilities, Reply
from netsvc.services.smtp_client.terms import Envelope, Result
from netsvc.services.smtp_client.transcode import UnsendableError, prepare
from netsvc.services.smtp_client.verdicts import Verdicts
from netsvc.services.smtp_client.wire import END, blocks

RECIPIENTS = 100  # in one transaction; every server takes as many, RFC 5321 4.5.3.1.8


def too_many(reply: Reply) -> bool:
    """Whether a refused RCPT means that there are enough already: RFC 5321 4.5.3.1.10, 552 as well as 452."""
    return reply.code in {452, 552} and (reply.enhanced is None or reply.enhanced[2:] == "5.3")


class Transaction:
    """One message for the recipients of one envelope, in as many transactions as it takes."""

    def __init__(self, envelope: Envelope, content: bytes, scrub: Callable[[str], str]) -> None:
        self._envelope = envelope
        self._content = content
        self._verdicts = Verdicts(envelope.recipients, scrub)
        self._commands: Commands | None = None
        self._octets = b""
        self._pipelined = False
        self._most = RECIPIENTS
        self._waiting: list[int] = []  # who is in no transaction yet
        self._said: list[int] = []  # to whom the dot, once taken, may have delivered
        self.begun = False  # the server accepted something of this message

    def finished(self) -> Finished:
        """The action that ends a script; every recipient must have been decided."""
        return Finished(self._verdicts.all())

    def give_up(self, end: SessionEnded, phase: str) -> None:
        """Decide what is open, now that the session has ended."""
        if self._said and not (end.reply is not None and end.reply.severity in {4, 5}):
            text = f"the message was sent whole and never acknowledged: {end.reason}"
            self._verdicts.settle(self._said, "ambiguous", phase, text=text)
        self._verdicts.settle_by_end(end, phase, self._verdicts.open)

    @property
    def needs_tls(self) -> bool:
        """Whether the message goes as RFC 8689 says or not at all; a bounce goes all the same (5)."""
        return self._envelope.require_tls and bool(self._envelope.sender)

    def refuse(self, enhanced: str, reason: str, phase: str) -> None:
        """Decide that the message shall not go to this server."""
        self._verdicts.settle(self._verdicts.open, "permanent", phase, text=reason, enhanced=enhanced)

    def prepare(self, capabilities: Capabilities) -> None:
        """Make the message fit for this server and word its commands; who cannot be served is decided."""
        if not self._verdicts.open:
            return
        try:
            message = prepare(
                self._content,
                eight_bit_mime="8BITMIME" in capabilities,
                smtputf8="SMTPUTF8" in capabilities,
                is_canonical=self._envelope.is_canonical,
            )
            self._commands = commands(self._envelope, message, capabilities)
        except UnsendableError as error:
            self._refuse(self._verdicts.open, error)
            return
        for at, why in self._commands.unnameable.items():
            self._refuse([at], why)
        self._octets = message.content
        self._pipelined = "PIPELINING" in capabilities
        self._most = min(RECIPIENTS, capabilities.limit("RCPTMAX") or RECIPIENTS)
        self._waiting = list(self._commands.rcpt)

    def _refuse(self, which: list[int], error: UnsendableError) -> None:
        self._verdicts.settle(which, "permanent", "content", text=error.reason, enhanced=error.enhanced)

    @property
    def more(self) -> bool:
        """Whether a transaction is to be made."""
        return bool(self._waiting)

    def run(self, talk: Conversation) -> Script[bool]:
        """Make the next transaction; True when a RSET must come before another."""
        assert self._commands is not None  # noqa: S101 - prepare() comes first
        group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        mail, lines = self._commands.mail, {at: self._commands.rcpt[at] for at in group}
        pipelined = self._pipelined
        # RFC 2920 3.1: DATA may end a group, the message may not begin before its 354
        talk.send(b"".join((mail, *lines.values(), b"DATA\r\n")) if pipelined else mail)
        reply = _expected((yield from talk.reply("mail")))
        willing = reply.severity == 2
        self.begun = self.begun or willing
        if not willing:
            self._settle_all(reply, "mail")
            if not pipelined:
                return False
        accepted, over = yield from self._name(talk, lines, willing)
        if not (pipelined or accepted):
            return True
        if not pipelined:
            talk.send(b"DATA\r\n")
        reply = yield from talk.reply("data")
        if reply.severity in {4, 5}:
            self._settle_by(reply, "data", accepted, over)
            return willing
        if reply.code != 354:
            raise SessionEnded(UNASKED)
        if not willing and accepted:
            raise SessionEnded("the server refused MAIL and accepted what follows from it")
        if not accepted:
            # RFC 2920 3.1: it took DATA with nobody to send to; an empty message ends that
            talk.send(END)
            yield from talk.reply("dot")
            return False
        yield from self._send_message(talk, accepted, over)
        return False

    def _name(
        self, talk: Conversation, lines: dict[int, bytes], willing: bool
    ) -> Script[tuple[list[int], dict[int, Reply]]]:
        """The RCPTs. Who was accepted, and who was refused only because there were enough."""
        accepted: list[int] = []
        over: dict[int, Reply] = {}
        for at, line in lines.items():
            if not self._pipelined:
                if over:
                    over[at] = next(iter(over.values()))  # the same would be said again
                    continue
                talk.send(line)
            reply = _expected((yield from talk.reply("rcpt")))
            if reply.severity == 2:
                accepted.append(at)
            elif accepted and too_many(reply):
                over[at] = reply
            elif willing:
                self._verdicts.settle_by(reply, "rcpt", [at])
        return accepted, over

    def _send_message(self, talk: Conversation, accepted: list[int], over: dict[int, Reply]) -> Script[None]:
        early = yield from talk.body(blocks(self._octets, is_canonical=True))
        if early is not None:
            # The dot is not out and never will be, so an early refusal is final and an early 2yz is a lie.
            if early.severity not in {4, 5}:
                raise SessionEnded(UNASKED)
            talk.usable = False
            self._verdicts.settle_by(early, "body", accepted, "retry" if early.code == 421 else None)
            for at, reply in over.items():
                self._verdicts.settle_by(reply, "rcpt", [at], "retry")
            self._settle_all(early, "body", "retry")
            return
        self._said = accepted
        reply = _expected((yield from talk.reply("dot")))
        self._said = []
        self._settle_by(reply, "dot", accepted, over)

    def _settle_by(self, reply: Reply, phase: str, accepted: list[int], over: dict[int, Reply]) -> None:
        """The reply to DATA or the dot decides the accepted, and whether the others are tried now or later."""
        self._verdicts.settle_by(reply, phase, accepted)
        if reply.severity == 2 and self._commands is not None and self._commands.notices:
            self._verdicts.mark_notified(accepted)
        if reply.severity == 2:
            self._waiting = [*over, *self._waiting]  # some were taken, so this comes to an end
            return
        for at, refusal in over.items():
            self._verdicts.settle_by(refusal, "rcpt", [at], "retry")
        if reply.severity == 4 and accepted:
            self._settle_all(reply, phase)

    def _settle_all(self, reply: Reply, phase: str, result: Result | None = None) -> None:
        """The reply stands for everybody who is left."""
        self._verdicts.settle_by(reply, phase, self._verdicts.open, result)
        self._waiting = []


def _expected(reply: Reply) -> Reply:
    """The reply, unless it is one that asks for more where nothing more is to come."""
    if reply.severity == 3:
        raise SessionEnded("the server asked for more where nothing more is to come")
    return reply
