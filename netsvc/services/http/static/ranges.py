"""Reads a Range field against a length. Pure functions.

    Range = range-unit "=" range-set                                      RFC 9110 14.2
    int-range = first-pos "-" [ last-pos ] ; suffix-range = "-" suffix-length

A field that cannot be read, or has another unit, is as if absent (200). Ranges are put in order and joined where they
touch or overlap, and a set with too many of them is as if absent (RFC 9110 14.2 and 17.15).
"""

from __future__ import annotations

import re

from attrs import frozen

MAX_RANGES = 64  # members of a set that are looked at; Apache's MaxRanges is 200

_SPEC = re.compile(rb"([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18})")


@frozen
class Range:
    """Octets start to stop of a representation, stop not included."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """In octets, at least 1."""
        return self.stop - self.start


class UnsatisfiableError(Exception):
    """No range of the set lies within the representation: 416."""


def parse_ranges(value: bytes, length: int) -> tuple[Range, ...] | None:
    """The ranges to send, in ascending order, joined; None when the field is to be ignored.

    :param value: the field's value.
    :param length: octets of the representation.
    :raises UnsatisfiableError: the field is right, but nothing of it is there.
    """
    unit, equals, text = value.partition(b"=")
    if not equals or unit.lower() != b"bytes":
        return None
    specs = [spec.strip(b" \t") for spec in text.split(b",", MAX_RANGES)]
    specs = [spec for spec in specs if spec]  # a list may have empty members (RFC 9110 5.6.1.2)
    if not specs or len(specs) > MAX_RANGES:
        return None
    found: list[Range] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, stop = max(0, length - int(suffix)), length
        else:
            start, stop = int(first), min(int(last) + 1, length) if last else length
            if last and int(last) < start:
                return None
        if start < stop:
            found.append(Range(start, stop))
    if not found:
        raise UnsatisfiableError
    return _joined(sorted(found, key=lambda one: one.start))


def _joined(ranges: list[Range]) -> tuple[Range, ...]:
    joined = ranges[:1]
    for one in ranges[1:]:
        last = joined[-1]
        if one.start <= last.stop:
            joined[-1] = Range(last.start, max(last.stop, one.stop))
        else:
            joined.append(one)
    return tuple(joined)


def content_range(one: Range, length: int) -> bytes:
    """The value of Content-Range for a part."""
    return b"bytes %d-%d/%d" % (one.start, one.stop - 1, length)


def part_heads(
    ranges: tuple[Range, ...], length: int, media_type: bytes, boundary: bytes
) -> tuple[list[bytes], bytes, int]:
    """What stands before each part and after the last one of multipart/byteranges, and the length of all of it.

    :return: (the octets before each part, the octets at the end, octets of the whole body with the parts).
    """
    heads = [
        b"\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n"
        % (boundary, media_type, content_range(one, length))
        for one in ranges
    ]
    heads[0] = heads[0][2:]  # no preamble
    tail = b"\r\n--%s--\r\n" % boundary
    return heads, tail, sum(map(len, heads)) + sum(one.length for one in ranges) + len(tail)
