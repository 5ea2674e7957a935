"""The options of the http kind. Imports no Twisted."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.config.scopes import Prefix, Scope, scope_sections
from netsvc.config.server import DAY, HOUR, ServerSettings
from netsvc.errors import BadValue
from netsvc.services.http.access_log.settings import AccessLogSettings
from netsvc.services.http.http2.settings import Http2Settings
from netsvc.services.http.site.settings import NEEDS_USERS, ScopeSettings
from netsvc.services.http.upload.settings import USER, is_guarded


def server_header() -> ValueType[str]:
    """Visible ASCII of at most 128 characters, or ``none``, which is the empty text."""

    def parse(text: str, _: Context) -> str:
        if text == "none":
            return ""
        if not (text and text.isascii() and text.isprintable() and len(text) <= 128):
            raise BadValue(f"{text!r} is not visible ASCII of at most 128 characters")
        return text

    return ValueType(name="text", bounds="none, or visible ASCII", parse=parse, show=lambda value: value or "none")


@frozen(kw_only=True)
class HttpSettings(ScopeSettings, AccessLogSettings, Http2Settings, ServerSettings):
    """How long and how large requests may be, and what is kept in memory."""

    scopes: tuple[Scope, ...] = scope_sections(ScopeSettings)
    cache: int = option(
        values.size(0, 1 << 34),
        default=16 << 20,
        help="Memory for small files; each use checks that the file is the same.",
    )
    cache_file: int = option(
        values.size(0, 16 << 20), default=64 << 10, help="The largest file that is kept in memory."
    )
    server: str = option(server_header(), default="netsvc", help="The Server field of answers; 'none' leaves it out.")
    head_timeout: float = option(
        values.duration(0.1, HOUR), default=15.0, help="Time for the whole head of a request, from its first octet."
    )
    keepalive_timeout: float = option(
        values.duration(0, DAY),
        default=60.0,
        help="Time that an idle connection is kept for the next request; 0 is none.",
    )
    body_timeout: float = option(
        values.duration(0.1, DAY), default=20.0, help="Time until a request's body must have reached body_rate."
    )
    body_rate: int = option(
        values.size(0, 1 << 30), default=500, help="The lowest rate of a request's body, in octets a second; 0 is any."
    )
    send_timeout: float = option(
        values.duration(0.1, DAY), default=60.0, help="Time within which a peer must take some of an answer it is owed."
    )
    send_rate: int = option(
        values.size(0, 1 << 30),
        default=100,
        help="The lowest rate at which a peer may take an answer, in octets a second over a send_timeout; 0 is any.",
    )
    max_target: int = option(values.size(256, 1 << 16), default=8192, help="The longest request target; longer is 414.")
    max_head: int = option(values.size(1024, 1 << 20), default=32768, help="The longest header section; longer is 431.")
    max_headers: int = option(values.integer(8, 10_000), default=100, help="The most header fields; more is 431.")
    max_body: int = option(
        values.size(0, 1 << 50),
        default=1 << 30,
        help="The longest request body; longer is 413. Resumable uploads bring longer files in parts. See also "
        "cgi_max_body and max_file_size.",
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What cannot stand together in the section itself: (key, message)."""
        yield from self._upload_faults(self)
        if USER in self.docroot.parts and self.auth_file is None:
            yield "docroot", NEEDS_USERS

    def _upload_faults(self, settings: ScopeSettings) -> Iterator[tuple[str, str]]:
        if settings.upload and not is_guarded(settings, self.listen):
            yield "upload", "anybody could fill the disk: set an auth_file, or say upload_anonymous = yes"
        if settings.upload and settings.docroot.name in settings.cgi_directories:
            yield "upload", "its docroot is a CGI directory: whoever sent a file there would have it run"

    def check_scopes(self) -> Iterator[tuple[Prefix, str, str]]:
        """Names of hosts that two scopes claim, and uploads by anybody: (prefix of a scope, key, message)."""
        for scope in self.scopes:
            if not {"upload", "auth_file", "upload_anonymous", "docroot"}.isdisjoint(scope.given):
                for key, message in self._upload_faults(scope.settings):
                    yield scope.prefix, key, message
        claimed = dict.fromkeys(self.names, "the section itself")
        named = [one for one in self.scopes if one.prefix.host and not one.prefix.names]
        for scope in named:
            host = scope.prefix.host
            if host in claimed:
                yield scope.prefix, "names", f"{host} is a name of {claimed[host]} already"
            claimed[host] = f"//{host}"
        for scope in named:
            for name in scope.settings.names if "names" in scope.given else ():
                if claimed.setdefault(name, str(scope.prefix)) != str(scope.prefix):
                    yield scope.prefix, "names", f"{name} is a name of {claimed[name]} already"
