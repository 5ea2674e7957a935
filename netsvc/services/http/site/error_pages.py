"""The pages that a site has for errors: files below its root, read when they are needed, else netsvc's own."""

from __future__ import annotations

import os
from collections.abc import Callable

from netsvc.services.http.exchange import Headers
from netsvc.services.http.pages import NOSNIFF
from netsvc.services.http.site.paths import Decision, File, close
from netsvc.services.http.site.style import own_error_page
from netsvc.services.http.static.media_types import media_type

LONGEST = 1 << 18  # octets of an error page; a longer file is not one


class ErrorPages:
    """Finds the page of an error.

    :param rules: (status or "4xx", path), the first that fits is taken.
    :param look: what stands at a path of the site.
    """

    def __init__(self, rules: tuple[tuple[str, str], ...], look: Callable[[bytes], Decision]) -> None:
        self._rules = rules
        self._look = look

    def page(self, status: int, reason: str | None, request_id: str) -> tuple[Headers, bytes]:
        """As AnswerStyle.error_page."""
        for wanted, path in self._rules:
            if wanted in (str(status), f"{status // 100}xx"):
                found = self._read(os.fsencode(path))
                if found is not None:
                    return found
        return own_error_page(status, reason, request_id)

    def _read(self, path: bytes) -> tuple[Headers, bytes] | None:
        decision = self._look(path)
        try:
            if not isinstance(decision, File):
                return None
            page = os.pread(decision.descriptor, LONGEST + 1, 0)
        except OSError:
            return None
        finally:
            close(decision)
        if len(page) > LONGEST:
            return None
        return ((b"Content-Type", media_type(decision.names[-1])), NOSNIFF), page
