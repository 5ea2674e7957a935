"""CacheRules: which Cache-Control a file gets, by patterns of its name or path. No I/O, no Twisted."""

from __future__ import annotations

import re
from fnmatch import translate

from attrs import field, frozen

from netsvc.config.options import Context, ValueType
from netsvc.errors import BadValue

Rules = tuple[tuple[str, str], ...]

# cache-directive = token [ "=" ( token / quoted-string ) ]   RFC 9111 5.2
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_DIRECTIVE = rf'{_WORD}(?:=(?:{_WORD}|"[^"\\\x00-\x1f\x7f-\uffff]*+"))?'
_VALUE = re.compile(rf"{_DIRECTIVE}(?:[ \t]*,[ \t]*{_DIRECTIVE})*")
_LONGEST = 1024  # characters of a value or pattern


def lines_of(text: str) -> list[tuple[int, str]]:
    """The lines of a value that are not blank, stripped, each with its place in it."""
    found = []
    for match in re.finditer(r"[^\n]+", text):
        line = match[0].strip()
        if line:
            found.append((match.start() + match[0].index(line[0]), line))
    return found


def cache_rules() -> ValueType[Rules]:
    """``PATTERN VALUE``, one a line; the first pattern that fits a file gives its Cache-Control."""

    def parse(text: str, _: Context) -> Rules:
        found: dict[str, str] = {}
        for at, line in lines_of(text):
            pattern, *rest = line.split(None, 1)
            value = rest[0] if rest else ""
            if not value:
                raise BadValue(f"{line!r} is not PATTERN VALUE, such as *.css max-age=3600", at=at)
            if len(line) > _LONGEST or not _VALUE.fullmatch(value):
                raise BadValue(f"{value!r} is not a value of Cache-Control, such as max-age=3600, public", at=at)
            if pattern in found:
                raise BadValue(f"{pattern} is given twice", at=at)
            found[pattern] = value
        return tuple(found.items())

    def show(value: Rules) -> str:
        return "\n".join(f"{pattern} {text}" for pattern, text in value)

    return ValueType(name="rules", bounds="PATTERN VALUE, one a line", parse=parse, show=show, multiline=True)


@frozen
class _Rule:
    fits: re.Pattern[str]
    whole: bool  # whether the whole path is looked at, or the name only
    value: bytes


def _rule(pattern: str, value: str) -> _Rule:
    whole = "/" in pattern
    if whole and not pattern.startswith("/"):
        pattern = "*/" + pattern
    return _Rule(re.compile(translate(pattern)), whole, value.encode("ascii"))


@frozen
class CacheRules:
    """What a file's Cache-Control is.

    :param rules: (pattern, value) in order. A pattern (fnmatch) without a slash is for the name; one that begins with a
        slash for the whole decoded path of the URL; one with a slash elsewhere for the end of that path.
    """

    rules: Rules
    _rules: tuple[_Rule, ...] = field(init=False)

    @_rules.default
    def _compiled(self) -> tuple[_Rule, ...]:
        return tuple(_rule(pattern, value) for pattern, value in self.rules)

    def value(self, path: bytes) -> bytes | None:
        """The value for a file, or None.

        :param path: the decoded path of the URL with the file's name at its end; begins with a slash.
        """
        text = path.decode("utf-8", "surrogateescape")
        name = text.rpartition("/")[2]
        for rule in self._rules:
            if rule.fits.fullmatch(text if rule.whole else name):
                return rule.value
        return None
