"""Builds a MIME message from what a person types: any script in names, subject, text and file names. Stdlib only.

The body is the standard library's (email.message); the fields at the top are written here, because its folding drops
quotes and splits what must stay together in long display names. Header fields leave as ASCII (RFC 2047 encoded words),
but for addresses whose local part is not ASCII: these need SMTPUTF8 (RFC 6532), and the message says so.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html.parser import HTMLParser
from mimetypes import MimeTypes
from typing import NamedTuple

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.domains import a_labels
from netsvc.services.smtp_client.submission_wire import check_address, check_name

MAX_PLAIN_LINE = 900  # characters of text that is not encoded: below the 998 of RFC 5322 2.1.1
LINE = 78  # characters of a header line, RFC 5322 2.1.1
_ENCODED_OCTETS = 42  # of UTF-8 in one encoded word: 56 of base64 and 12 around it stay under the 75 of RFC 2047 2

_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")  # atext and space: a display name that needs no quotes
_ADDRESS_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<comment>\((?:[^()\\]|\\.)*\))"""
    r"""|(?P<angle><(?:[^"<>]|"(?:[^"\\]|\\.)*")*>)|(?P<comma>,)|(?P<text>[^"(<>,]+)"""
)
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 2.2
_CONTENT_FIELDS = ("type", "transfer-encoding", "disposition", "id", "description")
_OURS = frozenset(
    ("from", "to", "cc", "bcc", "subject", "date", "message-id", "mime-version", "received", "return-path")
) | frozenset(f"content-{one}" for one in _CONTENT_FIELDS)
_ADDRESS_FIELDS = frozenset(("reply-to", "sender", "mail-followup-to", "disposition-notification-to"))
# What offices send; Python 3.11 does not know them without a mime.types file, and the machine may have none.
_TYPES = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".7z": "application/x-7z-compressed",
    ".webp": "image/webp",
    ".md": "text/markdown",
}
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class Mailbox(NamedTuple):
    """One address with the name that is shown.

    :param name: in any script; may be empty.
    :param address: ``local@domain``; the domain is ASCII (an IDN is in its A-label form). Or a name that ``origin`` or
        ``aliases`` complete.
    """

    name: str
    address: str


class Attachment(NamedTuple):
    """A file that goes along.

    :param name: its name without directories, in any script.
    :param media_type: (type, subtype), such as (image, png); None is what the name says.
    """

    name: str
    content: bytes
    media_type: tuple[str, str] | None = None


class Built(NamedTuple):
    """A message and its envelope.

    :param smtputf8: an address needs a server with SMTPUTF8.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    smtputf8: bool


class Draft(NamedTuple):
    """What a person gave.

    :param html: the HTML form of the text, or None.
    :param headers: further fields: (name, value).
    """

    sender: Mailbox
    to: Sequence[Mailbox] = ()
    cc: Sequence[Mailbox] = ()
    bcc: Sequence[Mailbox] = ()
    subject: str = ""
    text: str = ""
    html: str | None = None
    attachments: Sequence[Attachment] = ()
    headers: Sequence[tuple[str, str]] = ()


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Read ``a@x``, ``Name <a@x>``, and several of them with commas between; or one name without a domain, alone.

    In a list such a name would rather be the half of ``Doe, Ann <ann@x>``, which needs quotes.
    Not by email.utils: it makes two recipients of ``boss@x <me@x>``, or none, depending on the version of Python.

    :raises Refusal: it is not that, or an address is not valid.
    """
    _one_line(text, "the address")
    if "@" not in text and _ATOMS.fullmatch(text.strip()):
        return (Mailbox("", check_name(text.strip())),)
    found = tuple(_mailbox(tokens, text) for tokens in _between_commas(text))
    if not found:
        raise _no_address(text)
    return found


def _no_address(text: str) -> Refusal:
    return Refusal("5.1.3", f"{text!r} is not an address such as a@example.com or Name <a@example.com>")


def _between_commas(text: str) -> list[list[tuple[str, str]]]:
    """The tokens (kind, text) of each address of a list; an empty place in it is nothing (RFC 5322 4.4)."""
    parts: list[list[tuple[str, str]]] = [[]]
    at = 0
    while at < len(text):
        match = _ADDRESS_TOKEN.match(text, at)
        if match is None:
            raise _no_address(text)  # a quote, bracket or comment without its end
        at = match.end()
        if match.lastgroup == "comma":
            parts.append([])
        else:
            parts[-1].append((str(match.lastgroup), match[0]))
    return [part for part in parts if "".join(token for _, token in part).strip()]


