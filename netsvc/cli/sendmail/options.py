"""Reads sendmail's command line: its own flags and, as Postfix and msmtp do, those that mean nothing here. No I/O.

Flags are as in getopt(3): several may stand in one word, a value is the rest of the word or the next one. What only
tunes the old daemon (``-o`` but ``-oi``, ``-O``, ``-C``, ``-X``, ``-A``, ``-L``, ``-D``, ``-d``, ``-e``, ``-h``,
``-p``, ``-B``, ``-G``, ``-U``, ``-c``, ``-m``, ``-n``, ``-x``) is accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_ALONE = frozenset("GUcmnx")  # ignored
_VALUED = frozenset("ABCDLOXehp")  # ignored with their values
_MODES = {"m": "deliver", "s": "smtp", "p": "queue", "v": "verify", "i": "aliases"}
_NAMES = {"mailq": "queue", "newaliases": "aliases"}  # argv[0], as sendmail(8) has it
_NOTIFY = frozenset({"success", "failure", "delay"})  # RFC 3461 4.1; or never, alone
EXAMPLE = "printf 'To: ann@example.com\\nSubject: hello\\n\\ntext\\n' | netsvc-sendmail -t"
MAX_ENVID = 100  # characters, RFC 3461 4.4


class UsageError(Exception):
    """The command line is not understood."""


class Options(NamedTuple):
    """What was asked.

    :param mode: deliver, smtp, queue, verify, aliases or flush.
    :param sender: of ``-f`` or ``-r`` as given, or None.
    :param full_name: of ``-F``.
    :param dot_ends: a line with only a dot ends the message.
    :param from_header: recipients are read from the message as well.
    :param notify: lower case; empty: not said.
    :param ret: full, hdrs or None.
    :param flush_what: for flush: ``I`` (queue id) or ``R`` (recipient's domain), with its value; empty: everything.
    """

    mode: str = "deliver"
    sender: str | None = None
    full_name: str | None = None
    dot_ends: bool = True
    from_header: bool = False
    notify: tuple[str, ...] = ()
    ret: str | None = None
    envid: str = ""
    verbose: bool = False
    flush_what: str = ""
    recipients: tuple[str, ...] = ()


class _Words:
    """The command line, letter by letter."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(reversed(words))
        self._rest = ""

    def flag(self) -> str | None:
        """The next letter of a flag; None where the recipients begin."""
        if not self._rest:
            if not self._words or not self._words[-1].startswith("-") or self._words[-1] == "-":
                return None
            word = self._words.pop()
            if word == "--":
                return None
            if word.startswith("--"):
                raise UsageError(f"there is no option {word}; the flags are those of sendmail(8), as in: {EXAMPLE}")
            self._rest = word[1:]
        letter, self._rest = self._rest[0], self._rest[1:]
        return letter

    def attached(self) -> str:
        """What is left of the word."""
        found, self._rest = self._rest, ""
        return found

    def value(self, letter: str) -> str:
        """The value of a flag."""
        if self._rest:
            return self.attached()
        if not self._words:
            raise UsageError(f"-{letter} needs a value")
        return self._words.pop()

    def left(self) -> tuple[str, ...]:
        """The words behind the flags."""
        return tuple(reversed(self._words))


def parse(program: str, words: Sequence[str]) -> Options:
    """Read a command line.

    :param program: argv[0].
    :raises UsageError: it is not understood.
    """
    name = program.rpartition("/")[2]
    options = Options(mode=_NAMES.get(name, "deliver"))
    line = _Words(words)
    while (letter := line.flag()) is not None:
        options = _apply(options, letter, line)
    return options._replace(recipients=line.left())


def _apply(options: Options, letter: str, line: _Words) -> Options:
    match letter:
        case "t":
            return options._replace(from_header=True)
        case "i":
            return options._replace(dot_ends=False)
        case "v":
            return options._replace(verbose=True)
        case "I":
            return options._replace(mode="aliases")
        case "f" | "r":
            return options._replace(sender=line.value(letter))
        case "F":
            return options._replace(full_name=line.value(letter))
        case "o":
            return options._replace(dot_ends=False) if line.value(letter) == "i" else options
        case "b":
            return options._replace(mode=_mode(line.value(letter)))
        case "N":
            return options._replace(notify=_notify(line.value(letter)))
        case "R":
            return options._replace(ret=_ret(line.value(letter)))
        case "V":
            return options._replace(envid=_envid(line.value(letter)))
        case "q":
            return _flush(options, line.attached())
        case "d":
            line.attached()
            return options
    if letter in _VALUED:
        line.value(letter)
    elif letter not in _ALONE:
        raise UsageError(f"there is no option -{letter}")
    return options


def _mode(value: str) -> str:
    if value not in _MODES:
        raise UsageError(f"-b{value} is not for this program: the daemon is twistd netsvc")
    return _MODES[value]


def _flush(options: Options, value: str) -> Options:
    """``-q`` flushes; ``-qI`` and ``-qR`` narrow it; ``-q15m`` sets up the old daemon and means nothing here."""
    if value[:1] in ("I", "R") and len(value) > 1:
        return options._replace(mode="flush", flush_what=value)
    if value and not value[0].isdigit():
        raise UsageError(f"-q{value} is not understood; there are -q, -qIQUEUEID and -qRDOMAIN")
    return options if value else options._replace(mode="flush", flush_what="")


def _notify(value: str) -> tuple[str, ...]:
    wishes = tuple(one.strip().lower() for one in value.split(","))
    if wishes != ("never",) and (not set(wishes) <= _NOTIFY or len(set(wishes)) < len(wishes)):
        raise UsageError(f"-N {value} is neither never nor some of success,failure,delay")
    return wishes


def _ret(value: str) -> str:
    if value.lower() not in ("full", "hdrs"):
        raise UsageError(f"-R {value} is neither full nor hdrs")
    return value.lower()


def _envid(value: str) -> str:
    if not (value.isascii() and value.isprintable() and 0 < len(value) <= MAX_ENVID):
        raise UsageError(f"-V has 1 to {MAX_ENVID} printable ASCII characters")
    return value
