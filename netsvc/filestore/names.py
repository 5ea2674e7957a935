"""Which names files may have. No I/O.

A name is refused if it could leave its directory, hide, deceive an eye or a terminal, or be no name elsewhere: valid
UTF-8 in NFC; no NUL, controls, slash, backslash or bidirectional controls; not ``.`` or ``..``; no dot and no blank at
either end; at most 255 octets. Names that are there already, put there by others, are read with fewer rules.
"""

from __future__ import annotations

import re
from unicodedata import category, normalize

from netsvc.filestore.errors import BadNameError

MAX_NAME = 255  # octets, NAME_MAX of limits.h
MAX_PATH = 4095  # octets, PATH_MAX of limits.h without its NUL

# Turn the direction of what is shown after them, so that "exe.txt" may be read where "txt.exe" stands (Unicode TR 36).
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNUSABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, octets that are no UTF-8, line separators
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?\Z", re.IGNORECASE)
_NOT_ON_WINDOWS = frozenset('<>:"|?*')


def readable(name: str) -> bool:
    """Whether a name that is there may be shown and asked for."""
    return bool(name) and not name.startswith(".") and not any(map(_deceives, name)) and "\\" not in name


def check_readable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of something that is there.

    :raises BadNameError: nothing may be asked for under them.
    """
    length = 0
    for name in names:
        _check_safe(name)
        length += len(name.encode()) + 1
    if length > MAX_PATH:
        raise BadNameError(f"the path is longer than {MAX_PATH} octets")
    return names


def check_name(name: str, *, windows: bool = False) -> str:
    """The name that a new file or directory gets: in NFC.

    :param windows: whether what Windows could not read is refused, too.
    :raises BadNameError: it may not be called so.
    """
    _check_safe(name)
    name = normalize("NFC", name)
    if len(name.encode()) > MAX_NAME:
        raise BadNameError(f"the name is longer than {MAX_NAME} octets")
    if name.endswith((".", " ")) or name.startswith(" "):
        raise BadNameError("the name begins or ends with a blank, or ends with a dot")
    if windows:
        if _DEVICES.match(name):
            raise BadNameError("the name is one of Windows' devices")
        if not _NOT_ON_WINDOWS.isdisjoint(name):
            raise BadNameError("the name has a character that Windows has not")
    return name


def parse_path(text: str) -> tuple[str, ...]:
    """The names of a path: slashes split it, dots are resolved by the text alone and never go above the root.

    :raises BadNameError: one of the names may not be asked for.
    """
    found: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if found:
                found.pop()
        elif part not in ("", "."):
            found.append(part)
    return check_readable(tuple(found))


def twin_key(name: str) -> str:
    """What two names have in common that one could be taken for the other: case and composition."""
    return normalize("NFC", normalize("NFC", name).casefold())


def _deceives(one: str) -> bool:
    return one in _TURNS or category(one) in _UNUSABLE


def _check_safe(name: str) -> None:
    if not name:
        raise BadNameError("the name is empty")
    if "/" in name or "\\" in name:
        raise BadNameError("the name has a slash or backslash")
    if name.startswith("."):
        raise BadNameError("the name begins with a dot")
    if any(map(_deceives, name)):
        raise BadNameError("the name has control characters, or is not UTF-8")
    if len(name.encode()) > MAX_NAME:
        raise BadNameError(f"the name is longer than {MAX_NAME} octets")
