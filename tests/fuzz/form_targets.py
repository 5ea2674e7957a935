"""Targets of what browsers send to the page on which people put files: forms, and who sends them."""

from __future__ import annotations

import contextlib

from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.upload.form.wire import BadFormError, Event, FileBegins, FileEnds, FormReader, is_form
from netsvc.services.http.upload.origin import check_origin
from netsvc.services.http.upload.problems import RefusedError
from tests.fuzz.terms import Target, check, pieces

_TYPE = b"multipart/form-data; boundary=b"


def _events(parts: list[bytes]) -> list[Event] | None:
    reader = FormReader(_TYPE)
    found: list[Event] = []
    try:
        for part in parts:
            for event in reader.feed(part):
                if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
                    found[-1] += event
                else:
                    found.append(event)
        reader.finish()
    except BadFormError as error:
        check("\n" not in error.reason, error.reason)
        return None
    return found


def form(data: bytes) -> None:
    """A form means the same however it is cut, and its files begin and end in turn."""
    found = _events([data] if data else [])
    check(found == _events(pieces(data)), data)
    if found is None:
        return
    open_now = False
    for event in found:
        if isinstance(event, FileBegins):
            check(not open_now and event.name, data)
            open_now = True
        else:
            check(open_now, data)
            open_now = not isinstance(event, FileEnds)
    check(not open_now, data)


def origin(data: bytes) -> None:
    """Whatever stands in the fields, a request passes or is refused; a form's type is read."""
    host, _, rest = data.partition(b"\n")
    fields = tuple((b"origin", line) for line in rest.split(b"\n"))
    head = RequestHead(
        method="POST",
        target=b"/",
        path=b"/",
        query=b"",
        version=(1, 1),
        headers=fields,
        host=host.decode("latin-1"),
    )
    with contextlib.suppress(RefusedError):
        check_origin(head)
    if is_form(data):
        with contextlib.suppress(BadFormError):
            FormReader(data)


FORM_TARGETS = {
    "form": Target(
        form,
        (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a%22.txt"\r\n\r\none\r\n--b--\r\n',
            b"--b\r\nContent-Disposition: form-data; name=x\r\nContent-Length: 1\r\n\r\ny\r\n--b\r\n"
            b"content-disposition: form-data; name=f; filename*=utf-8''a; filename=b\r\n\r\n\r\n--b--",
        ),
    ),
    "origin": Target(
        origin,
        (
            b"example.com:8000\nhttp://example.com:8000",
            b"[::1]\nhttps://[::1]:443\nnull",
            b'multipart/form-data; boundary="a b"; charset=x',
        ),
    ),
}
