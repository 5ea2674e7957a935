"""The SMTP client session (RFC 5321 3, RFC 3207, RFC 4954) without I/O and without Twisted.

Greeting, EHLO or HELO, STARTTLS by policy, AUTH, then any number of messages, then QUIT. Rules that hold throughout:

- What is said of the session (greeting, EHLO, TLS, AUTH) never condemns a message: its recipients are retried.
- Knowledge from before TLS is dropped, and so is the session if anything came in clear behind the 220.
- Credentials go in clear only when the relay says so.
- A reply that no command asked for ends the session.
"""

from __future__ import annotations

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.choice import mechanisms
from netsvc.services.smtp_client.auth.mechanism import AuthError, Mechanism
from netsvc.services.smtp_client.auth.scrubber import Scrubber
from netsvc.services.smtp_client.conversation import (
    Action,
    Close,
    Conversation,
    Deadline,
    Script,
    Send,
    SessionEnded,
    refused,
)
from netsvc.services.smtp_client.replies import Capabilities, Reply
from netsvc.services.smtp_client.terms import VERIFIED, Envelope, Relay, Timeouts
from netsvc.services.smtp_client.transaction import Transaction
from netsvc.services.smtp_client.wire import command

# 500 and 502: the verb is unknown (RFC 5321 4.1.4); 501 and 504 come from servers that dislike its form
_NO_EHLO = frozenset({500, 501, 502, 504})

NOT_OFFERED = "4.7.4"  # the status where TLS is required and not to be had


