"""The server's side of SMTP submission, without I/O (RFC 5321, 6409): octets in, replies and events out.

What is allowed when; a command that is not is answered 503 and changes nothing:

    state                          commands
    --------------------------     ---------------------------------------------------------------------------
    always                         EHLO HELO RSET NOOP HELP VRFY QUIT
    after EHLO, no transaction     STARTTLS (in clear, where there is a certificate), AUTH (once)
    after EHLO or HELO             MAIL (logged in, where that is asked for)
    after MAIL                     RCPT
    after RCPT                     RCPT, DATA, BDAT
    between BDAT and BDAT LAST     BDAT

EHLO, HELO and RSET end a transaction; a message that was taken or refused ends it too. At most one event waits for its
answer; until then no command is looked at, so that replies are in order whatever is pipelined (RFC 2920).
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import Factory, define

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.listener import commands
from netsvc.services.smtp_client.listener.commands import MAX_AUTH_LINE, MAX_COMMAND, CommandError
from netsvc.services.smtp_client.listener.envelope import Transaction
from netsvc.services.smtp_client.listener.events import End, Event, Message, Room, StartTls, Terms
from netsvc.services.smtp_client.listener.incoming import Chunked, Dotted
from netsvc.services.smtp_client.listener.octets import BareLineEndError, LineReader, LongLineError
from netsvc.services.smtp_client.listener.replies import final_code, lines, reply
from netsvc.services.smtp_client.listener.sasl import Exchange
from netsvc.services.smtp_client.listener.standing import Standing

MAX_ERRORS = 20  # commands in a conversation that could not be obeyed
MAX_IDLE_COMMANDS = 200  # commands in a row that bring no message nearer
MAX_LOGINS = 3  # failed ones in a conversation, RFC 4954 4 leaves the number to us


@define(eq=False)
class _State:
    """What goes on just now; STARTTLS ends it."""

    idle: int = 0
    sasl: Exchange | None = None
    transaction: Transaction | None = None
    incoming: Dotted | Chunked | None = None
    out: list[bytes] = Factory(list)


class Conversation:
    """One connection.

    :param secure: it is under TLS from the first octet.
    :param near: the peer is on this machine, so that nobody listens on the way.
    """

    def __init__(self, terms: Terms, *, secure: bool, near: bool) -> None:
        self._terms = terms
        self._lines = LineReader()
        self._peer = Standing(terms=terms, near=near, secure=secure)
        self._state = _State()
        self._waiting = False
        self._draining = False
        self.closed: End | None = None
        if terms.login or near:
            self._say(220, "", f"{terms.host} ESMTP netsvc")
        else:
            self._end(554, "5.7.1", f"{terms.host} takes mail of its own machine only")

    # What the protocol asks

    @property
    def user(self) -> str | None:
        """Who has logged in."""
        return self._peer.user

    @property
    def held(self) -> int:
        """Octets of the message that is arriving, in memory."""
        state = self._state
        arriving = state.incoming.held if state.incoming is not None else 0
        return arriving + (state.transaction.held if state.transaction is not None else 0)

    @property
    def in_message(self) -> bool:
        """Whether octets of a message are expected."""
        return self._state.incoming is not None

    @property
    def unread(self) -> int:
        """Octets that nobody has looked at."""
        return len(self._lines)

    def output(self) -> bytes:
        """What is to be sent; it is given once."""
        out, self._state.out = self._state.out, []
        return b"".join(out)

    def receive(self, data: bytes) -> None:
        """Take what arrived."""
        if not self.closed:
            self._lines.feed(data)

    def next(self) -> Event | None:
        """Go on until something must be done outside, or no whole command is left."""
        while not self._waiting:
            if self.closed:
                self._waiting = True
                return self.closed
            state = self._state
            if self._draining and state.transaction is None:
                self._end(421, "4.3.2", f"{self._terms.host} shuts down")
                continue
            if not self._lines and state.incoming is None:
                return None
            before = len(self._lines), self.in_message  # the chunk of BDAT 0 ends with no octet read
            event = self._read_message() if self.in_message else self._read_line()
            if event is not None:
                self._waiting = True
                return event
            if (len(self._lines), self.in_message) == before and not self.closed:
                return None
        return None

    # Answers to events

    def logged_in(self, user: str) -> None:
        """The password is right."""
        self._waiting = False
        self._peer.user = user
        self._say(235, "2.7.0", "logged in")

    def login_refused(self, code: int, status: str, text: str) -> None:
        """It is not, or cannot be checked now."""
        self._waiting = False
        self._peer.logins += 1
        self._say(code, status, text)
        if self._peer.logins >= MAX_LOGINS:
            self._end(421, "4.7.0", "too many attempts")

    def go_ahead(self) -> None:
        """There is memory for the message."""
        self._waiting = False
        if isinstance(self._state.incoming, Dotted):
            self._say(354, "", "end with CRLF . CRLF")

    def no_room(self) -> None:
        """There is none for what has come of the message: drop it."""
        state = self._state
        if state.incoming is not None:
            state.incoming.drop()
        if state.transaction is not None:
            state.transaction.drop(Refusal("4.3.1", "too many messages arrive at the same time; try again later"))

    def taken(self, queue_id: str, *, repeated: bool = False, suppressed: Collection[str] = ()) -> None:
        """The message is safely kept.

        :param suppressed: recipients who will not get it.
        """
        self._waiting = False
        self._state.idle = 0
        more = (", as before" if repeated else "") + (f", but not for {', '.join(suppressed)}" if suppressed else "")
        self._finish(250, "2.0.0", f"kept as {queue_id}{more}")

    def refused(self, refusal: Refusal) -> None:
        """The message is not kept."""
        self._waiting = False
        self._finish(final_code(refusal.code), refusal.code, refusal.text)

    def secured(self) -> None:
        """TLS stands: all that was said before counts for nothing (RFC 3207 4.2)."""
        self._waiting = False
        self._lines.take()
        self._peer = self._peer.under_tls()
        self._state = _State(out=self._state.out)

    # What may happen at any time

    def shut_down(self) -> None:
        """End the conversation when no transaction is open, or as soon as none is."""
        self._draining = True

    def time_out(self) -> None:
        """The peer took too long."""
        self._waiting = False
        self._end(421, "4.4.2", "it took too long")

    # Lines

    def _read_line(self) -> Event | None:
        state = self._state
        try:
            line = self._lines.line(MAX_AUTH_LINE)
        except BareLineEndError:
            self._end(554, "5.5.2", "a line ends with CR LF; there was one of them alone")
            return None
        except LongLineError:
            self._end(500, "5.5.2", "the line is too long")
            return None
        if line is None:
            return None
        try:
            if state.sasl is not None:
                return self._go_on_with_sasl(state.sasl, line)
            return self._obey(line)
        except CommandError as error:
            state.sasl = None
            self._fail(error)
            return None

    def _obey(self, line: bytes) -> Event | None:
        verb, arguments = commands.split(line)
        if commands.is_foreign(verb, line):
            self._end(554, "5.5.1", "this is SMTP")
            return None
        if len(line) + 2 > MAX_COMMAND and verb != "AUTH":
            raise CommandError(500, "5.5.2", "the line is too long")
        state = self._state
        if verb not in ("MAIL", "RCPT", "DATA", "BDAT", "QUIT"):
            state.idle += 1
            if state.idle > MAX_IDLE_COMMANDS:
                self._end(421, "4.7.0", "so many commands and no message")
                return None
        if state.transaction is not None and state.transaction.chunked and verb in ("MAIL", "RCPT", "DATA"):
            raise CommandError(503, "5.5.1", "BDAT goes on with BDAT")
        if verb in ("DATA", "RSET", "QUIT", "STARTTLS") and arguments:
            raise CommandError(501, "5.5.4", f"{verb} stands alone")
        match verb:
            case "EHLO" | "HELO":
                self._greet(verb, commands.helo(arguments))
            case "MAIL":
                self._mail(arguments)
            case "RCPT":
                self._rcpt(arguments)
            case "DATA":
                self._check_ready()
                state.incoming = Dotted(self._transaction, self._terms.max_message)
                return Room(self._transaction.size)
            case "BDAT":
                return self._bdat(arguments)
            case "RSET":
                state.transaction = None
                self._say(250, "2.0.0", "nothing is kept")
            case "NOOP":
                self._say(250, "2.0.0", "so be it")
            case "VRFY":
                self._say(252, "2.5.0", "send it, and see")
            case "HELP":
                self._say(214, "2.0.0", "see RFC 5321 and RFC 6409")
            case "QUIT":
                self._end(221, "2.0.0", "good bye")
            case "STARTTLS":
                return self._starttls()
            case "AUTH":
                return self._auth(arguments)
            case _:
                raise CommandError(502 if verb in ("EXPN", "TURN", "ETRN") else 500, "5.5.1", "not a command here")
        return None

    def _greet(self, verb: str, name: str) -> None:
        peer, state = self._peer, self._state
        peer.greeting, peer.helo, state.transaction = verb, name, None
        offers = peer.offers() if verb == "EHLO" else []
        state.out.append(lines(250, [self._terms.host, *offers]))

    def _starttls(self) -> Event | None:
        self._peer.check_starttls(in_transaction=self._state.transaction is not None)
        self._lines.take()  # what came in clear behind it is not what comes under TLS, RFC 3207 4.2
        self._say(220, "2.0.0", "begin TLS")
        return StartTls()

    # AUTH

    def _auth(self, arguments: bytes) -> Event | None:
        state = self._state
        self._peer.check_auth(in_transaction=state.transaction is not None)
        name, _, initial = arguments.partition(b" ")
        state.sasl = Exchange(name.decode("ascii", "replace").upper())
        if initial:
            return self._go_on_with_sasl(state.sasl, initial.lstrip(b" "))
        state.out.append(reply(334, "", state.sasl.challenge))
        return None

    def _go_on_with_sasl(self, sasl: Exchange, line: bytes) -> Event | None:
        found = sasl.step(line)
        if found is True:
            self._state.out.append(reply(334, "", sasl.challenge))
            return None
        self._state.sasl = None
        if not found:
            self.login_refused(535, "5.7.8", "this is nobody")
            return None
        return found

    # Transactions

    @property
    def _transaction(self) -> Transaction:
        found = self._state.transaction
        if found is None:
            raise CommandError(503, "5.5.1", "MAIL comes first")
        return found

    def _mail(self, arguments: bytes) -> None:
        state, peer, largest = self._state, self._peer, self._terms.max_message
        peer.check_mail(in_transaction=state.transaction is not None)
        found = commands.mail(arguments, largest=largest, secure=peer.secure)
        meta = {"protocol": peer.protocol(smtputf8=found.smtputf8), "helo": peer.helo}
        state.transaction = Transaction(found, meta=meta, largest=largest)
        self._say(250, "2.1.0", "sender taken")

    def _rcpt(self, arguments: bytes) -> None:
        transaction = self._transaction
        if transaction.attempts >= self._terms.max_recipients:
            raise CommandError(452, "4.5.3", f"no more than {self._terms.max_recipients} recipients")
        transaction.attempts += 1
        transaction.add(commands.rcpt(arguments, smtputf8=transaction.mail.smtputf8, host=self._terms.host))
        self._say(250, "2.1.5", "recipient taken")

    def _check_ready(self) -> None:
        if not self._transaction.recipients:
            raise CommandError(554, "5.5.1", "there is no recipient")

    def _bdat(self, arguments: bytes) -> Event | None:
        state = self._state
        try:
            found = commands.chunk(arguments)
        except CommandError as error:
            self._end(error.code, error.status, error.text)  # where its octets end, nobody knows
            return None
        try:
            self._check_ready()
        except CommandError as error:
            state.incoming = Chunked(found, None, error)
            return None
        transaction = self._transaction
        state.incoming = Chunked(found, transaction)
        is_first, transaction.chunked = not transaction.chunked, True
        known = found.octets if found.is_last else transaction.size
        return Room(known) if is_first else None

    # Messages

    def _read_message(self) -> Event | None:
        state, incoming = self._state, self._state.incoming
        assert incoming is not None  # noqa: S101 - in_message
        try:
            if not incoming.read(self._lines):
                return None
        except BareLineEndError:
            self._end(554, "5.5.2", "something like an end of the message is none: a line ends with CR LF")
            return None
        state.incoming = None
        if isinstance(incoming, Chunked):
            if incoming.fault is not None:
                state.transaction = None
                self._fail(incoming.fault)
                return None
            if not incoming.is_last:
                self._say(250, "2.0.0", f"{incoming.octets} octets received")
                return None
        return self._hand_over(self._transaction)

    def _hand_over(self, transaction: Transaction) -> Event | None:
        try:
            content = transaction.content()
        except Refusal as refusal:
            self.refused(refusal)
            return None
        return Message(
            sender=transaction.mail.sender,
            recipients=tuple(transaction.recipients),
            meta=transaction.all_meta(),
            content=content,
        )

    # Replies

    def _finish(self, code: int, status: str, text: str) -> None:
        self._state.transaction = None
        if code >= 400:
            self._fail(CommandError(code, status, text))
        else:
            self._say(code, status, text)

    def _fail(self, error: CommandError) -> None:
        self._say(error.code, error.status, error.text)
        self._peer.errors += 1
        if self._peer.errors >= MAX_ERRORS:
            self._end(421, "4.7.0", "too many errors")

    def _say(self, code: int, status: str, text: str) -> None:
        self._state.out.append(reply(code, status, text))

    def _end(self, code: int, status: str, text: str) -> None:
        self._say(code, status, text)
        self._state.transaction = self._state.incoming = None
        self.closed = End(said_all=not self._lines.take() and code == 221)
