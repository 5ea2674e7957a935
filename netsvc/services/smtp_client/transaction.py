"""One mail transaction (RFC 5321 3.3): MAIL, RCPT, DATA, the message, the final dot; one outcome per recipient.

The one thing that can be unknown: once the kernel has taken the final dot, and until its reply is whole, a broken
connection leaves the message ambiguous. Before that it is retried, after that the reply decides. A message is never
ended (by a dot) where it would reach a recipient without its content.
"""

from __future__ import annotations

from collections.abc import Callable

from netsvc.services.smtp_client.conversation import (
    UNASKED,
    Conversation,
    Finished,
    Script,
    SessionEnded,
    words,
)
from netsvc.services.smtp_client.replies import Capabilities, Reply
from netsvc.services.smtp_client.terms import Envelope, Outcome, Result
from netsvc.services.smtp_client.transcode import Prepared, UnsendableError, prepare
from netsvc.services.smtp_client.wire import END, ascii_mailbox, blocks, command, valid_mailbox

# Said at MAIL or later, these speak of the session, not of the message: RFC 4954 6, RFC 3207 4
_OF_THE_SESSION = frozenset({530, 534, 535, 538})


def result_of(reply: Reply) -> Result:
    """The result that a 2yz, 4yz or 5yz means."""
    if reply.severity == 2:
        return "delivered"
    return "retry" if reply.severity == 4 or reply.code in _OF_THE_SESSION else "permanent"


def too_many(reply: Reply) -> bool:
    """Whether a refused RCPT means that there are enough already: RFC 5321 4.5.3.1.10, 552 as well as 452."""
    return reply.code in {452, 552} and (reply.enhanced is None or reply.enhanced[2:] == "5.3")


