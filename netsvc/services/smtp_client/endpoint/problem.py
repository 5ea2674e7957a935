"""What is wrong with an HTTP request, as RFC 9457 says it: application/problem+json. No I/O.

    {"type": "about:blank", "title": "Unprocessable Content", "status": 422, "code": "5.1.3", "detail": "..."}

``code`` is the status of RFC 3463, as SMTP would have said it.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from netsvc.net.json_lines import Refusal

RETRY_AFTER = 30  # seconds until a queue that is full or broken is worth another try

_STATUS = {"5.3.4": 413, "5.5.4": 409}  # of a message that was whole; 5.5.4 is a key that stands for another


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request is not done.

    :param status: of HTTP.
    :param code: RFC 3463.
    :param headers: further fields of the answer.
    """

    def __init__(self, status: int, code: str, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(f"{status} {code} {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def body(self) -> bytes:
        """The answer's content."""
        title = HTTPStatus(self.status).phrase
        said = {"type": "about:blank", "title": title, "status": self.status, "code": self.code, "detail": self.detail}
        return json.dumps(said).encode() + b"\n"


def problem_of(refusal: Refusal) -> Problem:
    """The problem that a refused message is."""
    if refusal.code.startswith("4"):
        return Problem(503, refusal.code, refusal.text, ("Retry-After", str(RETRY_AFTER)))
    return Problem(_STATUS.get(refusal.code, 422), refusal.code, refusal.text)
