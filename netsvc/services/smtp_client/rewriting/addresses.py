"""Changes addresses in the value of a header field, and nothing else. Pure; reads what RFC 5322 3.4 and 4.4 allow.

    address-list = (mailbox / group) *("," (mailbox / group)); group = display-name ":" [mailbox-list] ";"
    mailbox      = [display-name] "<" [route] addr-spec ">"  /  addr-spec

Comments, display names, groups, quoting, encoded words and folding stay octet by octet. What cannot be read as an
address (two words without a bracket, a quote without its end) stays as it is: a mail client may know better. Time is
in proportion to the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from attrs import frozen

_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<literal>\[(?:[^\[\]\\]|\\.)*\])|(?P<blank>[ \t\r\n]+)"""
    r"""|(?P<special>[,:;<>@])|(?P<atom>[^ \t\r\n"()\[\],:;<>@\\]+)""",
    re.DOTALL,
)
_COMMENT_STEP = re.compile(r"[^()\\]*(?:\\.[^()\\]*)*", re.DOTALL)
_PLAIN = re.compile(r'"([A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]+)*)"')
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[^?]*\?[^?]*\?=")


@frozen
class _Token:
    kind: str  # quoted, literal, blank, comment, atom, or the special itself
    start: int
    end: int


def rewrite_addresses(value: str, rewrite: Callable[[str], str]) -> str:
    """The value with every address replaced by what `rewrite` makes of it; the same object when nothing changes.

    :param value: of an address field, as it stands in the message, folded or not.
    :param rewrite: is given ``local`` or ``local@domain`` without comments and blanks.
    """
    edits: list[tuple[int, int, str]] = []
    for words in _addr_specs(value):
        edits += _edits(value, words, rewrite)
    if not edits:
        return value
    parts, position = [], 0
    for start, end, text in edits:
        parts += [value[position:start], text]
        position = end
    return "".join((*parts, value[position:]))


def _tokens(value: str) -> Iterator[_Token]:
    """The tokens up to the first thing that is none."""
    position = 0
    while position < len(value):
        if value[position] == "(":
            end = _comment_end(value, position)
            kind = "comment"
        else:
            match = _TOKEN.match(value, position)
            end = match.end() if match else -1
            kind = (match.lastgroup or "") if match else ""
        if end < 0:
            return
        yield _Token(value[position] if kind == "special" else kind, position, end)
        position = end


def _comment_end(value: str, start: int) -> int:
    """Behind the comment that begins at an offset; comments nest. -1 when it does not end."""
    depth, position = 0, start
    while position < len(value):
        if value[position] == "(":
            depth += 1
        elif value[position] == ")":
            depth -= 1
            if not depth:
                return position + 1
        else:
            return -1  # a backslash at the very end
        match = _COMMENT_STEP.match(value, position + 1)
        position = match.end() if match else len(value)
    return -1


def _addr_specs(value: str) -> Iterator[list[_Token]]:
    """The tokens of each thing that stands where an addr-spec may, comments and blanks within it included."""
    words: list[_Token] = []  # since the last comma, colon, semicolon or bracket
    in_angle = after_angle = False
    for token in _tokens(value):
        if in_angle:
            if token.kind == ">":
                yield words
                words, in_angle, after_angle = [], False, True
            elif token.kind == ":":
                words = []  # the end of a route, RFC 5322 4.4
            elif token.kind == "<":
                return  # brackets do not nest: nobody knows what this is
            else:
                words.append(token)
        elif token.kind == "<":
            words, in_angle = [], True
        elif token.kind in {",", ";", ":"}:
            if token.kind != ":" and not after_angle:
                yield words
            words, after_angle = [], False
        elif token.kind == ">":
            return
        else:
            words.append(token)
    if not in_angle and not after_angle and (not words or words[-1].end == len(value)):
        yield words


def _edits(value: str, words: list[_Token], rewrite: Callable[[str], str]) -> list[tuple[int, int, str]]:
    """What to change so that an addr-spec becomes what it shall be; nothing if it is none."""
    solid = [one for one in words if one.kind not in {"blank", "comment"}]
    signs = [at for at, one in enumerate(solid) if one.kind == "@"]
    if not solid or len(signs) > 1:
        return []
    local = solid[: signs[0]] if signs else solid
    domain = solid[signs[0] + 1 :] if signs else []
    if not _is_local(value, local) or (signs and not _is_domain(value, domain)):
        return []
    old_local = _PLAIN.sub(r"\1", _text(value, local))  # "root"@x is root@x, RFC 5321 4.1.2
    plain = f"{old_local}@{_text(value, domain)}" if signs else old_local
    after = rewrite(plain)
    if after == plain or "@" not in after:
        return []
    new_local, _, new_domain = after.rpartition("@")
    edits = []
    if signs:
        if new_local != old_local:
            edits.append((local[0].start, local[-1].end, new_local + _comments(value, words, local)))
        if new_domain != _text(value, domain):
            edits.append((domain[0].start, domain[-1].end, new_domain + _comments(value, words, domain)))
    elif new_local == old_local:
        edits.append((local[-1].end, local[-1].end, f"@{new_domain}"))
    else:
        edits.append((local[0].start, local[-1].end, after + _comments(value, words, local)))
    return edits


def _text(value: str, tokens: list[_Token]) -> str:
    return "".join(value[one.start : one.end] for one in tokens)


def _comments(value: str, words: list[_Token], within: list[_Token]) -> str:
    """The comments inside of what is replaced: they move behind it."""
    start, end = within[0].start, within[-1].end
    return "".join(value[one.start : one.end] for one in words if one.kind == "comment" and start < one.start < end)


def _is_local(value: str, tokens: list[_Token]) -> bool:
    """A word, or words joined by dots (with blanks between, RFC 5322 4.4); not the pieces of a name."""
    if not tokens or not all(one.kind in {"atom", "quoted"} for one in tokens):
        return False
    if len(tokens) == 1 and _ENCODED_WORD.search(_text(value, tokens)):
        return False  # a name that lost its address, not an address
    return _are_joined(value, tokens)


def _is_domain(value: str, tokens: list[_Token]) -> bool:
    if len(tokens) == 1 and tokens[0].kind == "literal":
        return True
    return bool(tokens) and all(one.kind == "atom" for one in tokens) and _are_joined(value, tokens)


def _are_joined(value: str, tokens: list[_Token]) -> bool:
    return all(value[one.end - 1] == "." or value[two.start] == "." for one, two in pairwise(tokens))
