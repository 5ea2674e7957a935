"""One thing that is wrong with a script, or worth knowing."""

from __future__ import annotations

from attrs import frozen

ERROR, WARNING, NOTE = "error", "warning", "note"


@frozen(order=True)
class Problem:
    """What is wrong, and what to do about it.

    :param file: relative to the directory that was checked; "" is the directory itself.
    :param line: 1-based; 0 is the whole file.
    :param level: "error": it does not work; "warning": it may not, or is unsafe; "note": good to know.
    :param code: a stable word for programs.
    :param message: one sentence.
    :param remedy: what to do, a command where one does it; "" when there is nothing to do.
    :param details: further lines: a difference, or what a script complained of.
    """

    file: str
    line: int
    level: str
    code: str
    message: str
    remedy: str = ""
    details: tuple[str, ...] = ()