def _mailbox(tokens: list[tuple[str, str]], text: str) -> Mailbox:
    while tokens[-1][0] == "text" and not tokens[-1][1].strip():
        tokens.pop()
    kinds = [kind for kind, _ in tokens]
    if "angle" not in kinds:  # a@x, or the old a@x (Name)
        name = " ".join(token[1:-1] for kind, token in tokens if kind == "comment")
        address = "".join(token for kind, token in tokens if kind != "comment").strip()
    elif kinds.count("angle") == 1 and kinds[-1] == "angle":
        name = "".join(_unquoted(token) if kind == "quoted" else token for kind, token in tokens[:-1])
        address = tokens[-1][1][1:-1].strip()
    else:
        raise _no_address(text)
    if not address:
        raise _no_address(text)
    return Mailbox(name.strip(), check_address(_ascii_domain(address)))


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def build(draft: Draft, *, now: datetime) -> Built:
    """Make the message.

    :param now: for Date, with a time zone.
    :raises Refusal: there is no recipient, or something would break the header.
    """
    recipients = tuple(dict.fromkeys(one.address for one in (*draft.to, *draft.cc, *draft.bcc)))
    if not recipients:
        raise Refusal("5.5.4", "there is no recipient")
    sender = draft.sender.address
    host = sender.rpartition("@")[2] if "@" in sender else "localhost"
    lines = [
        ("Date", [format_datetime(now)]),
        ("Message-ID", [f"<{secrets.token_hex(12)}@{host}>"]),
        ("From", _mailboxes([draft.sender])),
    ]
    for name, mailboxes in (("To", draft.to), ("Cc", draft.cc)):
        if mailboxes:
            lines.append((name, _mailboxes(mailboxes)))
    if not draft.to and not draft.cc:
        lines.append(("To", ["undisclosed-recipients:;"]))  # an empty group, RFC 5322 3.6.3 allows no To, people do not
    lines.append(("Subject", _unstructured(draft.subject, "the subject")))
    lines += [_further(name, value) for name, value in draft.headers]
    head = "".join(_fold(name, words) for name, words in lines)
    smtputf8 = not all(one.isascii() for one in (sender, *recipients, head))
    return Built(sender, recipients, head.encode() + _body(draft), smtputf8)


def _body(draft: Draft) -> bytes:
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))  # so that no server on the way needs 8BITMIME
    if draft.html is None:
        _set_text(message.set_content, draft.text, "plain")
    else:
        _set_text(message.set_content, draft.text or text_of(draft.html), "plain")
        _set_text(message.add_alternative, draft.html, "html")
    for one in draft.attachments:
        maintype, subtype = one.media_type or content_type(one.name)
        message.add_attachment(one.content, maintype=maintype, subtype=subtype, filename=_file_name(one.name))
    return message.as_bytes()


def _set_text(put: Callable[..., None], text: str, subtype: str) -> None:
    """Add text: as it is when it is plain ASCII in short lines, else in base64 with CRLF line ends (RFC 2045 6.8).

    Not left to email.contentmanager, which takes form feeds and U+2028 for line ends.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if all(one.isascii() and one.replace("\t", " ").isprintable() and len(one) <= MAX_PLAIN_LINE for one in lines):
        put(text, subtype=subtype, cte="7bit", charset="us-ascii")
    else:
        put("\r\n".join(lines).encode(), maintype="text", subtype=subtype, params={"charset": "utf-8"})


def content_type(name: str) -> tuple[str, str]:
    """The media type that a file's name stands for: (type, subtype).

    Types that need more than a name (message, multipart) are sent as octets, so that they arrive as they are.
    """
    kinds = MimeTypes(filenames=())
    for ending, kind in _TYPES.items():
        kinds.add_type(kind, ending)
    guessed, encoding = kinds.guess_type(f"/{name}", strict=False)  # a slash, lest "data:x" be read as a URL
    if encoding is not None:
        guessed = _COMPRESSED.get(encoding)
    maintype, _, subtype = (guessed or "application/octet-stream").partition("/")
    if maintype in ("message", "multipart"):
        return "application", "octet-stream"
    return maintype, subtype


class _Text(HTMLParser):
    """Collects what a person would read."""

    _BLOCKS = frozenset(("address", "blockquote", "br", "div", "dl", "dt", "dd", "hr", "li", "ol", "p", "pre", "table"))
    _BLOCKS |= frozenset(("h1", "h2", "h3", "h4", "h5", "h6", "tr", "ul"))
    _UNSEEN = frozenset(("script", "style", "title"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._unseen += tag in self._UNSEEN
        if tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in self._UNSEEN and self._unseen > 0
        if tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(re.sub(r"\s+", " ", data))


def text_of(html: str) -> str:
    """The words of an HTML page, for those who read plain text."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    lines = "".join(parser.parts).split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in lines)).strip() + "\n"


