"""The terms of a torture: how the adversary is reached, a fault, its messages and what must become of them. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrs import field, frozen

if TYPE_CHECKING:
    from netsvc.cli.torture.server import Server

SENDER = "sender@torture.example"
MARK = b"X-Netsvc-Torture"  # the header field that tells which message it is, whatever became of its body
TEXT = b"A line, and then\r\n.\r\n..two lines with dots.\r\n"


@frozen
class Way:
    """How mail goes to the adversary, as far as the configuration decides it.

    :param tls: the option ``tls``: none, may, require or verify.
    :param implicit: TLS from the first octet.
    :param login: with user name and password.
    """

    tls: str = "none"
    implicit: bool = False
    login: bool = False

    @property
    def secret(self) -> bool:
        """Whether nothing may go in clear."""
        return self.implicit or self.tls in ("require", "verify")

    def __str__(self) -> str:
        how = "TLS from the first octet" if self.implicit else "plain SMTP" if self.tls == "none" else "STARTTLS"
        policy = f" ({self.tls})" if self.tls != "none" else ""
        return f"{how}{policy}{' with login' if self.login else ''}"


def as_given(way: Way) -> Way:
    """The user's own way."""
    return way


def in_clear(_: Way) -> Way:
    """No TLS and no login: the fault cannot be played with them."""
    return Way()


def encrypted(way: Way) -> Way:
    """With TLS that is verified, in the user's form of it."""
    return Way("verify", way.implicit, way.login)


def by_starttls(way: Way) -> Way:
    """With STARTTLS that is verified."""
    return Way("verify", implicit=False, login=way.login)


def logged_in(way: Way) -> Way:
    """With a login, encrypted as given."""
    return Way(way.tls, way.implicit, login=True)


def logged_in_by_starttls(_: Way) -> Way:
    """With STARTTLS that is verified, and a login."""
    return Way("verify", implicit=False, login=True)


@frozen
class Message:
    """A message to hand in.

    :param ends: recipient -> the results of its attempts in the ledger, the first and the last exactly, those between
        in any number: ``retry delivered``; ``*`` is any. ``refused`` alone: the message is not even taken in.
    :param body: with any line ends.
    :param fields: header fields above the usual ones, whole lines with CRLF.
    """

    ends: dict[str, str] = field(factory=lambda: {"one@torture.example": "retry delivered"})
    body: bytes = TEXT
    fields: bytes = b""
    sender: str = SENDER

    @property
    def refused(self) -> bool:
        """Whether it must not be taken in."""
        return set(self.ends.values()) == {"refused"}

    def content(self, mark: str) -> bytes:
        """The octets to hand in."""
        head = (
            b"%sFrom: Torture <%s>\r\nTo: undisclosed recipients:;\r\nSubject: torture %s\r\n%s: %s\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        ) % (self.fields, SENDER.encode(), mark.encode(), MARK, mark.encode())
        return head + self.body


@frozen
class Fault:
    """One way in which a server may misbehave, and what may come of it.

    :param number: of the catalogue.
    :param name: a few words.
    :param does: a sentence: what the adversary does.
    :param server: plays it.
    :param messages: what is handed in while it is played.
    :param doubles: whether a second copy is allowed, each one recorded as an attempt of unknown result.
    :param way: makes the way that the fault needs of the user's own.
    """

    number: int
    name: str
    does: str
    server: type[Server]
    messages: tuple[Message, ...]
    doubles: bool
    way: Callable[[Way], Way]


Played = TypeVar("Played", bound="type[Server]")
CATALOGUE: dict[int, Fault] = {}


def fault(
    number: int,
    name: str,
    *messages: Message,
    doubles: bool = False,
    way: Callable[[Way], Way] = as_given,
) -> Callable[[Played], Played]:
    """Put a server into the catalogue; its docstring says what it does."""

    def enter(server: Played) -> Played:
        does = " ".join((server.__doc__ or "").split())
        CATALOGUE[number] = Fault(number, name, does, server, messages or (Message(),), doubles, way)
        return server

    return enter
