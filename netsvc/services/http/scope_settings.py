"""The options that every scope of an http service has: [http] itself, a host, a place below it. Imports no Twisted."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.errors import BadValue
from netsvc.services.http.auth_settings import AuthSettings
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.mount_settings import MountSettings
from netsvc.services.http.static_settings import StaticSettings


def index_name(text: str) -> str:
    """One segment of a path: the name of a file."""
    if "/" in text or "\0" in text or text in (".", ".."):
        raise BadValue(f"{text!r} is not the name of a file, such as index.html")
    return text


@frozen(kw_only=True, slots=False)
class ScopeSettings(StaticSettings, AuthSettings, MountSettings, CgiSettings):
    """What is served."""

    docroot: Path = option(values.path(), help="The directory whose files are served.")
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