def _one_line(text: str, what: str) -> str:
    """The text, if it may stand in a header field; a line end in it would begin another field."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]", text):
        raise Refusal("5.6.0", f"{what} has a line end or another control character in it: {text!r}")
    return text


def _ascii_domain(address: str) -> str:
    """The address with an international domain in its A-label form, RFC 5890 2.3.2.1."""
    local, at, domain = address.rpartition("@")
    if not at:
        return address
    try:
        return local + at + a_labels(domain)
    except ValueError:
        raise Refusal("5.1.3", f"{domain!r} is not a domain") from None


def _mailboxes(mailboxes: Sequence[Mailbox]) -> list[str]:
    words: list[str] = []
    for number, (name, address) in enumerate(mailboxes):
        check_name(address)
        comma = "," if number < len(mailboxes) - 1 else ""
        words += [*_phrase(name), f"<{address}>{comma}"] if name else [address + comma]
    return words


def _phrase(name: str) -> list[str]:
    """A display name as words between which a line may be folded."""
    _one_line(name, "the name")
    name = " ".join(name.split())  # folding would make no difference between one space and two
    if not name.isascii() or len(name) > LINE - 10 or "=?" in name:
        return _encoded_words(name)
    if _ATOMS.fullmatch(name):
        return name.split(" ")
    return ['"' + re.sub(r'([\\"])', r"\\\1", name) + '"']


def _unstructured(text: str, what: str) -> list[str]:
    _one_line(text, what)
    words = text.split(" ")
    # Encoded as soon as folding could change it: not ASCII, space where a fold would eat it, a word too long for a
    # line. A shorter one stays whole: a Message-ID or a URL must not be encoded (RFC 2047 5).
    plain = text.isascii() and "=?" not in text and "\t" not in text
    plain = plain and all(0 < len(one) <= MAX_PLAIN_LINE for one in words)
    return words if plain or not text else _encoded_words(text)


def _encoded_words(text: str) -> list[str]:
    """RFC 2047 encoded words, none of which splits a character."""
    words: list[str] = []
    octets = b""
    for character in text:
        encoded = character.encode()
        if len(octets) + len(encoded) > _ENCODED_OCTETS:
            words.append(octets.decode())
            octets = b""
        octets += encoded
    words.append(octets.decode())
    return [f"=?utf-8?b?{base64.b64encode(word.encode()).decode()}?=" for word in words]


def _fold(name: str, words: Sequence[str]) -> str:
    lines, line = [], f"{name}:"
    for word in words:
        if len(line) + 1 + len(word) > LINE and line.strip():
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]) + "\r\n"


def _further(name: str, value: str) -> tuple[str, list[str]]:
    if not _FIELD_NAME.fullmatch(name):
        raise Refusal("5.6.0", f"{name!r} is not a header field's name")
    if name.lower() in _OURS:
        raise Refusal("5.6.0", f"the field {name} is not set this way")
    value = value.strip()
    if name.lower() in _ADDRESS_FIELDS:
        return name, _mailboxes(parse_mailboxes(value))
    return name, _unstructured(value, f"the field {name}")


def _file_name(name: str) -> str:
    """The name without directories, and with nothing in it that a header or a terminal would stumble over."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    bare = bare.encode("utf-8", "replace").decode()  # a name that is no UTF-8 has surrogates here
    return "".join(one if one.isprintable() else "_" for one in bare) or "attachment"
