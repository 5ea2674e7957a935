"""Log events on their way from an agent into the daemon's log, which is the only one."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure

from netsvc.services.smtp_client.agents.wire import BrokenFrameError

_TWISTED = ("twisted.", "log_legacy")  # speaks of every factory and connection


def to_head(event: dict[str, Any]) -> Any:
    """What is said of an event, or None where the daemon would not log it."""
    level = event.get("log_level")
    namespace = str(event.get("log_namespace", ""))
    failure = event.get("log_failure")
    if level is None or (namespace.startswith(_TWISTED) and level < LogLevel.warn):
        return None
    trace = failure.getTraceback() if isinstance(failure, Failure) else ""
    fields = {name: _plain(value) for name, value in event.items() if not name.startswith("log_")}
    return [namespace, level.name, formatEvent(event), fields, trace]


def tell(head: Any) -> None:
    """Log what an agent said.

    :raises BrokenFrameError: this is no event.
    """
    try:
        namespace, name, text, fields, trace = head
        level = LogLevel.levelWithName(name)
        logger = Logger(namespace=str(namespace))
        kept = {str(key): value for key, value in fields.items() if not str(key).startswith("log_")}
    except Exception:  # noqa: BLE001 - whatever it is, it is no event
        raise BrokenFrameError("an event that is none") from None
    if trace:
        kept["log_failure"] = _Told(str(trace))
    logger.emit(level, str(text).replace("{", "{{").replace("}", "}}"), **kept)


class _Told(Failure):
    """A failure of which only its traceback is left, as text."""

    def __init__(self, trace: str) -> None:
        super().__init__(RuntimeError("a fault in a delivery agent"))  # type: ignore[no-untyped-call]
        self._trace = trace

    def getTraceback(self, *_: Any, **__: Any) -> str:
        """The agent's."""
        return self._trace


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
