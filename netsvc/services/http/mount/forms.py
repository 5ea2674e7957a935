"""What a form has sent, as twisted.web's request.args has it."""

from __future__ import annotations

from twisted.web.http import _getMultiPartArgs, _parseContentType, parse_qs

Args = dict[bytes, list[bytes]]

URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data"


class BadFormError(Exception):
    """The form is broken, which is its sender's fault."""


def kind_of(method: str, content_type: bytes | None) -> bytes | None:
    """The media type of a form, or None for what is none.

    :raise BadFormError: the type cannot be understood.
    """
    if method != "POST" or not content_type:
        return None
    try:
        kind = _parseContentType(content_type)
    except Exception:  # noqa: BLE001  (the email package has many ways to fail at what it does not expect)
        raise BadFormError from None
    return kind if kind in (URLENCODED, MULTIPART) else None


def read_form(kind: bytes, content_type: bytes, body: bytes) -> Args:
    """The fields of a form.

    :raise BadFormError: it is broken.
    """
    try:
        if kind == URLENCODED:
            return dict(parse_qs(body, 1))
        return dict(_getMultiPartArgs(body, content_type))
    except Exception:  # noqa: BLE001  (as above)
        raise BadFormError from None
