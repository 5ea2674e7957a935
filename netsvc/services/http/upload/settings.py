"""The options of uploads, which every scope of an http service has. Imports no Twisted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from netsvc.config import values
from netsvc.config.listen import TcpAddress, UnixAddress
from netsvc.config.options import option
from netsvc.errors import BadValue
from netsvc.filestore.access import Access
from netsvc.filestore.settings import StoreSettings
from netsvc.filestore.terms import Terms
from netsvc.services.http.auth.settings import user_name
from netsvc.services.http.site.values import lines

USER = "%u"  # a name of a docroot that stands for whoever signed in


def access_rule(line: str) -> tuple[str, Access]:
    """``alice read-only``: (a user's name or ``*``, what he may do)."""
    user, _, word = line.rpartition(" ")
    user = user.strip()
    try:
        access = Access(word)
    except ValueError:
        raise BadValue(f"{word!r} is not one of {', '.join(one.value for one in Access)}") from None
    return user_name(user) or "*", access


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class UploadSettings(StoreSettings):
    """Who may send files, and how much."""

    upload: bool = option(
        values.boolean(),
        default=False,
        help="Take files into the docroot: PUT, tus, the IETF's resumable uploads, forms. It needs an auth_file, or "
        "upload_anonymous, or listeners that only this machine reaches. See also max_body, the limit of one request.",
    )
    upload_anonymous: bool = option(
        values.boolean(), default=False, help="Take files from anybody who reaches the listener, without a password."
    )
    upload_delete: bool = option(values.boolean(), default=False, help="Let DELETE remove files and empty directories.")
    upload_directories: bool = option(values.boolean(), default=False, help="Let MKCOL make directories.")
    upload_access: tuple[tuple[str, Access], ...] = option(
        lines(access_rule, lambda one: f"{one[0]} {one[1].value}", "USER ACCESS, one a line"),
        default=(("*", Access.FULL),),
        help="What users may do: full, read-only or upload-only (new names, and nothing else); * is every other user.",
    )
    upload_unfinished: int = option(
        values.integer(1, 100_000),
        default=1000,
        help="Resumable uploads (tus, the IETF's draft) that one user may have unfinished beneath one root. "
        "Where nobody signs in, one address (an IPv6 /64), and all together ten times as many.",
    )

    def terms(self, access: Access = Access.FULL, follow: str = "inside") -> Terms:
        """As StoreSettings."""
        return evolve(super().terms(access, follow), unfinished=self.upload_unfinished)


def access_of(settings: Any, user: str) -> Access:
    """What a user may do, by UploadSettings; "" is whoever was not asked. Nobody's rule means read-only."""
    rules: tuple[tuple[str, Access], ...] = settings.upload_access
    for name, access in rules:
        if name == user and user:
            return access
    return next((access for name, access in rules if name == "*"), Access.READ_ONLY)


def is_guarded(settings: Any, listen: Iterable[object]) -> bool:
    """Whether not just anybody can send files to a place: by its options, or since only this machine reaches it.

    A listener that takes PROXY headers is reached from elsewhere, wherever it stands.

    :param settings: a ScopeSettings.
    :param listen: the addresses of its section.
    """
    if settings.auth_file is not None or settings.upload_anonymous:
        return True
    return all(
        isinstance(one, TcpAddress | UnixAddress)
        and not one.haproxy
        and (isinstance(one, UnixAddress) or _is_here(one.interface))
        for one in listen
    )


def _is_here(interface: str) -> bool:
    try:
        return ipaddress.ip_address(interface).is_loopback
    except ValueError:
        return interface == "localhost"
