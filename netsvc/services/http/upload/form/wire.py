"""Reads a form (multipart/form-data, RFC 7578) as it arrives: its files, one after the other. No I/O, no Twisted.

The parser is the library ``multipart``. Nothing is kept but what may be the beginning of a boundary or an unfinished
header, so memory is flat however large the files are. Fields that are no files are passed over, and so is the empty
part that a browser sends where no file was chosen. What the library takes or not depending on how the octets were cut
is refused here in any case: something before the first boundary (RFC 2046 5.1.1 has it, no browser sends it), and a
line break within a header.
"""

from __future__ import annotations

import re

from attrs import frozen
from multipart import MultipartError, MultipartSegment, ParserError, PushMultipartParser, parse_options_header

TYPE = "multipart/form-data"
MAX_PARTS = 1000  # of one form
MAX_HEADERS = 8  # of one part; RFC 7578 4.8 knows three
MAX_HEADER = 4096  # octets of one, with its name; a name of 255 octets may be encoded in 765

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046 5.1.1


class BadFormError(Exception):
    """The form is broken, or has more than is read.

    :ivar reason: one phrase.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen
class FileBegins:
    """A file; its octets follow, then FileEnds.

    :param name: as it was sent, not checked.
    """

    name: str


@frozen
class FileEnds:
    """All octets of the file were there."""


Event = FileBegins | bytes | FileEnds


def is_form(content_type: bytes | None) -> bool:
    """Whether a Content-Type is that of a form which may have files."""
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == TYPE.encode("ascii")


class _Parser(PushMultipartParser):  # type: ignore[misc]  # the library has no types
    def _on_segment_headerline(self, line: bytes) -> None:
        if b"\n" in line or b"\r" in line:
            raise ParserError("a line break in a header")
        super()._on_segment_headerline(line)


class FormReader:
    """One form.

    :param content_type: of the request.
    :raises BadFormError: it has no boundary that could be one.
    """

    def __init__(self, content_type: bytes) -> None:
        _, options = parse_options_header(content_type.decode("latin-1"))
        boundary = options.get("boundary", "")
        if not _BOUNDARY.fullmatch(boundary):
            raise BadFormError("the form has no boundary")
        self._parser = _Parser(
            boundary,
            max_header_size=MAX_HEADER,
            max_header_count=MAX_HEADERS,
            max_segment_count=MAX_PARTS,
        )
        self._begin = b"--" + boundary.encode("ascii")
        self._begun = b""  # while there is less of it than the first boundary
        self._in_file = False

    def feed(self, data: bytes) -> list[Event]:
        """What some more octets mean; what stands behind the end of the form is passed over.

        :param data: not empty.
        :raises BadFormError: whatever is wrong with it.
        """
        found: list[Event] = []
        if self._begin:
            self._begun += data
            if not self._begun.startswith(self._begin[: len(self._begun)]):
                raise BadFormError("the form does not begin with its boundary")
            if len(self._begun) < len(self._begin):
                return found
            data, self._begin = self._begun, b""
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._in_file = bool(event.filename)
                    if event.filename:
                        found.append(FileBegins(event.filename))
                elif self._in_file:
                    found.append(FileEnds() if event is None else event)
        except MultipartError as error:
            raise BadFormError(_reason(error)) from None
        return found

    def finish(self) -> None:
        """There is no more.

        :raises BadFormError: the end of the form was not there.
        """
        try:
            self._parser.close()
        except MultipartError:
            raise BadFormError("the form is cut off") from None


def _reason(error: MultipartError) -> str:
    text = str(error.args[0]) if error.args else ""
    return f"the form is broken: {text[:1].lower()}{text[1:80]}"
