"""URLs of downloads, RFC 3986 and RFC 9110 4.2: http and https only, in the form that goes into a request. No I/O."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit

import idna
from attrs import field, frozen

from netsvc.printable import printable

PORTS = {"http": 80, "https": 443}
MAX_URL = 1 << 14  # octets, ours; RFC 9110 4.1 asks for 8000 at least

_SENT = re.compile(rb"[^!$%&'()*+,./0-9:;=?@A-Z_a-z~-]")
_HOST = re.compile(r"[0-9a-z_.-]{1,255}|\[[0-9a-f:.]+\]")


class UrlError(ValueError):
    """It is no URL that can be downloaded from. Its text is one line for people and holds nothing of the URL."""


@frozen
class Url:
    """Where a file is.

    :param scheme: http or https.
    :param host: in ASCII and lower case, an IPv6 address without its brackets.
    :param target: path and query as the request names them.
    :param credentials: the value of an Authorization field that user:password in the URL makes, or None.
    """

    scheme: str
    host: str
    port: int
    target: str
    credentials: str | None = field(default=None, repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: whom credentials belong to, RFC 6454."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """As a Host field has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """As a log may have it: without user and password."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def name(self) -> str:
        """The last component of the path, decoded; empty when there is none, and as it stands when it is no UTF-8."""
        last = self.target.partition("?")[0].rpartition("/")[2]
        try:
            return unquote(last, errors="strict")
        except UnicodeDecodeError:
            return last

    def redirected(self, location: str) -> Url:
        """Where a Location field leads. Credentials go along within the origin only.

        :param location: octets above 127 as Latin-1.
        :raises UrlError: nowhere.
        """
        found = parse_url(urljoin(str(self), _escaped(location.encode("latin-1", "replace"))))
        if found.credentials is None and found.origin == self.origin:
            return Url(*found.origin, found.target, self.credentials)
        return found


def parse_url(text: str) -> Url:
    """Understand a URL. A fragment is dropped; characters that may not stand in a request are escaped.

    :raises UrlError: it is none of http or https, or its host is none.
    """
    if len(text) > MAX_URL:
        raise UrlError(f"the URL is longer than {MAX_URL} characters")
    try:
        parts = urlsplit(text.strip())
        scheme, given, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        raise UrlError("the URL is malformed") from None
    if scheme not in PORTS:
        raise UrlError("the URL is not one of http:// or https://")
    host = _host(given)
    target = _escaped((parts.path or "/").encode())
    if parts.query:
        target += "?" + _escaped(parts.query.encode())
    credentials = None
    if parts.username is not None:
        pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        credentials = "Basic " + base64.b64encode(pair).decode("ascii")
    return Url(scheme, host, PORTS[scheme] if port is None else port, target, credentials)


def clean_url(text: str) -> str:
    """A URL for a log, whatever it is: without user and password, and printable."""
    try:
        return str(parse_url(text))
    except UrlError:
        return printable(re.sub(r"//[^/?#]*@", "//", text[:200]))


def _host(host: str) -> str:
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise UrlError("the host of the URL is no name") from None
    if not _HOST.fullmatch(f"[{host}]" if ":" in host else host) or "\\" in host:
        raise UrlError("the host of the URL is no name")
    return host


def _escaped(octets: bytes) -> str:
    return _SENT.sub(lambda found: b"%%%02X" % found[0][0], octets).decode("ascii")
