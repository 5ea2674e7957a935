"""Writes log events: lines for people, or one JSON object a line. Never raises, whatever an event holds.

A line of text is ``TIME LEVEL [SECTION or NAMESPACE] MESSAGE``; tracebacks follow, indented. Whatever a peer managed
to get into an event can neither forge a line nor drive a terminal: all that is not printable is spelled out
(:func:`netsvc.errors.printable`). Times are UTC with milliseconds: ``2026-01-31T12:00:00.123Z`` (RFC 3339).

A JSON object has ``time``, ``level``, ``namespace``, ``event`` (when the event has that key), ``message``, the event's
own fields, and ``traceback``. Numbers, booleans and null stay what they are; everything else becomes text. An event's
own field cannot have the name of one of these.

A log that cannot be written never stops the daemon: the line is lost and counted.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.errors import printable
from netsvc.runtime.log_file import ReopeningFile, open_log_file

__all__ = [
    "Observer",
    "ReopeningFile",
    "as_json",
    "as_text",
    "json_observer",
    "open_log_file",
    "show_time",
    "text_observer",
]

Level = Any  # one of twisted.logger.LogLevel's constants, which have no type of their own

LONGEST_MESSAGE = 8192  # characters; what a peer sends is logged in part
LONGEST_FIELD = 4096  # characters of one field of a JSON object
LONGEST_TRACEBACK = 65536  # characters

_INDENT = "    "
_FORMATS = 256  # formats whose nature is remembered: netsvc has fewer, and each is used again and again
# A format that str.format_map understands as Twisted does: names of fields and nothing that is called or looked into.
_PLAIN_FORMAT = re.compile(r"(?:[^{}]|\{\{|\}\}|\{[A-Za-z_][A-Za-z0-9_]*(?:![rs])?\})*")
_LEVEL_TYPE = type(LogLevel.info)

# What the log of twisted.python, and its bridge between the two systems, adds to an event for its own use.
_LEGACY = frozenset(
    {
        "format",
        "isError",
        "why",
        "failure",
        "system",
        "time",
        "message",
        "eventSource",
        "eventType",
        "protocol",
        "logLevel",
    }
)
_OURS = frozenset({"time", "level", "namespace", "event", "message", "traceback"})

# Twisted's own talk that comes with every factory, port or connection. Demoted to debug, not dropped.
_CHATTER_FORMATS = frozenset({"Starting factory {factory!r}", "Stopping factory {factory!r}"})
_CHATTER_TEXT = re.compile(
    r"(<class \S+>|\S+) starting on .*|(Starting|Stopping) protocol <.*>|\(.*Port .* Closed\)", re.DOTALL
)
_CHATTER_NAMESPACES = ("twisted.conch.", "twisted.web.", "twisted.mail.", "twisted.names.", "twisted.protocols.")


class Stream(Protocol):
    """What a log is written to."""

    def write(self, text: str, /) -> object:
        """Take one event, whole lines."""

    def flush(self) -> object:
        """Pass on what was taken."""


@implementer(ILogObserver)
class Observer:
    """Writes events of some level and above to a stream.

    :param stream: where to; must not be a stream that itself logs (twistd replaces ``sys.stdout`` by such a one).
    :param render: event, its level -> lines with their ends.
    :param level: the lowest level that is written.
    :param on_lost: called for each event that could not be written; may count, must not log.
    """

    def __init__(
        self,
        stream: Stream,
        render: Callable[[dict[str, Any], Level], str],
        level: str | Level,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self._stream = stream
        self._render = render
        self._on_lost = on_lost
        self._writing: set[int] = set()  # threads that are in __call__: a stream that logs must not come back here
        self.level: Level = LogLevel.levelWithName(level) if isinstance(level, str) else level
        self.lost = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Write one event. Never raises."""
        thread = threading.get_ident()
        if thread in self._writing:
            self._count_lost()
            return
        self._writing.add(thread)
        try:
            level = _level(event)
            if level < self.level:
                return
            text = self._render(event, level)
            if text:
                self._stream.write(text)
                self._stream.flush()
        except Exception:  # noqa: BLE001  nothing that is logged may end what logs it
            self._count_lost()
        finally:
            self._writing.discard(thread)

    def _count_lost(self) -> None:
        self.lost += 1
        if self._on_lost is not None:
            self._on_lost()


def text_observer(stream: Stream, level: str | Level = "info", on_lost: Callable[[], object] | None = None) -> Observer:
    """An observer that writes lines for people."""
    return Observer(stream, as_text, level, on_lost)


def json_observer(stream: Stream, level: str | Level = "info", on_lost: Callable[[], object] | None = None) -> Observer:
    """An observer that writes one JSON object a line."""
    return Observer(stream, as_json, level, on_lost)


