"""Takes secrets out of text: a server may say them back in its reply, and replies end in logs and bounces.

Also pieces of secrets: lines are cut where servers like it. No I/O, no Twisted.
"""

from __future__ import annotations

import re

PIECE = 8  # characters of a secret in a row that are recognised, ours; shorter secrets only whole


class Scrubber:
    """Knows the secrets of one session."""

    def __init__(self) -> None:
        self._forms: list[str] = []
        self._long = ""  # the forms that have pieces, one a line
        self._short: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Keep this to ourselves, as it is and with its blanks joined; a form in which it was sent is one more."""
        self._forms += [form for form in (secret, " ".join(secret.split())) if form and form not in self._forms]
        self._long = "\n".join(form for form in self._forms if len(form) >= PIECE)
        short = sorted((form for form in self._forms if len(form) < PIECE), key=len, reverse=True)
        self._short = re.compile("|".join(map(re.escape, short))) if short else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._long:
            text = self._without_pieces(text)
        return self._short.sub("[secret]", text) if self._short else text

    def _without_pieces(self, text: str) -> str:
        kept: list[str] = []
        start = at = 0
        while at + PIECE <= len(text):
            if text[at : at + PIECE] not in self._long:
                at += 1
                continue
            end = at + PIECE
            while end < len(text) and text[end - PIECE + 1 : end + 1] in self._long:
                end += 1
            kept += [text[start:at], "[secret]"]
            start = at = end
        return "".join(kept) + text[start:] if kept else text
