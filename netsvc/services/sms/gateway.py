"""A gateway: how a message becomes a request of it. No I/O."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from attrs import field, frozen

from netsvc.config.secrets import Secret
from netsvc.errors import BadValue, together
from netsvc.services.sms.reply import Rules
from netsvc.services.sms.template import Template, Values, parse_template

Encoding = Literal["form", "json", "query"]
Auth = Literal["none", "basic", "bearer"]

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token, RFC 9110 5.6.2
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "authorization"})


@frozen
class Entry:
    """A parameter or header.

    :param optional: left out when its value is empty.
    """

    name: str
    value: Template
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name}{'?' if self.optional else ''} = {self.value}"


def parse_entries(text: str, *, headers: bool = False) -> tuple[Entry, ...]:
    """Understand lines of ``NAME = TEMPLATE``; ``NAME? = TEMPLATE`` is left out where it comes out empty.

    :raises BadValue: with everything that is wrong.
    """
    found: dict[str, Entry] = {}
    wrong: list[BadValue] = []
    at = 0
    for line in text.split("\n"):
        if line.strip():
            try:
                entry = _entry(line, headers)
                if entry.name in found:
                    raise BadValue(f"{entry.name} stands twice")
                found[entry.name] = entry
            except BadValue as bad:
                wrong.append(BadValue(bad.message, at=at + bad.at, suggestion=bad.suggestion))
        at += len(line) + 1
    if wrong:
        raise together(wrong)
    return tuple(found.values())


def _entry(line: str, headers: bool) -> Entry:
    name, equals, source = line.partition("=")
    if not equals or not name.strip():
        raise BadValue("a line is NAME = TEMPLATE")
    bare = name.strip().removesuffix("?")
    if headers and (not _HEADER.fullmatch(bare) or bare.lower() in _OURS):
        raise BadValue(f"{bare!r} is no header that can be set here")
    start = len(name) + 1 + len(source) - len(source.lstrip())
    try:
        value = parse_template(source.strip())
    except BadValue as bad:
        raise BadValue(bad.message, at=start + bad.at, suggestion=bad.suggestion) from None
    return Entry(bare, value, optional=name.strip().endswith("?"))


@frozen
class Request:
    """One HTTP request. Neither URL nor body is shown: both may hold numbers, texts and passwords."""

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class Gateway:
    """A gateway, as it is configured.

    :param method: ``POST`` or ``GET``.
    :param idempotent: whether it knows a message again that comes twice, by its {id}.
    """

    url: Template
    method: str
    encoding: Encoding
    parameters: tuple[Entry, ...]
    rules: Rules
    headers: tuple[Entry, ...] = ()
    auth: Auth = "none"
    idempotent: bool = False

    def names(self) -> frozenset[str]:
        """The fields that any of its templates uses, and what its authentication needs."""
        return frozenset(self._names())

    def _names(self) -> Iterator[str]:
        yield from self.url.names()
        for one in (*self.parameters, *self.headers):
            yield from one.value.names()
        yield from {"none": (), "basic": ("account", "password"), "bearer": ("password",)}[self.auth]

    def request(self, values: Values) -> Request:
        """The request that hands a message over.

        :raises UnsendableError: a value cannot stand where it is wanted.
        """
        pairs = [(one.name, one.value.render(values)) for one in self.parameters if not _left_out(one, values)]
        headers = [(one.name, one.value.render(values)) for one in self.headers if not _left_out(one, values)]
        url = Template("", tuple(self._quoted(values))).render(values)
        body = b""
        if self.encoding == "query":
            url += ("&" if "?" in url else "?") + urlencode(pairs)
        elif self.encoding == "form":
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
            body = urlencode(pairs).encode()
        else:
            headers.append(("Content-Type", "application/json"))
            body = json.dumps(dict(pairs), ensure_ascii=False).encode()
        password = _revealed(values.password)
        if self.auth == "basic":  # RFC 7617
            pair = base64.b64encode(f"{values.account}:{password}".encode()).decode()
            headers.append(("Authorization", f"Basic {pair}"))
        elif self.auth == "bearer":  # RFC 6750 2.1
            headers.append(("Authorization", f"Bearer {password}"))
        for name, value in headers:
            if not value.isascii() or not value.isprintable():
                raise UnsendableError(f"the header {name} would have a character that no header may have")
        return Request(self.method, url, tuple(headers), body)

    def _quoted(self, values: Values) -> Iterator[str]:
        """The parts of the URL; what stands for a field may hold no delimiter."""
        for one in self.url.parts:
            yield one if isinstance(one, str) else quote(Template("", (one,)).render(values), safe="")

    def host(self) -> str:
        """The host of the URL, whose fields stand behind it."""
        return urlsplit(self.url.source).hostname or ""


class UnsendableError(ValueError):
    """A message cannot be put into a request of this gateway. Its words do not repeat it."""


def _revealed(secret: Secret | None) -> str:
    return secret.reveal() if secret else ""


def _left_out(one: Entry, values: Values) -> bool:
    return one.optional and not one.value.render(values)


def check_url(url: Template) -> str | None:
    """What is wrong with a gateway's URL, or None."""
    literal = url.parts[0] if url.parts and isinstance(url.parts[0], str) else ""
    try:
        parsed = urlsplit(literal)
        good = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
    except ValueError:
        good = False
    if not good or not literal.isascii() or not literal.isprintable() or " " in url.source:
        return "a URL begins with https:// or http:// and a host"
    if len(url.parts) > 1 and "/" not in literal.partition("://")[2]:
        return "fields may stand in the path of the URL only"
    if parsed.username is not None or parsed.fragment:
        return "a URL here has neither a user name nor a fragment"
    return None