class Session(Conversation):
    """One connection's worth of SMTP.

    :param token: what the relay's token command gave.
    :ivar tls_failed: the handshake of an opportunistic STARTTLS did not succeed.
    :ivar login_refused: the server does not take the login (5yz): a token has expired, or was withdrawn.
    :ivar stale: the session ended before the server took anything of this message, which was not its first: a
        connection that had been kept too long. Another may be tried at once.
    :ivar fault: what went wrong inside netsvc, for the log.
    """

    def __init__(self, relay: Relay, *, helo_name: str, timeouts: Timeouts, token: Secret | None = None) -> None:
        super().__init__(timeouts)
        self._relay = relay
        self._secret = token if relay.token_command else relay.password
        self._helo_name = helo_name
        self._scrub = Scrubber()
        if self._secret is not None:
            self._scrub.add(self._secret.reveal())
        self._encrypted = False
        self._capabilities = Capabilities({})
        self._ready = False
        self._dirty = False  # a MAIL was accepted and nothing ended its transaction
        self._may_quit = False  # the session ended unhappily, but between commands
        self._messages = 0
        self._transactions = 0
        self.stale = False
        self.tls_failed = False
        self.login_refused = False
        self.fault: Exception | None = None

    # What the driver calls, besides the inputs of Conversation.

    def begin(self, envelope: Envelope, content: bytes) -> list[Action]:
        """Send a message: the first on a connection just made, or the next once Finished was given."""
        transaction = Transaction(envelope, content, self._scrub)
        self._messages += 1
        return self._run(self._deliver(transaction))

    def quit(self) -> list[Action]:
        """End the session. The reply to QUIT is not awaited: nothing hangs on it any more."""
        if not (self.usable or self._may_quit):
            return [Close(abort=True)]
        self.usable = self._may_quit = False
        return [Send(b"QUIT\r\n"), Deadline(self._timeouts.quit), Close(abort=False)]

    @property
    def via(self) -> str:
        """Whom it speaks to, for people."""
        return str(self._relay)

    @property
    def trust(self) -> str:
        """What its TLS is worth, once there is some: ``dane``, ``verified`` or ``unverified``."""
        if self._relay.tlsa:
            return "dane"
        return "verified" if self._relay.tls in VERIFIED else "unverified"

    @property
    def spent(self) -> bool:
        """Whether the server has taken all the transactions that it wants to (RFC 9422 4.1, MAILMAX)."""
        most = self._capabilities.limit("MAILMAX")
        return most is not None and self._transactions >= most

    # The script.

    def _deliver(self, transaction: Transaction) -> Script[None]:
        try:
            if self._messages > 1:
                self.phase = "mail"
            if not self.usable:
                raise SessionEnded("the connection can carry no further message", "4.4.2")
            if not self._ready:
                yield from self._open()
            if transaction.needs_tls:
                self._demand_tls(transaction)
            transaction.prepare(self._capabilities)
            while transaction.more:
                if self.spent:
                    raise SessionEnded("the server takes no more transactions on one connection", "4.5.3", broken=False)
                if self._dirty:
                    yield from self._reset()
                self._dirty = yield from transaction.run(self)
                self._transactions += 1
        except SessionEnded as end:
            self.usable = False
            self._may_quit = not end.broken
            if transaction.needs_tls and end.enhanced == NOT_OFFERED:
                transaction.refuse("5.7.10", end.reason, self.phase)
            self.stale = self._messages > 1 and not transaction.begun and self.phase in {"rset", "mail"}
            transaction.give_up(end, self.phase)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose a message
            self.usable = False
            self.fault = error
            transaction.give_up(SessionEnded(f"an internal error ({type(error).__name__})", "4.3.0"), self.phase)
        self.act(transaction.finished())

    def _open(self) -> Script[None]:
        if self._relay.implicit:
            yield from self._encrypt()
        greeting = yield from self.reply("greeting")
        if greeting.code != 220:
            raise refused(greeting)
        yield from self._hello()
        if self._relay.tls != "none" and not self._encrypted:
            yield from self._starttls()
        if self._relay.username is not None:
            yield from self._authenticate(self._relay.username)
        self._ready = True

    def _demand_tls(self, transaction: Transaction) -> None:
        # RFC 8689 4.2.1: the certificate is verified, and the server promises to demand the same of the next one
        if not (self._encrypted and self._relay.tls in VERIFIED):
            transaction.refuse("5.7.10", "the sender requires verified TLS, and this connection has none", "tls")
        elif "REQUIRETLS" not in self._capabilities:
            transaction.refuse(
                "5.7.30", "the sender requires TLS all the way, and the server does not offer it", "ehlo"
            )

    def _hello(self) -> Script[None]:
        self.send(command("EHLO", self._helo_name))
        reply = yield from self.reply("ehlo")
        if reply.code in _NO_EHLO:
            self.send(command("HELO", self._helo_name))
            reply = yield from self.reply("ehlo")
            self._capabilities = Capabilities({})
        else:
            self._capabilities = Capabilities.of(reply)
        if reply.code != 250:
            raise refused(reply)

    def _starttls(self) -> Script[None]:
        optional = self._relay.tls == "may"
        if "STARTTLS" not in self._capabilities:
            if optional:
                return
            raise SessionEnded("TLS is required and the server does not offer STARTTLS", NOT_OFFERED, broken=False)
        self.send(b"STARTTLS\r\n")
        reply = yield from self.reply("starttls")
        if reply.code == 220:
            yield from self._encrypt()
            yield from self._hello()
        elif not optional:
            raise refused(reply)

    def _encrypt(self) -> Script[None]:
        # RFC 3207 4.2: what was known before is discarded
        self._capabilities = Capabilities({})
        try:
            yield from self.handshake()
        except SessionEnded:
            self.tls_failed = self._relay.tls == "may" and not self._relay.implicit and self.phase == "tls"
            raise
        self._encrypted = True

    def _authenticate(self, username: str) -> Script[None]:
        self.phase = "auth"
        secret = self._secret
        if secret is None:
            what = "token" if self._relay.token_command else "password"
            raise SessionEnded(f"a user name is given and no {what}", "4.7.0", broken=False)
        if not self._encrypted and not self._relay.auth_without_tls:
            raise SessionEnded(
                "the login is not sent in clear: there is no TLS on this connection", "4.7.11", broken=False
            )
        offered, name, reply = self._capabilities.mechanisms, "AUTH", None
        try:
            for mechanism in mechanisms(self._relay, username, secret, offered, encrypted=self._encrypted):
                name = mechanism.name
                reply = yield from self._exchange(mechanism)
                if reply.code == 235:
                    return
                if reply.code != 504:  # RFC 4954 4: not supported; anything else stands, another try may lock out
                    break
        except AuthError as error:
            raise SessionEnded(f"{name}: {error}", "4.7.0", broken=False) from None
        self.login_refused = reply is not None and reply.severity == 5
        if reply is None:
            raise SessionEnded("the server offers no login mechanism that is known here", "4.7.0", broken=False)
        raise refused(reply)

    def _exchange(self, mechanism: Mechanism) -> Script[Reply]:
        self._send_secret(mechanism.begin())
        reply = yield from self.reply("auth")
        while reply.code == 334:
            try:
                answer = mechanism.respond(reply.lines[0])
            except AuthError:
                self.send(b"*\r\n")  # RFC 4954 4: cancels the exchange
                yield from self.reply("auth")
                raise
            self._send_secret(answer)
            reply = yield from self.reply("auth")
        if reply.code == 235:
            mechanism.succeeded()
        return reply

    def _send_secret(self, line: bytes) -> None:
        words = line.decode("ascii").split()
        if words and (words[0] != "AUTH" or len(words) == 3):
            self._scrub.add(words[-1])  # it may come back as it went
        self.send(line)

    def _reset(self) -> Script[None]:
        self.send(b"RSET\r\n")
        reply = yield from self.reply("rset")
        if reply.code != 250:
            raise refused(reply)
        self._dirty = False