class Transaction:
    """One message for the recipients of one envelope."""

    def __init__(self, envelope: Envelope, content: bytes, scrub: Callable[[str], str]) -> None:
        self._envelope = envelope
        self._content = content
        self._scrub = scrub
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self._dot_taken = False

    # Outcomes.

    def finished(self) -> Finished:
        """The action that ends a script; every recipient must have been decided."""
        outcomes = tuple(outcome for outcome in self._outcomes if outcome is not None)
        if len(outcomes) != len(self._outcomes):
            raise AssertionError("a recipient was left without an outcome")
        return Finished(outcomes)

    def give_up(self, end: SessionEnded, phase: str) -> None:
        """Decide what is open, now that the session has ended."""
        if end.reply is not None and end.reply.severity in {4, 5}:
            self._settle_by(end.reply, phase, self._open(), "retry")
        elif self._dot_taken:
            text = f"the message was sent whole and never acknowledged: {end.reason}"
            self._settle(self._open(), "ambiguous", phase, text=text)
        else:
            code = end.reply.code if end.reply else None
            self._settle(self._open(), "retry", phase, text=end.reason, code=code, enhanced=end.enhanced)

    def _open(self) -> list[int]:
        return [at for at, outcome in enumerate(self._outcomes) if outcome is None]

    def _settle(
        self,
        which: list[int],
        result: Result,
        phase: str,
        *,
        text: str,
        code: int | None = None,
        enhanced: str | None = None,
    ) -> None:
        for at in which:
            self._outcomes[at] = Outcome(self._envelope.recipients[at], result, code, enhanced, text, phase)

    def _settle_by(self, reply: Reply, phase: str, which: list[int], result: Result | None = None) -> None:
        text = words(reply, self._scrub)
        self._settle(which, result or result_of(reply), phase, text=text, code=reply.code, enhanced=reply.enhanced)

    # The script.

    def run(self, talk: Conversation, capabilities: Capabilities) -> Script[bool]:
        """Hand the message over; True when a RSET must come before the next one."""
        try:
            message = prepare(
                self._content, eight_bit_mime="8BITMIME" in capabilities, smtputf8="SMTPUTF8" in capabilities
            )
            mail, paths = self._commands(message, capabilities)
        except UnsendableError as error:
            self._settle(self._open(), "permanent", "content", text=error.reason, enhanced=error.enhanced)
            return False
        if not paths:
            return False
        return (yield from self._hand_over(talk, mail, paths, message, "PIPELINING" in capabilities))

    def _commands(self, message: Prepared, capabilities: Capabilities) -> tuple[bytes, dict[int, bytes]]:
        """The MAIL and the RCPTs of those who can be named; the others are settled."""
        limit, size = capabilities.size_limit, len(message.content)
        if limit is not None and size > limit:
            raise UnsendableError("5.3.4", f"the message has {size} octets and the server takes {limit}")
        utf8 = "SMTPUTF8" in capabilities

        def path(address: str) -> str:
            if not valid_mailbox(address):
                raise UnsendableError("5.1.3", "the address breaks the syntax of RFC 5321 4.1.2")
            plain = address if utf8 else ascii_mailbox(address)
            if plain is None:
                raise UnsendableError("5.6.7", "the address is not ASCII and the server does not offer SMTPUTF8")
            return f"<{plain}>"

        try:
            sender = path(self._envelope.sender) if self._envelope.sender else "<>"
        except UnsendableError as error:
            status = "5.1.7" if error.enhanced == "5.1.3" else error.enhanced
            raise UnsendableError(status, f"the sender: {error.reason}") from None
        recipients: dict[int, str] = {}
        for at, recipient in enumerate(self._envelope.recipients):
            try:
                recipients[at] = path(recipient)
            except UnsendableError as error:
                self._settle([at], "permanent", "content", text=error.reason, enhanced=error.enhanced)
        parameters = []
        if "SIZE" in capabilities:
            parameters.append(f"SIZE={size}")
        if message.eight_bit:
            parameters.append("BODY=8BITMIME")
        if message.utf8_header or not all(map(str.isascii, (sender, *recipients.values()))):
            parameters.append("SMTPUTF8")
        mail = command("MAIL", f"FROM:{sender}", *parameters)
        return mail, {at: command("RCPT", f"TO:{name}") for at, name in recipients.items()}

    def _hand_over(
        self, talk: Conversation, mail: bytes, paths: dict[int, bytes], message: Prepared, pipelined: bool
    ) -> Script[bool]:
        # RFC 2920 3.1: DATA may end a group, the message may not begin before its 354
        talk.send(b"".join((mail, *paths.values(), b"DATA\r\n")) if pipelined else mail)
        reply = yield from talk.reply("mail")
        willing = _expected(reply).severity == 2
        if not willing:
            self._settle_by(reply, "mail", self._open())
            if not pipelined:
                return False
        accepted: list[int] = []
        for at, line in paths.items():
            if not pipelined:
                talk.send(line)
            reply = _expected((yield from talk.reply("rcpt")))
            if reply.severity == 2:
                accepted.append(at)
            elif willing:
                enough = bool(accepted) and too_many(reply)
                self._settle_by(reply, "rcpt", [at], "retry" if enough else None)
                if enough and not pipelined:
                    self._settle_by(reply, "rcpt", [later for later in self._open() if later > at], "retry")
                    break
        if not pipelined:
            if not accepted:
                return True
            talk.send(b"DATA\r\n")
        reply = yield from talk.reply("data")
        if reply.severity in {4, 5}:
            self._settle_by(reply, "data", self._open())
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
        return (yield from self._send_message(talk, message))

    def _send_message(self, talk: Conversation, message: Prepared) -> Script[bool]:
        early = yield from talk.body(blocks(message.content))
        if early is not None:
            # The dot is not out and never will be, so an early refusal is final and an early 2yz is a lie.
            if early.severity not in {4, 5}:
                raise SessionEnded(UNASKED)
            talk.usable = False
            self._settle_by(early, "body", self._open(), "retry" if early.code == 421 else None)
            return False
        self._dot_taken = True
        reply = _expected((yield from talk.reply("dot")))
        self._settle_by(reply, "dot", self._open())
        return False


def _expected(reply: Reply) -> Reply:
    """The reply, unless it is one that asks for more where nothing more is to come."""
    if reply.severity == 3:
        raise SessionEnded("the server asked for more where nothing more is to come")
    return reply
