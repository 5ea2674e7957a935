"""Makes a script's environment and arguments from a request (RFC 3875, section 4.1). No I/O, no Twisted.

Octets that are not text in the file system's encoding pass unchanged, as surrogates (os.fsdecode), so that the
script reads what the peer sent.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import netsvc
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.site.paths import Script

MARK = "UNIQUE_ID"
SOFTWARE = f"netsvc/{netsvc.__version__}"

# A name with "_" would collide with the same name with "-"; the rest of RFC 9110's tchar is no variable to a shell.
_FIELD_NAME = re.compile(rb"[a-z0-9-]+\Z")
# content-*: they have variables of their own. transfer-encoding: the script sees the body decoded.
# proxy: HTTP_PROXY directs the script's own HTTP client ("httpoxy", CVE-2016-5385).
_NOT_PASSED = frozenset({b"content-length", b"content-type", b"proxy", b"transfer-encoding"})
# Cookies: RFC 9113, 8.2.3. Accept: as http.server has it, whose scripts shall find what they know; RFC 9110, 5.3,
# allows either.
_SEPARATORS = {b"cookie": b"; ", b"accept": b","}
_CREDENTIALS = frozenset({b"authorization", b"proxy-authorization"})


_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # those of os.fsdecode


@lru_cache(maxsize=1024)  # the names are the peers', but most of them send the same
def _variable(name: bytes) -> str:
    """The variable of a field; "" when it is not passed."""
    if name in _NOT_PASSED or not _FIELD_NAME.match(name):
        return ""
    return "HTTP_" + name.decode().upper().replace("-", "_")


def _host_name(host: str) -> str:
    """The host of an authority, without its port; the brackets of an IPv6 literal stay (RFC 3875, 4.1.14)."""
    if host.startswith("["):
        return host.partition("]")[0] + "]" if "]" in host else host
    return host.partition(":")[0]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _server_port(host: str, local: tuple[str, int], secure: bool) -> str:
    """The port that the peer connected to; on UNIX sockets, which have none, the one it asked for."""
    if local[1]:
        return str(local[1])
    port = host.rpartition("]")[2].rpartition(":")[2]
    if port.isascii() and port.isdigit() and ":" in host.rpartition("]")[2]:
        return port
    return "443" if secure else "80"


def _request_fields(head: RequestHead, pass_authorization: bool) -> dict[str, str]:
    """HTTP_* variables (RFC 3875, 4.1.18): repeated fields become one, in order."""
    merged: dict[str, bytes] = {}
    for name, value in head.headers:
        variable = _variable(name)
        if not variable or (name in _CREDENTIALS and not pass_authorization):
            continue
        if variable in merged:
            merged[variable] += _SEPARATORS.get(name, b", ") + value
        else:
            merged[variable] = value
    return {variable: value.decode(_ENCODING, _ERRORS) for variable, value in merged.items()}


def _content_length(head: RequestHead, body_length: int | None) -> str | None:
    if body_length:
        return str(body_length)
    # An empty body is a body when the peer declared one (RFC 9112, 6.3); a GET declares none.
    declared = head.first(b"content-length") is not None or head.first(b"transfer-encoding") is not None
    return "0" if declared else None


def script_environment(
    head: RequestHead,
    *,
    peer: tuple[str, int],
    local: tuple[str, int],
    secure: bool,
    script: Script,
    body_length: int | None,
    settings: CgiSettings,
    inherited: Mapping[str, str],
    request_id: str,
    user: str = "",
) -> dict[str, str]:
    """Every variable that the script sees, and no other.

    :param peer: (host, port), ("", 0) on UNIX sockets.
    :param local: as peer.
    :param body_length: octets of the body that the script will read; None as 0.
    :param inherited: what `cgi_pass_env` chooses from.
    :param request_id: as the log has it, so that a script's own log can name the request (Apache: mod_unique_id).
    :param user: whom netsvc has authenticated, "" for nobody. Basic is the only scheme that netsvc has.
    """
    # HTTP_ACCEPT is always there, as with http.server.
    variables = {"PATH": settings.cgi_path, "HTTP_ACCEPT": ""}
    variables.update((name, inherited[name]) for name in settings.cgi_pass_env if name in inherited)
    variables.update(_request_fields(head, settings.cgi_pass_authorization))
    query = b"?" + head.query if head.query or b"?" in head.target else b""
    variables.update(
        GATEWAY_INTERFACE="CGI/1.1",
        SERVER_SOFTWARE=SOFTWARE,
        SERVER_PROTOCOL=f"HTTP/{head.version[0]}.{head.version[1]}",
        SERVER_NAME=_host_name(head.host) or _bracketed(local[0]) or "localhost",
        SERVER_ADDR=local[0],
        SERVER_PORT=_server_port(head.host, local, secure),
        REMOTE_ADDR=peer[0],
        REMOTE_PORT=str(peer[1]),
        REQUEST_METHOD=head.method,
        REQUEST_SCHEME="https" if secure else "http",
        REQUEST_URI=os.fsdecode(head.path + query),
        QUERY_STRING=os.fsdecode(head.query),
        DOCUMENT_ROOT=str(script.docroot),
        SCRIPT_NAME=script.script_name,
        SCRIPT_FILENAME=str(script.filename),
    )
    if secure:
        variables["HTTPS"] = "on"
    length = _content_length(head, body_length)
    if length is not None:
        variables["CONTENT_LENGTH"] = length
    content_type = head.first(b"content-type")
    if content_type is not None:
        variables["CONTENT_TYPE"] = os.fsdecode(content_type)
    if script.path_info:
        variables["PATH_INFO"] = script.path_info
        variables["PATH_TRANSLATED"] = str(script.docroot).rstrip("/") + script.path_info
    if user:
        variables["AUTH_TYPE"] = "Basic"
        variables["REMOTE_USER"] = user
    variables.update(settings.cgi_env)
    variables[MARK] = request_id  # by it a run's processes are found: nothing replaces it
    return variables


def script_arguments(head: RequestHead, settings: CgiSettings) -> tuple[str, ...]:
    """What stands behind the script's name on its command line: an "indexed" query's words (RFC 3875, 4.4).

    None when the option is off, the query holds a "=", the method is not GET or HEAD, a word has a NUL, or one
    begins with "-", which an interpreter would take for an option.
    """
    if not settings.cgi_query_arguments or not head.query or b"=" in head.query or head.method not in ("GET", "HEAD"):
        return ()
    words = [unquote_to_bytes(word) for word in head.query.split(b"+")]
    if any(word.startswith(b"-") or b"\0" in word for word in words):
        return ()
    return tuple(map(os.fsdecode, words))
