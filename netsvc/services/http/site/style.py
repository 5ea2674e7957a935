"""AnswerStyle: what a place of a site adds to every answer that it gives, errors too. No I/O, no Twisted."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from netsvc.services.http.exchange import Headers
from netsvc.services.http.pages import PAGE_HEADERS, error_page


def own_error_page(status: int, reason: str | None, request_id: str) -> tuple[Headers, bytes]:
    """Netsvc's own small page and its header fields."""
    return PAGE_HEADERS, error_page(status, reason, request_id)


@frozen(kw_only=True)
class AnswerStyle:
    """What routes put on an exchange (``exchange.style``) before anything answers it.

    :param fields: header fields added to the answer, each unless the answer has one of that name already.
    :param error_page: (status, reason or None, request id) -> (header fields, page); called by ``refuse``.
    """

    fields: Headers = ()
    error_page: Callable[[int, str | None, str], tuple[Headers, bytes]] = own_error_page

    def dress(self, headers: Headers) -> Headers:
        """The header fields of an answer with those of this style."""
        if not self.fields:
            return headers
        present = {name.lower() for name, _ in headers}
        return (*headers, *((name, value) for name, value in self.fields if name.lower() not in present))


PLAIN = AnswerStyle()
