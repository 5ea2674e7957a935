"""Telephone numbers: what people write becomes E.164; what logs show is masked. No I/O.

No table of the world's numbering plans stands behind it: the country code and the trunk prefix are configured, and the
gateway has the last word.
"""

from __future__ import annotations

import re

from attrs import frozen

from netsvc.services.sms.echoes import spellings

MOST_DIGITS = 15  # ITU-T E.164, 6.1
FEWEST_DIGITS = 7  # with the country code: below this there are only short codes, which nobody means to text abroad
SHOWN_HEAD = 3  # characters of a masked number that stay: the plus and most of the country code
SHOWN_TAIL = 2

_SEPARATORS = re.compile(r"[ \u00a0./()-]")
_OPTIONAL_TRUNK = re.compile(r"\(0\)")  # +49 (0) 171: the 0 is dialled at home only


class NumberError(ValueError):
    """The text is no telephone number. Its words do not repeat the number."""


@frozen
class Numbering:
    """How numbers are written here.

    :param country_code: such as ``86``; empty when only international numbers are taken.
    :param trunk_prefix: what stands before a national number at home (``0``, in North America ``1``); may be empty.
    """

    country_code: str = ""
    trunk_prefix: str = "0"

    def normalise(self, text: str) -> str:
        """The number in E.164 with its plus: ``+8613800138000``.

        :raises NumberError: it is none.
        """
        written = text.strip()
        if written.startswith(("+", "00")):
            written = _OPTIONAL_TRUNK.sub("", written)
        bare = _SEPARATORS.sub("", written)
        international = bare[1:] if bare.startswith("+") else bare[2:] if bare.startswith("00") else None
        if not re.fullmatch(r"\+?[0-9]+", bare):
            raise NumberError("a telephone number has digits, and a plus in front at most")
        if international is None:
            if not self.country_code:
                raise NumberError("write the number with a plus and its country code, or set country_code")
            international = self.country_code + bare.removeprefix(self.trunk_prefix)
        if international.startswith("0") or not FEWEST_DIGITS <= len(international) <= MOST_DIGITS:
            raise NumberError(f"a number has {FEWEST_DIGITS} to {MOST_DIGITS} digits behind its plus, the first not 0")
        return f"+{international}"

    def national(self, number: str) -> str | None:
        """An E.164 number without our country code, or None when it is of another country."""
        prefix = f"+{self.country_code}"
        return number.removeprefix(prefix) if self.country_code and number.startswith(prefix) else None


def mask(number: str) -> str:
    """An E.164 number that may stand in a log: ``+86*********00``."""
    hidden = len(number) - SHOWN_HEAD - SHOWN_TAIL
    return number[:SHOWN_HEAD] + "*" * hidden + number[-SHOWN_TAIL:]


def labels(numbers: tuple[str, ...]) -> tuple[str, ...]:
    """A masked name for each number of one message, each once: what looks alike is counted, ``+86*********00#2``."""
    seen: dict[str, int] = {}
    found = []
    for number in numbers:
        masked = mask(number)
        seen[masked] = seen.get(masked, 0) + 1
        found.append(masked if seen[masked] == 1 else f"{masked}#{seen[masked]}")
    return tuple(found)


_LONG_RUN = re.compile(r"\+?[0-9](?:[ -]?[0-9]){6,}")  # whatever looks like a telephone number


def scrub(words: str, numbers: tuple[str, ...], text: str, keys: tuple[str, ...] = ()) -> str:
    """A gateway's words without the number, the message, the codes in it and the passwords that they may repeat.

    :param numbers: every spelling of the number that was sent.
    :param text: the message.
    :param keys: what else the request had that nobody may see.
    """
    secrets = {text, *numbers, *keys, *re.findall(r"[0-9A-Za-z]*[0-9][0-9A-Za-z]{2,}", text)}
    echoes = {echo for secret in secrets if len(secret) >= 3 for echo in spellings(secret)}
    for echo in sorted(echoes, key=len, reverse=True):
        words = words.replace(echo, "*" * min(len(echo), 8))
    return _LONG_RUN.sub(lambda found: "*" * min(len(found[0]), 8), words)