def show_time(seconds: Any) -> str:
    """Seconds since 1970 as UTC with milliseconds; ``-`` for what is no time."""
    try:
        whole, micro = divmod(round(seconds * 1e6), 1_000_000)
        return f"{_show_second(whole)}.{micro // 1000:03}Z"
    except (TypeError, ValueError, OverflowError, OSError):
        return "-"


@lru_cache(maxsize=2)  # events come second by second
def _show_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def as_text(event: dict[str, Any], level: Level) -> str:
    """An event as lines for people; empty when it says nothing."""
    message, traceback = _message(event), _traceback(event)
    if not message and not traceback:
        return ""
    where = _field(event, "service") or _field(event, "queue") or _room(_field(event, "log_namespace"))
    prefix = f"[{where}] "
    if message.startswith(prefix):  # the message says it already
        prefix = ""
    head = f"{show_time(event.get('log_time'))} {level.name} {prefix}{message}\n"
    return head + "".join(f"{_INDENT}{printable(line.expandtabs())}\n" for line in traceback.split("\n") if line)


def as_json(event: dict[str, Any], level: Level) -> str:
    """An event as one JSON object and a newline; empty when it says nothing."""
    message, traceback = _message(event), _traceback(event)
    if not message and not traceback and "event" not in event:
        return ""
    made: dict[str, Any] = {
        "time": show_time(event.get("log_time")),
        "level": level.name,
        "namespace": _field(event, "log_namespace"),
    }
    if "event" in event:
        made["event"] = _field(event, "event")
    made["message"] = message
    for name, value in event.items():
        if isinstance(name, str) and not name.startswith("log_") and name not in _LEGACY and name not in _OURS:
            made[printable(name)] = _plain(value)
    if traceback:
        made["traceback"] = traceback
    return _escape_json(json.dumps(made, ensure_ascii=False, allow_nan=False)) + "\n"


def _room(namespace: str) -> str:
    """Where an event came from, for people: the kind or room of netsvc, ``twisted``, or the namespace as it is."""
    match namespace.split("."):
        case ["netsvc", "services", kind, *_]:
            return kind
        case ["netsvc", room, *_]:
            return room
        case ["twisted", *_]:
            return "twisted"
    return namespace or "-"


def _level(event: dict[str, Any]) -> Level:
    level = event.get("log_level")
    if not isinstance(level, _LEVEL_TYPE):
        return LogLevel.critical if "log_failure" in event else LogLevel.info
    return LogLevel.debug if level is LogLevel.info and _is_chatter(event) else level


def _is_chatter(event: dict[str, Any]) -> bool:
    if event.get("log_format") in _CHATTER_FORMATS:
        return True
    namespace = event.get("log_namespace")
    if not isinstance(namespace, str):
        return False
    if namespace == "log_legacy":
        text = event.get("log_text")
        return isinstance(text, str) and _CHATTER_TEXT.fullmatch(text) is not None
    return namespace.startswith(_CHATTER_NAMESPACES)


def _is_legacy_error(event: dict[str, Any]) -> bool:
    """Whether it comes from twisted.python.log.err: its text is `why` and the traceback in one."""
    return "log_text" in event and "failure" in event and bool(event.get("isError")) and not event.get("message")


def _message(event: dict[str, Any]) -> str:
    text = _text(event.get("why") or "Unhandled Error") if _is_legacy_error(event) else _formatted(event)
    return printable(_cut(text, LONGEST_MESSAGE))


def _formatted(event: dict[str, Any]) -> str:
    """The same as formatEvent, at a tenth of its price for the formats that nearly all events have."""
    form = event.get("log_format")
    if isinstance(form, str) and "log_flattened" not in event and _is_plain(form):
        try:
            return form.format_map(event)
        except Exception:  # noqa: BLE001  formatEvent says what is wrong with it
            return formatEvent(event)
    return formatEvent(event)


@lru_cache(maxsize=_FORMATS)
def _is_plain(form: str) -> bool:
    return _PLAIN_FORMAT.fullmatch(form) is not None


def _traceback(event: dict[str, Any]) -> str:
    failure = event.get("failure") if _is_legacy_error(event) else event.get("log_failure")
    if failure is None:
        return ""
    try:
        text = failure.getTraceback() if isinstance(failure, Failure) else _text(failure)
    except Exception as error:  # noqa: BLE001  a traceback is made of strangers' reprs
        text = f"(no traceback: {type(error).__name__})"
    return _cut(text.rstrip("\n"), LONGEST_TRACEBACK)


def _field(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return "" if value is None else printable(_cut(_text(value), LONGEST_FIELD))


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and value.bit_length() <= 64:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    return _cut(_text(value), LONGEST_FIELD)


def _text(value: Any) -> str:
    """str() of anything."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  as above
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text) - longest} characters more)"


def _escape_json(text: str) -> str:
    r"""JSON whose strings hold nothing unprintable: the rest as ``\uXXXX`` (RFC 8259 section 7)."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _utf16_escapes(one) for one in text)


def _utf16_escapes(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
