"""Reads where mail may go: ``maildir:PATH``, ``mx``, or smarthosts in their order. No I/O, no Twisted.

    place     = "mx" / "maildir:" PATH / 1*( smarthost [ "login=" NAME ] )
    smarthost = ( "smtp:" / "smtps:" ) HOST [ ":" PORT ]

Words are separated by space or line ends; the path of a Maildir goes to the end of its line.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from attrs import evolve, frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.values import nearest
from netsvc.errors import BadValue, together
from netsvc.services.smtp_client.domains import a_labels

SMTP_PORT = 25  # RFC 5321 4.5.4.2
SUBMISSIONS_PORT = 465  # TLS from the first octet, RFC 8314 7.3
MAX_SMARTHOSTS = 16  # of one route, ours: a message must not spend its day connecting

HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
LOGIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAILDIR = "maildir:"
_SCHEMES = (MAILDIR, "smtp:", "smtps:", "mx")


@frozen
class ToMaildir:
    """A Maildir; a relative path starts at the state directory."""

    path: Path

    def __str__(self) -> str:
        return f"{MAILDIR}{self.path}"


@frozen
class ToMX:
    """The hosts that the DNS names for the recipient's domain, RFC 5321 5.1."""

    def __str__(self) -> str:
        return "mx"


@frozen
class Smarthost:
    """One server that takes mail for everywhere.

    :param host: a name in A-labels, or an address without brackets.
    :param implicit: TLS from the first octet (``smtps:``).
    :param login: the name of the credentials to log in with; None: the section's own, if it has any.
    """

    host: str
    port: int
    implicit: bool = False
    login: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = f" login={self.login}" if self.login else ""
        return f"{'smtps' if self.implicit else 'smtp'}:{host}:{self.port}{login}"


@frozen
class ToSmarthosts:
    """Smarthosts: the next is tried when one cannot be reached or takes no mail at all."""

    hosts: tuple[Smarthost, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.hosts))


Place = ToMaildir | ToMX | ToSmarthosts


def host_name(text: str) -> str:
    """A host as it is used: an address without brackets, or a name in A-labels.

    :raises ValueError: it is neither.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    name = a_labels(text)
    if not HOST_NAME.fullmatch(name) or len(name) > 253:  # RFC 1035 2.3.4
        raise ValueError(f"{text!r} is neither a host name nor an address")
    return name


def _smarthost(word: str, at: int) -> Smarthost:
    scheme, _, rest = word.partition(":")
    at += len(scheme) + 1
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::([0-9]{1,5}))?", rest)
    if match is None:
        raise BadValue(f"{rest!r} is not HOST or HOST:PORT; an IPv6 address stands in brackets", at=at)
    host, port = match.groups()
    number = int(port) if port else (SUBMISSIONS_PORT if scheme == "smtps" else SMTP_PORT)
    if not 1 <= number <= 65535:
        raise BadValue(f"{number} is not a port", at=at + match.start(2))
    try:
        return Smarthost(host_name(host), number, scheme == "smtps")
    except ValueError:
        raise BadValue(f"{host!r} is neither a host name nor an address", at=at) from None


def _maildir(text: str, at: int) -> ToMaildir:
    path = text.removeprefix(MAILDIR).strip()
    if not path or "\0" in path or "\n" in path:
        wrong = "a Maildir stands alone" if "\n" in path else "the path of the Maildir is missing"
        raise BadValue(wrong, at=at + len(MAILDIR))
    return ToMaildir(Path(path))


def _smarthosts(text: str, at: int) -> ToSmarthosts:
    hosts: list[Smarthost] = []
    wrong: list[BadValue] = []
    for match in re.finditer(r"\S+", text):
        word, place = match[0], at + match.start()
        try:
            if word.startswith("login="):
                name = word.removeprefix("login=")
                if not hosts or hosts[-1].login is not None:
                    raise BadValue("login=NAME follows the smarthost that it is for", at=place)
                if not LOGIN.fullmatch(name):
                    raise BadValue(f"{name!r} is not a name of letters, digits, '.', '_' and '-'", at=place + 6)
                hosts[-1] = evolve(hosts[-1], login=name)
            elif word.startswith(("smtp:", "smtps:")):
                hosts.append(_smarthost(word, place))
            elif word == "mx" or word.startswith(MAILDIR):
                raise BadValue(f"{word.partition(':')[0]} stands alone, without other places", at=place)
            else:
                scheme, _, rest = word.partition(":")
                meant = nearest(f"{scheme}:" if rest else scheme, _SCHEMES)
                raise BadValue(
                    f"{word!r} is none of mx, maildir:PATH, smtp:HOST:PORT and smtps:HOST:PORT",
                    at=place,
                    suggestion=f"{meant}{rest}" if meant and (rest or meant == "mx") else None,
                )
        except BadValue as bad:
            wrong.append(bad)
    if len(hosts) > MAX_SMARTHOSTS:
        wrong.append(BadValue(f"{len(hosts)} smarthosts are more than {MAX_SMARTHOSTS}", at=at))
    if wrong:
        raise together(wrong)
    if not hosts:
        raise BadValue("the place is missing: mx, maildir:PATH, smtp:HOST:PORT or smtps:HOST:PORT", at=at)
    return ToSmarthosts(tuple(hosts))


def place(text: str, at: int = 0) -> Place:
    """Read one place.

    :param at: where the text starts in the value that is read, for the position of errors.
    :raises BadValue: all that is wrong with it.
    """
    if text == "mx":
        return ToMX()
    if text.startswith(MAILDIR):
        return _maildir(text, at)
    return _smarthosts(text, at)


def a_place() -> ValueType[Place]:
    """Where mail goes, as an option: see the head of this module."""

    def parse(text: str, _: Context) -> Place:
        return place(text)

    return ValueType(
        name="place",
        bounds="mx, maildir:PATH, or any number of smtp:HOST[:PORT] and smtps:HOST[:PORT], each with login=NAME or not",
        parse=parse,
        multiline=True,
    )
