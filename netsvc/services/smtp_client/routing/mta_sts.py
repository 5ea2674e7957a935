"""Reads what RFC 8461 has a domain publish: the TXT record and the policy. No I/O, no Twisted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from attrs import frozen

MAX_POLICY = 64 * 1024  # octets, RFC 8461 3.3
MAX_AGE = 31_557_600  # seconds, RFC 8461 3.2: about a year
MAX_PATTERNS = 100  # of one policy, ours: they are kept on disk

Mode = Literal["enforce", "testing", "none"]

_VERSION = re.compile(r"v=STSv1[ \t]*;")
_ID = re.compile(r"id=([A-Za-z0-9]{1,32})\Z")  # RFC 8461 3.1
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*(.*?)[ \t]*\Z")  # RFC 8461 3.2
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")


class BadPolicy(ValueError):  # noqa: N818 - what it is
    """The policy is none. The text says which rule it breaks."""


@frozen
class Policy:
    """RFC 8461 3.2.

    :param max_age: seconds that it holds.
    :param patterns: names of mail hosts in small letters; ``*.`` stands for one label.
    """

    mode: Mode
    max_age: int
    patterns: tuple[str, ...] = ()

    def allows(self, host: str) -> bool:
        """Whether a host's name is among the patterns, RFC 8461 4.1."""
        name = host.lower().rstrip(".")
        return any(name == one or (one[:2] == "*." and name.partition(".")[2] == one[2:]) for one in self.patterns)


def policy_id(records: Sequence[str]) -> str | None:
    """The id of the one record among those of ``_mta-sts.DOMAIN``; None when there is none, or more, RFC 8461 3.1."""
    found = [one for one in records if _VERSION.match(one)]
    if len(found) != 1:
        return None
    for part in found[0].split(";")[1:]:
        match = _ID.match(part.strip(" \t"))
        if match:
            return match[1]
    return None


def read_policy(octets: bytes) -> Policy:
    """Read a policy, with any line ends; of fields that come twice, but for ``mx``, the first counts.

    :raises BadPolicy: it is none.
    """
    if len(octets) > MAX_POLICY:
        raise BadPolicy(f"it is longer than {MAX_POLICY} octets")
    try:
        text = octets.decode("utf-8")
    except ValueError:
        raise BadPolicy("it is not UTF-8") from None
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in re.split(r"\r?\n", text):
        match = _FIELD.match(line)
        if match is None:
            if line.strip(" \t"):
                raise BadPolicy("a line is not a field and its value")
        elif match[1] == "mx":
            patterns.append(match[2].lower().rstrip("."))
        else:
            fields.setdefault(match[1], match[2])
    if fields.get("version") != "STSv1":
        raise BadPolicy("it says no version that is known")
    mode, age = fields.get("mode"), fields.get("max_age", "")
    if mode not in ("enforce", "testing", "none"):
        raise BadPolicy("its mode is none of enforce, testing and none")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise BadPolicy("its max_age is not a number of seconds")
    if len(patterns) > MAX_PATTERNS or not all(map(_PATTERN.match, patterns)):
        raise BadPolicy(f"its hosts are not names, or more than {MAX_PATTERNS}")
    if mode != "none" and not patterns:
        raise BadPolicy("it names no hosts")
    return Policy(mode, min(int(age), MAX_AGE), tuple(patterns))  # type: ignore[arg-type]  # one of the three words
