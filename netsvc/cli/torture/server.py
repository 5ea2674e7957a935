"""A small mail server that does everything right (RFC 5321). The faults are subclasses that do one thing wrong."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Callable
from typing import NoReturn, Protocol

from netsvc.cli.torture.peer import Over, Peer, flaws
from netsvc.cli.torture.terms import Way

USERNAME = "torture"

_PATH = re.compile(r"(?i)(?:FROM|TO):<([^>]*)>")


class Scene(Protocol):
    """What a server sees of the play: one for all connections of a fault."""

    way: Way
    password: str

    def first(self, what: str) -> bool:
        """Whether this is said for the first time."""

    def taken(self, content: bytes, recipients: tuple[str, ...], problems: list[str]) -> None:
        """Custody of a message was taken."""

    def flaw(self, text: str) -> None:
        """The client did what it must not do."""

    def context(self, kind: str) -> ssl.SSLContext:
        """The server's side of TLS with a certificate: good, stranger, other-name or expired."""


class Server:
    """One connection to the adversary.

    :cvar bad: how many of the first connections go wrong.
    :cvar opening: the port from the start on: ``open``, or ``refused`` or ``swallowed`` until the first attempt failed.
    :cvar receive_buffer: octets of the kernel's buffer; 0 is the kernel's own choice.
    :cvar capabilities: what EHLO offers besides STARTTLS and AUTH.
    :ivar faulty: this connection goes wrong.
    """

    bad = 1
    opening = "open"
    receive_buffer = 0
    capabilities: tuple[str, ...] = (
        *("PIPELINING", "SIZE 67108864", "8BITMIME", "SMTPUTF8"),
        *("ENHANCEDSTATUSCODES", "CHUNKING", "DSN"),
    )
    mechanisms = "PLAIN LOGIN"

    def __init__(self, peer: Peer, scene: Scene, visit: int) -> None:
        self.peer = peer
        self.scene = scene
        self.visit = visit
        self.faulty = visit < self.bad
        self._authenticated = False
        self._eight_bit = False
        self.sender: str | None = None
        self.recipients: list[str] = []
        self._chunks: list[bytes] | None = None
        self._verbs: dict[bytes, Callable[[str], None]] = {
            b"EHLO": self.ehlo,
            b"HELO": self.helo,
            b"STARTTLS": self.starttls,
            b"AUTH": self.auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"RSET": self.rset,
            b"QUIT": self.quit,
        }

    # What faults use.

    def say(self, *lines: str) -> None:
        """Send lines of a reply."""
        self.peer.send("".join(f"{line}\r\n" for line in lines).encode())

    def end(self, *lines: str) -> NoReturn:
        """Send a reply and close."""
        self.say(*lines)
        raise Over

    def offers(self) -> list[str]:
        """The lines behind the first of the reply to EHLO."""
        offered = list(self.capabilities)
        if self.scene.way.tls != "none" and not self.peer.encrypted:
            offered.append("STARTTLS")
        if self.scene.way.login and (self.peer.encrypted or not self.scene.way.secret):
            offered.append(f"AUTH {self.mechanisms}")
        return offered

    def keep(self, content: bytes) -> None:
        """Take custody."""
        self.scene.taken(content, tuple(self.recipients), flaws(content, self._eight_bit))

    # The play.

    def run(self) -> None:
        """Serve until the connection ends."""
        if self.scene.way.implicit:
            self.handshake()
        self.greet()
        while True:
            verb, _, argument = self.peer.line().partition(b" ")
            act = self._verbs.get(verb.upper())
            if act is None:
                self.say("500 5.5.1 unknown")
            else:
                act(argument.decode("utf-8", "replace"))

    def handshake(self) -> None:
        """Begin TLS."""
        self.peer.encrypt(self.scene.context("good"))

    def greet(self) -> None:
        self.say("220 torture.example ESMTP")

    def ehlo(self, _: str) -> None:
        lines = ["torture.example", *self.offers()]
        self.say(*(f"250-{one}" for one in lines[:-1]), f"250 {lines[-1]}")

    def helo(self, _: str) -> None:
        self.say("250 torture.example")

    def starttls(self, _: str) -> None:
        self.say("220 2.0.0 go ahead")
        self.handshake()

    def auth(self, argument: str) -> None:
        self.guard("a password")
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "PLAIN":
            said = self._decoded(initial) if initial else self._ask("")
            good = said.split("\0")[1:] == [USERNAME, self.scene.password]
        else:
            good = [self._ask("Username:"), self._ask("Password:")] == [USERNAME, self.scene.password]
        if not good:
            self.scene.flaw("a wrong user name or password came")
        self._authenticated = good
        self.say("235 2.7.0 welcome" if good else "535 5.7.8 wrong")

    def mail(self, sender: str) -> str:
        """The reply to MAIL."""
        return f"250 2.1.0 {sender or '<>'} ok"

    def rcpt(self, address: str) -> str:
        """The reply to RCPT."""
        return f"250 2.1.5 {address} ok"

    def data(self) -> str:
        """The reply to DATA."""
        return "354 go ahead" if self.recipients else "503 5.5.1 no recipients"

    def body(self) -> None:
        """Take the message in and answer its dot."""
        self.dot(self.peer.message())

    def dot(self, content: bytes) -> None:
        """The message is here, whole."""
        self.keep(content)
        self.say("250 2.0.0 taken")

    def rset(self, _: str) -> None:
        self.forget()
        self.say("250 2.0.0 forgotten")

    def quit(self, _: str) -> None:
        self.end("221 2.0.0 bye")

    def forget(self) -> None:
        """End the transaction."""
        self.sender, self.recipients, self._chunks = None, [], None

    def guard(self, what: str) -> None:
        """Note it if something comes in clear that must not."""
        if self.scene.way.secret and not self.peer.encrypted:
            self.scene.flaw(f"{what} came in clear, though TLS is required")

    def _mail(self, argument: str) -> None:
        self.guard("MAIL")
        if self.scene.way.login and not self._authenticated:
            self.scene.flaw("MAIL came without a login")
        self._eight_bit = "BODY=8BITMIME" in argument.upper().split()
        reply = self.mail(_path(argument))
        if reply.startswith("2"):
            self.sender, self.recipients = _path(argument), []
        self.say(reply)

    def _rcpt(self, argument: str) -> None:
        address = _path(argument)
        reply = "503 5.5.1 MAIL first" if self.sender is None else self.rcpt(address)
        if reply.startswith("2"):
            self.recipients.append(address)
        self.say(reply)

    def _data(self, _: str) -> None:
        reply = self.data() if self._chunks is None else "503 5.5.1 BDAT goes on with BDAT"
        self.say(reply)
        if reply.startswith("354"):
            self.body()
            self.forget()

    def _bdat(self, argument: str) -> None:
        """A chunk (RFC 3030 2): what would refuse DATA refuses the first, and the last stands for the dot."""
        size, _, last = argument.partition(" ")
        if not size.isdecimal():
            self.end("501 5.5.4 how many octets?")
        chunk = self.peer.octets(int(size))
        if self._chunks is None:
            reply = self.data()
            if not reply.startswith("354"):
                self.forget()
                self.say(reply)
                return
            self._chunks = []
        self._chunks.append(chunk)
        if last.upper() != "LAST":
            self.say(f"250 2.0.0 {size} octets")
            return
        self.dot(b"".join(self._chunks))
        self.forget()

    def _ask(self, question: str) -> str:
        self.say(f"334 {base64.b64encode(question.encode()).decode()}")
        return self._decoded(self.peer.line().decode("ascii", "replace"))

    def _decoded(self, text: str) -> str:
        try:
            return base64.b64decode(text, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            self.scene.flaw("a login that is not base64 came")
            return ""


def _path(argument: str) -> str:
    match = _PATH.match(argument)
    return match[1] if match else ""
