"""URLs of files, taken apart. No I/O."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from attrs import evolve, field, frozen

from netsvc.cli.files.errors import UsageError

SCHEMES = {"netsvc": None, "http": 80, "https": 443, "sftp": None}  # the port when none is given; ssh knows its own


@frozen
class Location:
    """One file or directory of a peer.

    :param host: a name or an address, without brackets.
    :param port: None where the scheme's program knows it.
    :param user: who signs in; "" is nobody in particular.
    :param password: never shown.
    :param path: as it stands in the URL, with its query for http; it begins with a slash.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    user: str = ""
    password: str | None = field(default=None, repr=False)

    @property
    def decoded(self) -> str:
        """The path as the peer's file system has it.

        :raises UsageError: it is not UTF-8.
        """
        try:
            return unquote(self.path, errors="strict")
        except UnicodeDecodeError:
            raise UsageError(f"{self}: the path is not UTF-8") from None

    @property
    def name(self) -> str:
        """The last part of the path, decoded; "" for a directory."""
        return unquote(self.path.partition("?")[0].rpartition("/")[2])

    @property
    def authority(self) -> str:
        """Host and port as a URL and a Host field have them; a port that goes without saying is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (None, SCHEMES[self.scheme]) else f"{host}:{self.port}"

    def beneath(self, name: str) -> Location:
        """A file in this directory; the name is already as a URL has it."""
        return evolve(self, path=self.path + name)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{self.authority}{self.path}"


def parse_location(url: str) -> Location:
    """Read a URL.

    :raises UsageError: it is none of a file.
    """
    scheme = url.partition(":")[0].lower()
    try:
        parts = urlsplit(url, allow_fragments=False)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{scheme}://...: {str(error).lower()}") from None
    if parts.scheme not in SCHEMES:
        known = f"begins with none of {', '.join(f'{one}://' for one in SCHEMES)}"
        raise UsageError(f"{'the URL' if '@' in url else repr(url)} {known}")
    shown = f"{parts.scheme}://{host}"
    if not host or host.startswith("-"):
        raise UsageError(f"{shown} has no host")
    if not url.isprintable() or " " in url:
        raise UsageError(f"{shown}: a URL has no blanks and no control characters; write %20 for a blank")
    if not url.isascii() and parts.scheme in ("http", "https"):
        raise UsageError(f"{shown}: an address on the web has only ASCII; write the rest as %XX of its UTF-8")
    if parts.scheme == "netsvc" and port is None:
        raise UsageError(f"{shown} needs a port, such as netsvc://{host}:5566/")
    web = parts.scheme in ("http", "https")
    if not web and parts.query:
        raise UsageError(f"{shown}: only http and https have a query; write %3F for a question mark")
    return Location(
        scheme=parts.scheme,
        host=host,
        port=SCHEMES[parts.scheme] if port is None else port,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        user=unquote(parts.username or ""),
        password=None if parts.password is None else unquote(parts.password),
    )
