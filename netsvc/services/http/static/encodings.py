"""Reads Accept-Encoding and Accept: what a peer takes, and how gladly. Pure functions, no I/O, no Twisted.

    Accept-Encoding = #( ( content-coding / "identity" / "*" ) [ weight ] )      RFC 9110 12.5.3
    Accept = #( media-range [ parameters ] [ weight ] )                          RFC 9110 12.5.1
    weight = OWS ";" OWS "q=" qvalue                                             RFC 9110 12.4.2

A member that cannot be read is as if absent. A request without Accept-Encoding gets no coding: who asks so is a program
that may not look at Content-Encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from attrs import frozen

CODINGS = (b"br", b"zstd", b"gzip")  # in the order of preference among those that a peer likes as much
SUFFIXES = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}  # of files that hold another one in a coding
_REMEMBERED = 256  # octets; longer fields are read each time

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QVALUE = rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?"
_CODING = re.compile(rb"[ \t]*+(%s)[ \t]*+(?:;[ \t]*+[qQ]=(%s)[ \t]*+)?" % (_TOKEN, _QVALUE))
_RANGE = re.compile(
    rb"[ \t]*+(%s)/(%s)[ \t]*+((?:;[ \t]*+(?![qQ]=)%s=(?:%s|\"[^\"\\]*+\")[ \t]*+)*+)(?:;[ \t]*+[qQ]=(%s)[ \t]*+)?"
    % (_TOKEN, _TOKEN, _TOKEN, _TOKEN, _QVALUE)
)


def _thousandths(qvalue: bytes | None) -> int:
    return 1000 if qvalue is None else round(float(qvalue) * 1000)


@frozen
class Accepted:
    """How gladly a peer takes each coding; 0 is not at all.

    :param weights: of "br", "zstd", "gzip" and "identity", in ranks: 1 is the least that is taken.
    """

    weights: tuple[tuple[bytes, int], ...]

    def weight(self, coding: bytes) -> int:
        """The rank of a coding."""
        for name, rank in self.weights:
            if name == coding:
                return rank
        return 0

    @property
    def key(self) -> bytes:
        """The same for all fields that mean the same."""
        return b"".join(b"%d" % rank for _, rank in self.weights)


def _read(value: bytes) -> Accepted:
    found: dict[bytes, int] = {}
    for member in value.split(b","):
        match = _CODING.fullmatch(member)
        if match is not None:
            name = match[1].lower()
            found.setdefault(b"gzip" if name == b"x-gzip" else name, 2 * _thousandths(match[2]))
    rest = found.get(b"*")
    quality = {coding: found.get(coding, rest or 0) for coding in CODINGS}
    # Identity is taken unless it is excluded, but least of all where it is not named.
    quality[b"identity"] = found.get(b"identity", 1 if rest is None else rest)
    ranks = {amount: at for at, amount in enumerate(sorted({0, *quality.values()}))}
    return Accepted(tuple((coding, ranks[amount]) for coding, amount in quality.items()))


_remembered = lru_cache(maxsize=512)(_read)
NOTHING = _read(b"")  # identity only


def accepted_codings(values: list[bytes]) -> Accepted:
    """What the values of all Accept-Encoding fields of a request say together."""
    if not values:
        return NOTHING
    value = values[0] if len(values) == 1 else b",".join(values)
    return _remembered(value) if len(value) <= _REMEMBERED else _read(value)


def preferred_type(values: list[bytes], offers: Iterable[bytes]) -> bytes | None:
    """Which of some media types (lower case, no parameters) a request wants most.

    Of those that it wants as much: the one that it names more exactly (``application/json, */*``); else the first.

    :param values: of all Accept fields; without any, everything is wanted alike.
    :return: None when it takes none of them.
    """
    ranges: list[tuple[bytes, bytes, int]] = []
    for member in b",".join(values).split(b","):
        match = _RANGE.fullmatch(member)
        if match is not None and not match[3]:  # a range with parameters is for a type that has them
            ranges.append((match[1].lower(), match[2].lower(), _thousandths(match[4])))
    best, best_quality = None, (0, 0)
    for offer in offers:
        kind, _, subtype = offer.partition(b"/")
        quality = (1000, 0)
        if ranges:
            fitting = [
                ((one != b"*") + (two != b"*"), weight)
                for one, two, weight in ranges
                if (one, two) in ((kind, subtype), (kind, b"*"), (b"*", b"*"))
            ]
            exactness, weight = max(fitting, default=(0, 0))  # RFC 9110 12.5.1: the most specific range decides
            quality = (weight, exactness)
        if quality[0] and quality > best_quality:
            best, best_quality = offer, quality
    return best
