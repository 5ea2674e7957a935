"""One HTTP exchange after the other: http.client, with what it leaves out.

Redirects (bounded, never from https to http, and the password stays with its host), names and passwords from the URL or
~/.netrc, an end of TLS that was cut (it is an error), and answers as errors of ours. Proxies are not used.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import netrc
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from attrs import evolve

import netsvc
from netsvc.cli.files.errors import NotAllowedError, NotThereError, TransferError, UsageError
from netsvc.cli.files.locations import Location, parse_location
from netsvc.cli.files.meter import Stop
from netsvc.cli.files.ways import Wishes

MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LARGEST_ERROR = 4096  # octets read of an answer that is an error
_PLAIN = 200  # characters of it that are told


class _Tls(http.client.HTTPSConnection):
    """As its base, but an end of the connection without TLS's own is an error: it was cut."""

    def __init__(self, host: str, port: int, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._own_context = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        try:
            self.sock = self._own_context.wrap_socket(self.sock, server_hostname=self.host, suppress_ragged_eofs=False)
        except ssl.SSLCertVerificationError as error:
            raise TransferError(f"the server's certificate is not accepted: {error.verify_message}") from None
        except ssl.SSLError as error:
            known = (error.reason or "it was cut").replace("_", " ").lower()
            raise TransferError("the server speaks no TLS" if "wrong version" in known else f"TLS: {known}") from None


def _authorization(location: Location) -> dict[str, str]:
    user, password = location.user, location.password
    if password is None:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            found = netrc.netrc().authenticators(location.host)
            if found and (not user or user == found[0]):
                user, password = found[0], found[2]
    if not user:
        return {}
    both = f"{user}:{password or ''}".encode()
    return {"Authorization": f"Basic {b64encode(both).decode('ascii')}"}


def _connection(location: Location, wishes: Wishes) -> http.client.HTTPConnection:
    assert location.port is not None  # noqa: S101 - http and https have one
    if location.scheme == "http":
        return http.client.HTTPConnection(location.host, location.port, timeout=wishes.timeout)
    return _Tls(location.host, location.port, wishes.timeout, ssl.create_default_context(cafile=wishes.cafile))


@contextmanager
def asked(
    method: str,
    location: Location,
    wishes: Wishes,
    *,
    headers: Mapping[str, str] | None = None,
    body: Iterable[bytes] | None = None,
    stop: Stop | None = None,
) -> Iterator[tuple[Location, http.client.HTTPResponse]]:
    """Ask, and follow redirects: (where the answer came from, the answer). A body is sent once, without redirects.

    :raises TransferError: there is no answer that can be understood.
    """
    where = location
    for _ in range(MAX_REDIRECTS + 1):
        connection = _connection(where, wishes)
        same = (where.scheme, where.host, where.port) == (location.scheme, location.host, location.port)
        fields = {
            "Host": where.authority,
            "User-Agent": f"netsvc/{netsvc.__version__}",
            "Accept-Encoding": "identity",
            **(_authorization(where) if same else {}),
            **(headers or {}),
        }
        with contextlib.closing(connection), (stop or Stop()).cutting(lambda one=connection: _cut(one)):  # type: ignore[misc]
            try:
                answer = _exchange(connection, method, where, fields, body)
            except (http.client.HTTPException, ValueError) as error:
                raise TransferError(f"the server's answer is no HTTP ({type(error).__name__})") from None
            if answer.status not in _REDIRECTS or body is not None or not answer.headers["Location"]:
                with contextlib.closing(answer):
                    yield where, answer
                return
            where = _redirected(where, str(answer.headers["Location"]))
    raise TransferError(f"more than {MAX_REDIRECTS} redirects")


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    where: Location,
    fields: Mapping[str, str],
    body: Iterable[bytes] | None,
) -> http.client.HTTPResponse:
    connection.putrequest(method, where.path, skip_host=True, skip_accept_encoding=True)
    for name, value in fields.items():
        connection.putheader(name, value)
    connection.endheaders()
    early = _Early(connection.sock)
    try:
        for block in body or ():
            if early.has_come():  # it will not have the rest
                break
            connection.send(block)
    except ConnectionError:
        # The server has refused the body, and said so before it closed: perhaps that can be read still.
        with contextlib.suppress(OSError, http.client.HTTPException):
            return early.answer(method)
        raise
    return early.answer(method)


class _Early:
    """An answer that may come while the body of the request is sent.

    That the socket is readable would say too little: over TLS that may be a ticket. So it is read, and kept.
    """

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._reader = peer.makefile("rb")

    def has_come(self) -> bool:
        """Whether some of it is here. Does not wait."""
        patience = self._peer.gettimeout()
        self._peer.settimeout(0)
        try:
            return bool(self._reader.peek(1))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            self._peer.settimeout(patience)

    def answer(self, method: str) -> http.client.HTTPResponse:
        """Wait for its head."""
        found = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type] # it asks for makefile only
        found.begin()
        return found

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002
        """What http.client wants of a socket."""
        return self._reader


def _cut(connection: http.client.HTTPConnection) -> None:
    held: socket.socket | None = connection.sock
    if held is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(held, socket.SHUT_RDWR)


def _redirected(where: Location, to: str) -> Location:
    base = f"{where.scheme}://{where.authority}{where.path}"
    try:
        found = parse_location(urljoin(base, urlsplit(to)._replace(fragment="").geturl()))
    except (UsageError, ValueError):
        raise TransferError("redirected to what is no URL of a file") from None
    if found.scheme not in ("http", "https") or (where.scheme == "https" and found.scheme == "http"):
        raise TransferError(f"redirected to {found.scheme}, which is not followed")
    return evolve(found, user=where.user, password=where.password) if found.host == where.host else found


def expect(answer: http.client.HTTPResponse, *statuses: int) -> None:
    """Make sure of an answer's status.

    :raises TransferError: it is another; the text has the server's reason.
    """
    if answer.status in statuses:
        return
    text, said = f"{answer.status} {answer.reason}".strip(), ""
    if answer.headers.get_content_type() in ("text/plain", "application/problem+json"):
        with contextlib.suppress(OSError, http.client.HTTPException):
            said = " ".join(answer.read(_LARGEST_ERROR).decode("utf-8", "replace").split())[:_PLAIN]
    if not said and answer.status == http.client.UNAUTHORIZED:
        said = "the name or the password is missing or wrong"
    text += f": {said}" if said else ""
    if answer.status in (404, 410):
        raise NotThereError(text)
    if answer.status in (401, 403, 405, 407):
        raise NotAllowedError(text)
    raise TransferError(text)
