r"""INI text to sections, keys and values, each with its place. Never raises for what a file holds: it lists faults.

The text is UTF-8 (a BOM is passed over), lines end in LF or CRLF, white space is blanks and tabs.

- ``[name]`` opens a section; ``key = value`` begins in the first column; a line that is indented continues the value
  above it. Empty lines and lines whose first mark is ``#`` or ``;`` say nothing, between continuation lines too.
- Behind a value or a section's name, a ``#`` or ``;`` that follows white space begins a comment, unless it stands
  between double quotes on its line. ``\#`` and ``\;`` after white space are the mark itself, within quotes as well (of
  several backslashes there one is taken away). So ``tcp:80 # web`` has a comment, ``a#b``, ``"a # b"`` and ``a \# b``
  have none. Quotes and all other backslashes reach the value as they stand.
- A line with a bare mark inside quotes that do not pair is a fault, because it is not clear what was meant.

Read here and not with iniconfig, which keeps lines but stops at the first fault, knows no columns, drops the places of
continuation lines, and cannot tell a duplicate's first place. All of them are in the report that we promise.
"""

from __future__ import annotations

import os
import re
import stat

from attrs import define, field, frozen

from netsvc.errors import BadValue, Fault, Origin

MAX_FILE = 1 << 20  # octets; the longest configurations of the field (mail maps aside) are a tenth of it
MAX_FAULTS = 100  # of syntax, in one file; one with more is no INI file, and a longer list helps nobody
MAX_BINARY_LINES = 10  # lines with octets that no text has, before a file is called binary

_ILLEGAL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # C0 but the tab, DEL, C1
_HEADER = re.compile(r"\[([^\[\]]*)\](?:[ \t]+[#;].*)?[ \t]*")
_MARK = re.compile(r"(?<=[ \t])(\\*)[#;]")
_BLANK = " \t"


@frozen
class Line:
    """One line of a value, without the white space around it and without its comment.

    :param text: what it says.
    :param number: 1-based, in its file.
    :param column: 1-based, in characters, of the first one.
    :param taken: offsets in `text` before each of which one backslash was taken away.
    """

    text: str
    number: int
    column: int
    taken: tuple[int, ...] = ()

    def column_at(self, offset: int) -> int:
        """The column of the character at an offset in the text."""
        return self.column + offset + sum(one <= offset for one in self.taken)


@frozen
class Entry:
    """A key and its value.

    :param lines: at least one; the only one may be empty, others are not.
    :param faulty: a fault of this value was listed already; it is there, but not to be judged.
    """

    key: str
    origin: Origin
    lines: tuple[Line, ...]
    faulty: bool = False

    @property
    def text(self) -> str:
        """The value: its lines joined by newlines."""
        return "\n".join(line.text for line in self.lines)

    def at(self, offset: int) -> Origin:
        """The place of the character at an offset in the value; beyond its end, of its end."""
        for line in self.lines[:-1]:
            if offset <= len(line.text):
                break
            offset -= len(line.text) + 1
        else:
            line = self.lines[-1]
        column = line.column_at(max(0, min(offset, len(line.text))))
        return Origin(self.origin.path, line.number, column)


@frozen
class Section:
    """A section as it stands: its name is not judged, its keys are unique but not judged."""

    name: str
    origin: Origin
    entries: tuple[Entry, ...]


@frozen
class Document:
    """What one file says, and what is wrong with how it says it."""

    path: str
    sections: tuple[Section, ...] = ()
    faults: tuple[Fault, ...] = ()


