"""The templates of requests: a small strict language, read once when the configuration is. No I/O.

    template = *( literal / "{{" / "}}" / field )
    field    = "{" NAME *( ":" ARGUMENT ) "}"

    {text} {number} {digits} {national} {sender} {account} {password} {signing_key} {id}
    {time} {time:PATTERN}              unix, unix_ms, or strftime with the usual letters
    {random} {random:N}                N hexadecimal digits
    {md5:T} {sha1:T} {sha256:T}        digests of another template, hexadecimal
    {hmac_sha256:KEY:T}                KEY is password or signing_key
    {base64:T} {hex_utf16:T}
    {alphabet:T:T}                     the first for GSM 7-bit, the second for UCS-2
    {receipt_url} {receipts:T}         where receipts come, and T where they do; else nothing
    {message_id}                       in a question about a message: the gateway's name for it

{number} has its plus, {digits} has not, {national} has no country code either. {id} is the same at every attempt at one
number. Time and random are the same wherever they stand in one request, so that a digest can cover them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from datetime import datetime

from attrs import field, frozen

from netsvc.config.secrets import Secret
from netsvc.config.values import nearest
from netsvc.errors import BadValue

MAX_RANDOM = 64  # hexadecimal digits
USUAL_RANDOM = 16  # 64 bits
MAX_DEPTH = 8  # of fields in fields; digests of digests end earlier

_NAME = re.compile(r"[a-z0-9_]+")
_PATTERN = re.compile(r"(?:[^%]|%[YymdHMSfjzZaAbBepITF%])*")
_PLAIN = (
    *("text", "number", "digits", "national", "sender", "account", "password", "signing_key", "id"),
    *("receipt_url", "message_id"),
)
_DIGESTS: dict[str, Callable[[bytes], str]] = {
    "md5": lambda octets: hashlib.md5(octets).hexdigest(),  # noqa: S324 - the gateways' choice
    "sha1": lambda octets: hashlib.sha1(octets).hexdigest(),  # noqa: S324 - as above
    "sha256": lambda octets: hashlib.sha256(octets).hexdigest(),
    "base64": lambda octets: base64.b64encode(octets).decode(),
    "hex_utf16": lambda octets: octets.decode().encode("utf-16-be").hex(),
}
_KEYS = ("password", "signing_key")
_NAMES = (*_PLAIN, "time", "random", *_DIGESTS, "hmac_sha256", "alphabet", "receipts")


@frozen(kw_only=True)
class Values:
    """What the fields of one request stand for.

    :param number: E.164 with its plus.
    :param national: without the country code; the digits when it is of another country.
    :param time: aware.
    :param random: MAX_RANDOM hexadecimal digits.
    :param gsm7: whether the text is sent in GSM 7-bit.
    :param receipt_url: where the gateway tells what became of it, with the token; None: nowhere.
    :param message_id: the gateway's name for it, when it is asked for.
    """

    text: str = field(repr=False)
    number: str = field(repr=False)
    national: str = field(repr=False)
    id: str
    time: datetime
    random: str = field(repr=False)
    gsm7: bool
    sender: str = ""
    account: str = ""
    password: Secret | None = None
    signing_key: Secret | None = None
    receipt_url: Secret | None = None
    message_id: str = ""

    def plain(self, name: str) -> str:
        """The value of a field without arguments."""
        if name == "digits":
            return self.number.removeprefix("+")
        value = getattr(self, name)
        if value is None:
            return ""
        return value.reveal() if isinstance(value, Secret) else str(value)


@frozen
class Field:
    """A field: its name, a word (a pattern, a key, a number of digits), and the templates inside."""

    name: str
    word: str = ""
    inside: tuple[Template, ...] = ()


@frozen
class Template:
    """A template that was understood.

    :param source: its text.
    """

    source: str
    parts: tuple[str | Field, ...] = field(repr=False, eq=False)

    def __str__(self) -> str:
        return self.source

    def render(self, values: Values) -> str:
        """The text that it stands for."""
        return "".join(one if isinstance(one, str) else _render(one, values) for one in self.parts)

    def names(self) -> frozenset[str]:
        """The names of all fields, and of the keys of digests."""
        return frozenset(self._names())

    def _names(self) -> Iterator[str]:
        for one in self.parts:
            if isinstance(one, Field):
                yield one.name
                if one.word in _KEYS:
                    yield one.word
                for inside in one.inside:
                    yield from inside.names()


def _render(one: Field, values: Values) -> str:
    if one.name == "time":
        return _time(values.time, one.word)
    if one.name == "random":
        return values.random[: int(one.word)]
    if one.name == "alphabet":
        return one.inside[0 if values.gsm7 else 1].render(values)
    if one.name == "receipts":
        return one.inside[0].render(values) if values.receipt_url else ""
    if one.name == "hmac_sha256":
        octets = one.inside[0].render(values).encode()
        return hmac.new(values.plain(one.word).encode(), octets, hashlib.sha256).hexdigest()
    if one.name in _DIGESTS:
        return _DIGESTS[one.name](one.inside[0].render(values).encode())
    return values.plain(one.name)


def _time(time: datetime, pattern: str) -> str:
    if pattern == "unix":
        return str(int(time.timestamp()))
    if pattern == "unix_ms":
        return str(int(time.timestamp() * 1000))
    return time.strftime(pattern)


def parse_template(text: str) -> Template:
    """Understand a template.

    :raises BadValue: it is none; `at` is the offset of what is wrong.
    """
    reader = _Reader(text)
    return reader.template("", 0)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def template(self, ends: str, depth: int) -> Template:
        """Read up to one of the characters of `ends`, which stays; up to the end of the text when there are none."""
        start = self._at
        parts: list[str | Field] = []
        literal = ""
        while self._at < len(self._text):
            two, one = self._text[self._at : self._at + 2], self._text[self._at]
            # Inside a field braces close fields: "}}" ends two of them, so a doubled brace is for the outside only.
            if not depth and two in ("{{", "}}"):
                literal += one
                self._at += 2
            elif one in ends:
                break
            elif one == "{":
                if literal:
                    parts.append(literal)
                    literal = ""
                parts.append(self._field(depth + 1))
            elif one == "}":
                raise BadValue("this brace closes nothing; a brace itself is written twice", at=self._at)
            else:
                literal += one
                self._at += 1
        if literal:
            parts.append(literal)
        return Template(self._text[start : self._at], tuple(parts))

    def _field(self, depth: int) -> Field:
        opened = self._at
        if depth > MAX_DEPTH:
            raise BadValue(f"fields stand in fields more than {MAX_DEPTH} deep", at=opened)
        match = _NAME.match(self._text, opened + 1)
        if match is None:
            raise BadValue("a field's name is missing behind this brace; a brace itself is written twice", at=opened)
        name = match[0]
        if name not in _NAMES:
            raise BadValue(
                f"there is no field {{{name}}}; there are {', '.join(_NAMES)}",
                at=match.start(),
                suggestion=nearest(name, _NAMES),
            )
        self._at = match.end()
        found = self._arguments(name, opened, depth)
        if self._next() != "}":
            if self._at >= len(self._text):
                raise BadValue(f"the field {{{name}}} is not closed", at=opened)
            raise BadValue(f"{{{name}}} ends with a brace here", at=self._at)
        self._at += 1
        return found

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _arguments(self, name: str, opened: int, depth: int) -> Field:
        if name in _PLAIN:
            return Field(name)
        if name == "time":
            return Field(name, self._pattern() if self._next() == ":" else "unix")
        if name == "random":
            return Field(name, self._digits() if self._next() == ":" else str(USUAL_RANDOM))
        word = ""
        if name == "hmac_sha256":
            self._colon(name, opened)
            start = self._at
            word = self._until(":}")
            if word not in _KEYS:
                raise BadValue(f"the key of {{{name}}} is {' or '.join(_KEYS)}", at=start)
        self._colon(name, opened)
        if name != "alphabet":
            return Field(name, word, (self.template("}", depth),))
        first = self.template(":}", depth)
        self._colon(name, opened)
        return Field(name, word, (first, self.template("}", depth)))

    def _colon(self, name: str, opened: int) -> None:
        if self._next() != ":":
            raise BadValue(f"{{{name}}} needs more: a colon and what it is of", at=opened)
        self._at += 1

    def _until(self, ends: str) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ends:
            self._at += 1
        return self._text[start : self._at]

    def _pattern(self) -> str:
        self._at += 1
        start = self._at
        pattern = self._until("{}")
        if pattern not in ("unix", "unix_ms") and ("%" not in pattern or not _PATTERN.fullmatch(pattern)):
            raise BadValue(f"{pattern!r} is neither unix, unix_ms nor a pattern such as %Y%m%d%H%M%S", at=start)
        return pattern

    def _digits(self) -> str:
        self._at += 1
        start = self._at
        digits = self._until("}")
        if not re.fullmatch("[0-9]{1,2}", digits) or not 1 <= int(digits) <= MAX_RANDOM:
            raise BadValue(f"{{random}} has 1 to {MAX_RANDOM} digits", at=start)
        return digits
