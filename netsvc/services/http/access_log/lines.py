r"""One line for each request, in Apache's combined format, with more behind it, or in JSON. No I/O, no Twisted.

    HOST - USER [TIME] "REQUEST LINE" STATUS OCTETS "REFERER" "USER-AGENT"

What peers sent is escaped as Apache's mod_log_config does it (``\"``, ``\\``, ``\n``, ``\xhh`` for all that is not
visible ASCII), so that nobody forges a line, a field of one, or moves a terminal's cursor.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from netsvc.services.http.exchange import RequestHead

CLOSED_EARLY: Final = 499  # in combined lines, which have no other place to say it; nginx's number, known to analysers
_REMEMBERED = 512  # heads whose escaped parts are kept; as many as wire.py remembers

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in no locale
_SAFE = re.compile(rb"[ !#-\[\]-~]*")
_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")
_NAMED = {0x22: '\\"', 0x5C: "\\\\", 0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0B: "\\v", 0x0D: "\\r"}


class Record(NamedTuple):  # an attrs class takes five times as long to make
    """What became of one request.

    :param when: seconds since the epoch, at the end of the answer.
    :param peer: its address; "" on UNIX sockets.
    :param head: of the request; None when what came was none.
    :param octets: of the answer's body that were sent, without framing.
    :param request_id: the word by which other events name the request; "" when there can be none.
    :param aborted: the answer is not whole; status 0 when none had begun.
    :param seconds: from the head to the end of the answer; None when it was answered at once from memory.
    :param reason: one phrase for what was no request, or "".
    """

    when: float
    peer: str
    status: int
    head: RequestHead | None = None
    octets: int = 0
    request_id: str = ""
    aborted: bool = False
    user: str = ""
    seconds: float | None = None
    port: int = 0
    secure: bool = False
    reason: str = ""


Format = Callable[[Record], str]


def escaped(octets: bytes) -> str:
    """Octets for between two quotation marks of a line."""
    if _SAFE.fullmatch(octets):
        return octets.decode("ascii")
    return _UNSAFE.sub(lambda found: (_NAMED.get(found[0][0]) or f"\\x{found[0][0]:02x}").encode(), octets).decode()


def escaped_word(text: str) -> str:
    """Text for where a space would end it; "-" for none."""
    return escaped(text.encode("utf-8", "backslashreplace")).replace(" ", "\\x20") or "-"


def apache_time(when: float) -> str:
    """Seconds since the epoch as ``[10/Oct/2000:13:55:36 -0700]``, local time."""
    local = time.localtime(when)
    minutes = local.tm_gmtoff // 60
    sign = "-" if minutes < 0 else "+"
    hours, minutes = divmod(abs(minutes), 60)
    return (
        f"[{local.tm_mday:02}/{_MONTHS[local.tm_mon - 1]}/{local.tm_year}:"
        f"{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02} {sign}{hours:02}{minutes:02}]"
    )


def rfc3339(when: float) -> str:
    """Seconds since the epoch as ``2000-10-10T20:55:36.250Z`` (RFC 3339), cut to milliseconds."""
    milliseconds = int(when * 1000)
    at = time.gmtime(milliseconds // 1000)
    return (
        f"{at.tm_year:04}-{at.tm_mon:02}-{at.tm_mday:02}T{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
        f".{milliseconds % 1000:03}Z"
    )


def _version(head: RequestHead) -> str:
    return f"{head.version[0]}.{head.version[1]}"


class _Remembered:
    """The text of a second, and that of a head that comes again, is made once."""

    def __init__(self, made: Callable[[RequestHead], tuple[str, str]]) -> None:
        self._second = -1
        self._time = ""
        self._made = made
        self._parts: dict[int, tuple[RequestHead, str, str]] = {}

    def _of(self, head: RequestHead) -> tuple[str, str]:
        known = self._parts.get(id(head))
        if known is None or known[0] is not head:
            if len(self._parts) >= _REMEMBERED:
                del self._parts[next(iter(self._parts))]
            known = self._parts[id(head)] = (head, *self._made(head))
        return known[1], known[2]


def _combined_parts(head: RequestHead) -> tuple[str, str]:
    """The quoted request line, and referer with user agent."""
    agents = " ".join(f'"{escaped(head.first(name) or b"-")}"' for name in (b"referer", b"user-agent"))
    return f'"{head.method} {escaped(head.target)} HTTP/{_version(head)}"', agents


class Combined(_Remembered):
    """Makes combined lines."""

    def __init__(self) -> None:
        super().__init__(_combined_parts)

    def __call__(self, record: Record) -> str:
        """One line, without its end."""
        return self.line(record, CLOSED_EARLY if record.aborted else record.status)

    def line(self, record: Record, status: int) -> str:
        """One line with a status of the caller's choice."""
        second = int(record.when)
        if second != self._second:
            self._second, self._time = second, apache_time(second)
        request, agents = ('"-"', '"-" "-"') if record.head is None else self._of(record.head)
        octets = record.octets or "-"
        user = escaped_word(record.user) if record.user else "-"
        return f"{record.peer or '-'} - {user} {self._time} {request} {status} {octets} {agents}"


class Text(Combined):
    """Combined lines, then request id, seconds, and ``aborted`` where it is so."""

    def __call__(self, record: Record) -> str:
        """One line, without its end."""
        seconds = "-" if record.seconds is None else f"{record.seconds:.6f}"
        line = f"{self.line(record, record.status)} {record.request_id or '-'} {seconds}"
        return f"{line} aborted" if record.aborted else line


def _quoted(text: str | bytes | None) -> str:
    """A JSON string in visible ASCII, or null; octets are UTF-8, or else spelled out."""
    if text is None:
        return "null"
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return json.dumps(text).replace("\x7f", "\\u007f")


def _json_parts(head: RequestHead) -> tuple[str, str]:
    """What the request line says, and referer with user agent."""
    return (
        f'"method":{_quoted(head.method)},"target":{_quoted(head.target)},"host":{_quoted(head.host)},'
        f'"version":"{_version(head)}"',
        f'"referer":{_quoted(head.first(b"referer"))},"user_agent":{_quoted(head.first(b"user-agent"))}',
    )


class Json(_Remembered):
    """Makes one JSON object for each line, ASCII only; what is not known is null."""

    def __init__(self) -> None:
        super().__init__(_json_parts)

    def __call__(self, record: Record) -> str:
        """One line, without its end."""
        milliseconds = int(record.when * 1000)
        second = milliseconds // 1000
        if second != self._second:
            self._second, self._time = second, rfc3339(second)[:-5]  # without its .000Z
        request, agents = _NO_REQUEST if record.head is None else self._of(record.head)
        seconds = "null" if record.seconds is None else f"{record.seconds:.6f}"
        return (
            f'{{"time":"{self._time}.{milliseconds % 1000:03}Z","request_id":{_quoted(record.request_id or None)},'
            f'"peer":{_quoted(record.peer)},"port":{record.port},"user":{_quoted(record.user or None)},{request},'
            f'"status":{record.status},"octets":{record.octets},"seconds":{seconds},{agents},'
            f'"tls":{"true" if record.secure else "false"},"aborted":{"true" if record.aborted else "false"}'
            + (f',"reason":{_quoted(record.reason)}}}' if record.reason else "}")
        )


_NO_REQUEST = ('"method":null,"target":null,"host":null,"version":null', '"referer":null,"user_agent":null')


def line_format(name: str) -> Format:
    """The format that an option's value names."""
    makers: dict[str, Callable[[], Format]] = {"combined": Combined, "text": Text, "json": Json}
    return makers[name]()
