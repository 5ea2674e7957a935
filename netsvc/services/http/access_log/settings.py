"""The options of the access log, which the settings of the http kind inherit. Imports no Twisted."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option


def yes_no_or_file() -> ValueType[bool | Path]:
    """Either yes or no, or else a path (``./yes`` for a file of that name)."""
    either, path = values.boolean(), values.path()

    def parse(text: str, context: Context) -> bool | Path:
        if text.lower() in ("yes", "no", "true", "false", "on", "off", "1", "0"):
            return either.parse(text, context)
        found = path.parse(text, context)
        assert found is not None  # noqa: S101  (only 'none' of an optional value is)
        return found

    def show(value: bool | Path) -> str:
        return either.show(value) if isinstance(value, bool) else str(value)

    return ValueType(name="path", bounds="yes, no, or a file", parse=parse, show=show)


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class AccessLogSettings:
    """What is recorded of requests."""

    access_log: bool | Path = option(
        yes_no_or_file(),
        default=True,
        help="Record every request: 'yes' in the daemon's log, or in a file, which may be moved away at any time.",
    )
    access_log_format: str = option(
        values.choice("combined", "text", "json"),
        default="combined",
        help="Lines of that file: Apache's 'combined' (499 is an aborted request), 'text' (combined, then request id, "
        "seconds and 'aborted'), or 'json'.",
    )
