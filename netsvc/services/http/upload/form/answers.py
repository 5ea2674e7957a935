"""The door for forms: who sent one goes back to the list, or reads which files were refused and why."""

from __future__ import annotations

from typing import Any

from netsvc.filestore.access import Access
from netsvc.filestore.errors import StoreError
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.listing.page import name_text
from netsvc.services.http.pages import PAGE_HEADERS, page
from netsvc.services.http.upload.door import Door
from netsvc.services.http.upload.form.intake import FormIntake, Outcome
from netsvc.services.http.upload.form.wire import BadFormError, FormReader, is_form
from netsvc.services.http.upload.problems import RefusedError, refuse, status_of

_STYLE = "ul{padding-left:1.2rem}li{margin:.4rem 0;overflow-wrap:anywhere}"


class Forms:
    """An UploadProtocol: POST of multipart/form-data to the address of a directory; ``?replace=yes`` replaces files."""

    methods = ("POST",)

    def takes(self, head: RequestHead) -> bool:
        """As UploadProtocol."""
        return head.method == "POST" and is_form(head.first(b"content-type"))

    def offered(self, door: Door) -> Headers:  # noqa: ARG002
        """As UploadProtocol: nothing that would have to be told."""
        return ()

    def answer(self, exchange: Any, door: Door) -> None:
        """As UploadProtocol."""
        head: RequestHead = exchange.head
        try:
            if door.access is Access.READ_ONLY:
                raise RefusedError(403, "the account may only read")
            if not door.directory:
                raise RefusedError(400, "a form goes to the address of a directory, which ends with a slash")
            reader = FormReader(head.first(b"content-type") or b"")
        except RefusedError as error:
            refuse(exchange, error)
            return
        except BadFormError as error:
            refuse(exchange, RefusedError(400, error.reason))
            return
        FormIntake(
            exchange,
            door,
            reader,
            replace=b"replace=yes" in head.query.split(b"&"),
            done=lambda outcomes: _settled(exchange, outcomes),
            broken=lambda error: refuse(exchange, RefusedError(400, error.reason)),
        ).start()


def _settled(exchange: Any, outcomes: list[Outcome]) -> None:
    refused = [one for one in outcomes if one.error is not None]
    if not outcomes:
        refuse(exchange, RefusedError(400, "no file was chosen"))
    elif not refused:
        body = page("303 See Other", '<h1>Uploaded</h1>\n<p><a href="./">Back to the list</a></p>')
        exchange.answer(303, (*PAGE_HEADERS, (b"Location", b"./")), body)
    else:
        own = [one.error for one in refused if not isinstance(one.error, StoreError | RefusedError)]
        if own:
            refuse(exchange, own[0])  # a fault of ours: it is logged
        else:
            exchange.answer(status_of(refused[0].error), PAGE_HEADERS, refused_page(outcomes))


def refused_page(outcomes: list[Outcome]) -> bytes:
    """What a person reads of whom not every file was taken."""
    rows = []
    for one in outcomes:
        if isinstance(one.error, StoreError | RefusedError):
            name = name_text(one.name.encode("utf-8", "surrogateescape"))
            rows.append(f"<li><bdi>{name}</bdi>: {name_text(one.error.reason.encode())}.</li>")
    taken = len(outcomes) - len(rows)
    title = "Not uploaded" if not taken else f"{taken} of {len(outcomes)} files uploaded"
    listed = "\n".join(rows)
    return page(
        title,
        f"<h1>{title}</h1>\n<p>{'These were' if len(rows) > 1 else 'This was'} refused:</p>\n<ul>\n{listed}\n</ul>\n"
        '<p><a href="./">Back to the list</a></p>',
        _STYLE,
    )
