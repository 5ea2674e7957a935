"""Who sends: the user, the full name and the domain of addresses that have none. Asks no DNS, which may be slow."""

from __future__ import annotations

import binascii
import contextlib
import os
import pwd
import re
import socket
from collections.abc import Mapping

MAILNAME = "/etc/mailname"  # Debian Policy 11.6: the domain of mail from this machine
WORD_OCTETS = 42  # of UTF-8 in one encoded word: 56 of base64 and 12 around it stay under the 75 of RFC 2047 2
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")  # a display name that needs no quotes, RFC 5322 3.2.3


def origin(mailname: str = MAILNAME) -> str:
    """The domain that bare names get: of /etc/mailname, else the machine's name."""
    try:
        with open(mailname, encoding="ascii") as file:
            named = file.readline(256).strip()
    except (OSError, ValueError):
        named = ""
    for one in (named, socket.gethostname()):
        if _DOMAIN.fullmatch(one):
            return one
    return "localhost"


def user(environ: Mapping[str, str], uid: int | None = None) -> tuple[str, str]:
    """Who runs this: (login name, full name). $LOGNAME counts when it is a name of the same uid; $NAME always."""
    uid = os.getuid() if uid is None else uid
    login, gecos = str(uid), ""
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(uid)
        login, gecos = entry.pw_name, entry.pw_gecos
    with contextlib.suppress(KeyError, ValueError):  # ValueError: a NUL in the name
        entry = pwd.getpwnam(environ.get("LOGNAME", ""))
        if entry.pw_uid == uid:
            login, gecos = entry.pw_name, entry.pw_gecos
    # An ampersand stands for the login name, passwd(5) of the BSDs; sendmail knows it as well.
    return login, environ.get("NAME") or gecos.partition(",")[0].replace("&", login.capitalize())


def mailbox(name: str, address: str) -> bytes:
    """The value of a From field, RFC 5322 3.4; a name outside ASCII becomes encoded words (RFC 2047 5)."""
    name = " ".join("".join(one if one.isprintable() else " " for one in name).split())
    spec = address.encode("utf-8", "surrogateescape")
    if not name:
        return spec
    if not name.isascii() or "=?" in name:
        shown = "\n ".join(_words(name))
    elif _ATOMS.fullmatch(name):
        shown = name
    else:
        shown = '"' + re.sub(r'([\\"])', r"\\\1", name) + '"'
    return shown.encode() + b" <" + spec + b">"


def _words(text: str) -> list[str]:
    chunks, chunk = [], b""
    for one in text:
        octets = one.encode()
        if len(chunk) + len(octets) > WORD_OCTETS:
            chunks.append(chunk)
            chunk = b""
        chunk += octets
    chunks.append(chunk)
    return [f"=?utf-8?b?{binascii.b2a_base64(one, newline=False).decode()}?=" for one in chunks]