def read(path: str) -> bytes:
    """The octets of a configuration file.

    :raises BadValue: when it cannot be read, is no regular file or is larger than :data:`MAX_FILE`.
    """
    try:
        # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise BadValue(f"{path!r} is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}")
            with open(descriptor, "rb", closefd=False) as stream:
                octets = stream.read(MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadValue(f"{path!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        if isinstance(error, BadValue):
            raise
        raise BadValue(f"{path!r} cannot be a file's name") from None
    if len(octets) > MAX_FILE:
        raise BadValue(f"{path!r} is larger than {MAX_FILE >> 20} MiB")
    return octets


def parse(octets: bytes, path: str) -> Document:
    """Read a configuration; what is wrong with it is listed in the result."""
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Document(path, (), (Fault(Origin(path, 1, 1), "syntax", "the text is UTF-16; save it as UTF-8"),))
    reader = _Reader(path)
    for number, line in enumerate(octets.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        reader.line(number, line.removesuffix(b"\r"))
    return reader.document()


def quote(text: str) -> str:
    """A value as it stands in a file behind ``key =``: marks that would begin a comment get their backslash."""
    return "\n".join(_MARK.sub(r"\\\g<0>", f" {line}")[1:] for line in text.split("\n"))


@define(eq=False)
class _OpenEntry:
    key: str
    origin: Origin
    lines: list[Line] = field(factory=list)
    faulty: bool = False

    def closed(self) -> Entry:
        # A first line with nothing on it is only there to hold the place of an empty value.
        lines = self.lines[:1] + [line for line in self.lines[1:] if line.text]
        if len(lines) > 1 and not lines[0].text:
            del lines[0]
        return Entry(self.key, self.origin, tuple(lines), self.faulty)


@frozen
class _OpenSection:
    name: str
    origin: Origin
    entries: dict[str, _OpenEntry] = field(factory=dict)


class _Reader:
    """Takes a file line by line. `_section` and `_entry` are what the next line belongs to, if anything."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._faults: list[Fault] = []
        self._illegal: list[Fault] = []
        self._sections: list[_OpenSection] = []
        self._section: _OpenSection | None = None
        self._entry: _OpenEntry | None = None
        self._lost = False  # below a section header that could not be read

    def document(self) -> Document:
        """Everything that was read."""
        if len(self._illegal) > MAX_BINARY_LINES:
            first = self._illegal[0]
            message = f"{first.message}; {len(self._illegal) - 1} more lines are like this: is it a text file?"
            return Document(self._path, (), (Fault(first.origin, first.code, message),))
        sections = tuple(
            Section(one.name, one.origin, tuple(entry.closed() for entry in one.entries.values()))
            for one in self._sections
        )
        faults = self._faults + self._illegal
        if len(faults) > MAX_FAULTS:
            faults = sorted(faults)[:MAX_FAULTS]
            faults.append(Fault(Origin(self._path), "syntax", f"more than {MAX_FAULTS} faults: is it an INI file?"))
        return Document(self._path, sections, tuple(faults))

    def line(self, number: int, octets: bytes) -> None:
        """Take one line, without its end."""
        text, legal = self._text(number, octets)
        content = text.lstrip(_BLANK)
        if not content or content[0] in "#;":
            return
        if len(content) < len(text):
            self._continuation(number, text, legal)
        elif content[0] == "[":
            self._header(number, text)
        else:
            self._key(number, text, legal)

    def _fault(self, number: int, column: int, message: str, code: str = "syntax") -> None:
        if len(self._faults) <= MAX_FAULTS:
            self._faults.append(Fault(Origin(self._path, number, column), code, message))

    def _text(self, number: int, octets: bytes) -> tuple[str, bool]:
        try:
            text = octets.decode()
        except UnicodeDecodeError as error:
            column = len(octets[: error.start].decode()) + 1
            message = f"the octet 0x{octets[error.start]:02x} is not UTF-8 text"
            self._illegal.append(Fault(Origin(self._path, number, column), "syntax", message))
            return octets.decode(errors="replace"), False
        illegal = _ILLEGAL.search(text)
        if illegal is None:
            return text, True
        message = f"the character U+{ord(illegal[0]):04X} cannot stand in a configuration"
        self._illegal.append(Fault(Origin(self._path, number, illegal.start() + 1), "syntax", message))
        return text, False

    def _header(self, number: int, text: str) -> None:
        self._entry = None
        match = _HEADER.fullmatch(text)
        self._lost = match is None
        if match is None:
            self._section = None
            self._fault(number, 1, "this is not a section; write [kind] or [kind:instance] alone on a line")
            return
        self._section = _OpenSection(match[1], Origin(self._path, number, 1))
        self._sections.append(self._section)

    def _key(self, number: int, text: str, legal: bool) -> None:
        self._entry = None
        key, equals, _ = text.partition("=")
        # The line is not repeated in these messages: it may be a secret that lost its key.
        if not equals:
            self._fault(number, 1, "this is neither [section] nor 'key = value' nor a comment")
            return
        stripped = key.rstrip(_BLANK)
        if not stripped:
            self._fault(number, 1, "there is no key before the '='")
            return
        if self._section is None and not self._lost:
            self._fault(number, 1, "this key stands before the first [section]")
        entry = _OpenEntry(stripped, Origin(self._path, number, 1))
        self._entry = entry
        self._value(entry, number, text, len(key) + 1, legal)
        if self._section is None:
            return
        first = self._section.entries.setdefault(stripped, entry)
        if first is not entry:
            message = f"this key stands in [{self._section.name}] already, at {first.origin}"
            self._fault(number, 1, message, "duplicate-key")

    def _continuation(self, number: int, text: str, legal: bool) -> None:
        start = len(text) - len(text.lstrip(_BLANK))
        if self._entry is None:
            self._fault(
                number,
                start + 1,
                "this line is indented, but there is no value above that it continues; keys begin in column 1",
            )
            return
        self._value(self._entry, number, text, start, legal)

    def _value(self, entry: _OpenEntry, number: int, raw: str, start: int, legal: bool) -> None:
        """Take what stands from `start` on as one line of a value."""
        start = len(raw) - len(raw[start:].lstrip(_BLANK))
        end, quotes, counted, bare = len(raw), 0, start, False
        pieces, piece = [], start
        taken: list[int] = []
        for mark in _MARK.finditer(raw, start):
            quotes += raw.count('"', counted, mark.start())
            counted = mark.start()
            if mark[1]:
                pieces.append(raw[piece : mark.start()])
                piece = mark.start() + 1
                taken.append(mark.start() - start - len(taken))
            elif quotes % 2:
                bare = True
            else:
                end = mark.start()
                break
        pieces.append(raw[piece:end])
        if bare and (quotes + raw.count('"', counted, end)) % 2:
            legal = False
            column = raw.rindex('"', start, end) + 1
            self._fault(number, column, "this quote has no partner, so a # or ; on its line may be a comment or not")
        entry.faulty |= not legal
        entry.lines.append(Line("".join(pieces).rstrip(_BLANK), number, start + 1, tuple(taken)))
