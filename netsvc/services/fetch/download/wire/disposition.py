"""The file name in a Content-Disposition field, RFC 6266, with names in other characters by RFC 8187. No I/O.

    disposition = type *( ";" parameter ), parameter = token "=" ( token / quoted-string )
    ext-value   = charset "'" [ language ] "'" *( percent-encoded / attr-char )

What comes out is what the peer says, without its directories (4.3): whether it is a name that may be used is for the
store to say.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(r""";\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*""", re.ASCII)
_TYPE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*", re.ASCII)
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'((?:%[0-9A-Fa-f]{2}|[!#$&+.^_`|~0-9A-Za-z-])*)", re.IGNORECASE)


def disposed_name(value: str | None) -> str | None:
    """The last component of the file name; None when the field is missing, malformed or names none.

    :param value: the field, octets above 127 as Latin-1; in quotes they are read as UTF-8 when they are that.
    """
    start = _TYPE.match(value) if value else None
    if value is None or start is None:
        return None
    plain = extended = None
    at = start.end()
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None:
            return None
        at = found.end()
        name = found[1].lower()
        if name == "filename*" and extended is None:
            extended = _extended(found[2] if found[2] is not None else found[3])
        elif name == "filename" and plain is None:
            plain = found[3] if found[2] is None else _as_utf_8(re.sub(r"\\(.)", r"\1", found[2]))
    chosen = extended or plain
    return re.split(r"[/\\]", chosen)[-1] or None if chosen else None


def _extended(value: str) -> str | None:
    found = _EXTENDED.fullmatch(value)
    if found is None:
        return None
    try:
        return unquote_to_bytes(found[2]).decode(found[1])
    except UnicodeDecodeError:
        return None


def _as_utf_8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
