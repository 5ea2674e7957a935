"""The options of authentication, which every scope of an http service has. Imports no Twisted."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import cast

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.config.values import Network, Rate
from netsvc.errors import BadValue

LONGEST_REALM = 128


def realm() -> ValueType[str]:
    """Visible ASCII and spaces: what every browser shows alike."""

    def parse(text: str, _: Context) -> str:
        if not (text and text.isascii() and text.isprintable() and len(text) <= LONGEST_REALM):
            raise BadValue(f"{text!r} is not visible ASCII of at most {LONGEST_REALM} characters")
        return text

    return ValueType(name="text", bounds=f"visible ASCII, at most {LONGEST_REALM} characters", parse=parse)


def user_name(text: str) -> str:
    """A user's name, in Unicode's form NFC; RFC 7617 2 allows neither a colon nor control characters."""
    if ":" in text or not text.isprintable():
        raise BadValue(f"{text!r} is not a user's name: it has a colon or a control character")
    return unicodedata.normalize("NFC", text)


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class AuthSettings:
    """Who may see what."""

    auth_file: Path | None = option(
        values.optional(cast("ValueType[Path]", values.path())),
        default=None,
        help="Ask for a user and password of this htpasswd file (bcrypt, argon2id; see 'netsvc htpasswd'), or 'none'. "
        "Without TLS passwords travel in the clear: use a tls: listener, and https = redirect.",
    )
    auth_realm: str = option(realm(), default="Restricted", help="What browsers say the password is for.")
    auth_users: tuple[str, ...] = option(
        values.items(user_name, name="names", bounds="names of users; none of them is any"),
        default=(),
        help="Only these users of the auth_file are let in.",
    )
    auth_exempt: tuple[Network, ...] = option(
        values.networks(), default=(), help="Peers from these networks are not asked, such as 127.0.0.0/8 and ::1."
    )
    auth_failures: Rate | None = option(
        values.rate(),
        default=Rate(20, 60.0),
        help="How often one source may fail (an IPv4 address, an IPv6 /64); then it gets 429 for a while.",
    )
