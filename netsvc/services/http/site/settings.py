"""The options that every scope of an http service has: [http] itself, a host, a place below it. Imports no Twisted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.scopes import Prefix
from netsvc.errors import BadValue
from netsvc.services.http.auth.settings import AuthSettings
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.mount.settings import MountSettings
from netsvc.services.http.site.redirects import Rule, redirects
from netsvc.services.http.site.values import error_page_rule, header_field, host_name, lines, site_path
from netsvc.services.http.static.settings import StaticSettings
from netsvc.services.http.upload.settings import USER, UploadSettings

NEEDS_USERS = f"{USER} stands for who signed in, and without an auth_file nobody does"


def index_name(text: str) -> str:
    """One segment of a path: the name of a file."""
    if "/" in text or "\0" in text or text in (".", ".."):
        raise BadValue(f"{text!r} is not the name of a file, such as index.html")
    return text


@frozen(kw_only=True, slots=False)
class ScopeSettings(StaticSettings, AuthSettings, MountSettings, UploadSettings, CgiSettings):
    """What is served."""

    docroot: Path = option(values.path(), help="The directory whose files are served; %u for a name in it is the user.")
    index: tuple[str, ...] = option(
        values.items(index_name, name="names", bounds="names of files"),
        default=("index.html", "index.htm"),
        help="Files that answer for their directory; the first that exists does.",
    )
    listing: bool = option(values.boolean(), default=False, help="List directories that have no index file.")
    dotfiles: bool = option(
        values.boolean(), default=False, help="Serve names that begin with a dot; /.well-known is served anyway."
    )
    follow_symlinks: str = option(
        values.choice("inside", "owner", "no", "yes"),
        default="inside",
        help="Symbolic links: 'inside' the docroot only; to what the link's 'owner' owns; 'no' link; 'yes', any.",
    )
    names: tuple[str, ...] = option(
        values.items(host_name, name="names", bounds="names of hosts, *.NAME too"),
        default=(),
        help="More names of the host that this scope is for: [http] answers to every name that nothing else claims.",
    )
    https: str = option(
        values.choice("any", "redirect"),
        default="any",
        help="'redirect' sends peers that come without TLS to the same address with https.",
    )
    https_port: int = option(values.integer(1, 65535), default=443, help="The port in those addresses.")
    redirect: tuple[Rule, ...] = option(
        redirects(),
        default=(),
        help="Old paths and where they went; a * at the end stands for the rest: /blog/* https://blog.example.org/*.",
    )
    fallback: str = option(
        site_path(),
        default="",
        help="What is sent with 200 where there is nothing: the page of a single-page site, such as /index.html.",
    )
    headers: tuple[tuple[str, str], ...] = option(
        lines(header_field, lambda one: f"{one[0]}: {one[1]}", "Name: value, one a line"),
        default=(),
        help="Header fields added to every answer here that has none of that name; what is no good request gets none.",
    )
    error_pages: tuple[tuple[str, str], ...] = option(
        lines(error_page_rule, lambda one: f"{one[0]} {one[1]}", "STATUS /PATH, one a line"),
        default=(),
        help="Pages of the site's own for errors: 404 /errors/404.html, 5xx /errors/down.html; the first that fits.",
    )

    def check_place(self, prefix: Prefix, given: Collection[str]) -> Iterator[tuple[str, str]]:
        """What cannot stand together in a scope that begins there: (key, message)."""
        if "names" in given and prefix.names:
            yield "names", "a host's names stand in the scope of its root"
        if "auth_users" in given and self.auth_file is None:
            yield "auth_users", "without an auth_file nobody is asked who he is, and everybody may come in"
        if USER in self.docroot.parts and self.auth_file is None and not {"docroot", "auth_file"}.isdisjoint(given):
            yield "docroot", NEEDS_USERS
