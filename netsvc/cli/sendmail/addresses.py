"""Finds the addresses in a header field or an argument, RFC 5322 3.4 with the obsolete forms of 4.4. No I/O.

Names, comments and groups are left out; one pass, so that the time grows with the text.
"""

from __future__ import annotations

import re
from itertools import pairwise

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<angle><(?:[^<>"]|"(?:[^"\\]|\\.)*")*>)"""
    r"""|(?P<literal>\[[^\[\]]*\])|(?P<special>[,;:@.])|(?P<atom>[^ \t\r\n"()<>\[\],;:@.]+)""",
    re.S,
)
_ROUTE = re.compile(r"(?:@[^,:<>]*,)*@[^,:<>]*:")  # RFC 5322 4.4: accepted and not used
_COMMENT_PART = re.compile(r"[^()\\]+|\\.|[()]", re.S)
_GLUE = frozenset("@.")


class AddressError(Exception):
    """The text holds no address where one should be."""


def addresses(text: str) -> tuple[str, ...]:
    """The addresses of a list, in order; ``<>`` is an empty one.

    :raises AddressError: the text is not a list of addresses.
    """
    found: list[str] = []
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            at = _behind_comment(text, at)
            tokens.append(("blank", " "))
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise AddressError(f"a quote, bracket or parenthesis has no other half in {_shown(text)}")
        at, token = match.end(), (str(match.lastgroup), match[0])
        if match[0] in (",", ";"):
            found += _one(tokens, text)
            tokens = []
        elif match[0] == ":":  # the name of a group ends
            tokens = []
        else:
            tokens.append(token)
    return (*found, *_one(tokens, text))


def _behind_comment(text: str, at: int) -> int:
    depth = 0
    for match in _COMMENT_PART.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    raise AddressError(f"a parenthesis has no other half in {_shown(text)}")


def _one(tokens: list[tuple[str, str]], text: str) -> list[str]:
    """The address in the tokens between two commas; an empty place in a list is nothing (RFC 5322 4.4)."""
    angles = [token for kind, token in tokens if kind == "angle"]
    if len(angles) > 1:
        raise AddressError(f"a comma is missing in {_shown(text)}")
    if angles:
        inner = _ROUTE.sub("", angles[0][1:-1].strip(), count=1) if angles[0].startswith("<@") else angles[0][1:-1]
        return ["".join(inner.split()) if '"' not in inner else inner.strip()]
    words = [(kind, token) for kind, token in tokens if kind != "blank"]
    for (_, before), (_, after) in pairwise(words):
        if before not in _GLUE and after not in _GLUE:
            raise AddressError(f"a comma is missing in {_shown(text)}")
    return ["".join(token for _, token in words)] if words else []


def is_qualified(address: str) -> bool:
    """Whether it has a domain; an @ in a quoted local part is none."""
    return "@" in address and not address.endswith('"')


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:80] + "...")
