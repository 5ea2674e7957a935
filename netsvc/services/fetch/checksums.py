"""Checksums: one beside a URL (``sha256:HEX``), and lists as sha256sum(1) and its kin write them. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

#: By the digits of a digest: what a list of such lines was made with.
_LENGTHS: Mapping[int, str] = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
_DIGITS = {name: digits for digits, name in _LENGTHS.items()}
MAX_LIST = 16 << 20  # octets of a list, ours

_GNU = re.compile(r"(\\?)([0-9A-Fa-f]+) [ *](.+)")
_BSD = re.compile(r"(\\?)(\w+) \((.+)\) = ([0-9A-Fa-f]+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class ChecksumError(ValueError):
    """It is no checksum, or no list of them. Its text is one line for people."""


@frozen
class Sum:
    """What a file's digest must be.

    :param digest: hexadecimal, in lower case.
    """

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


def parse_sum(text: str) -> Sum:
    """Understand ``sha256:HEX``.

    :raises ChecksumError: it is none.
    """
    algorithm, _, digest = text.partition(":")
    return _sum(algorithm.lower().replace("-", ""), digest)


def _sum(algorithm: str, digest: str) -> Sum:
    if algorithm not in _DIGITS:
        raise ChecksumError(f"there is no algorithm {algorithm!r}; known are {', '.join(_DIGITS)}")
    if not re.fullmatch(r"[0-9A-Fa-f]+", digest) or len(digest) != _DIGITS[algorithm]:
        raise ChecksumError(f"a {algorithm} has {_DIGITS[algorithm]} hexadecimal digits")
    return Sum(algorithm, digest.lower())


def parse_list(content: bytes) -> dict[str, Sum]:
    """The checksums of a list by the last part of their file's name.

    :raises ChecksumError: a line is none, or two that have one name differ.
    """
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise ChecksumError("the list of checksums is not UTF-8") from None
    found: dict[str, Sum] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if gnu := _GNU.fullmatch(line):
            escaped, digest, name = gnu.groups()
            algorithm = _LENGTHS.get(len(digest), "")
        elif bsd := _BSD.fullmatch(line):
            escaped, algorithm, name, digest = bsd.groups()
        else:
            raise ChecksumError(f"line {number} of the list of checksums is none")
        try:
            one = _sum(algorithm.lower(), digest)
        except ChecksumError as error:
            raise ChecksumError(f"line {number} of the list of checksums: {error}") from None
        if escaped:
            name = re.sub(r"\\[\\nr]", lambda match: _ESCAPES[match[0]], name)
        last = name.rpartition("/")[2]
        if found.setdefault(last, one) != one:
            raise ChecksumError(f"line {number} of the list of checksums differs from one before of the same name")
    return found
