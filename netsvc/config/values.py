"""The types of value an option can have. Text becomes a typed, immutable value here and nowhere else."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import frozen

from netsvc.config.options import Context, ValueType
from netsvc.errors import BadValue, together

T = TypeVar("T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SECONDS: dict[str, Fraction | int] = {"ms": Fraction(1, 1000), "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_OCTETS: dict[str, int] = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)[ \t]*([A-Za-z]*)")
_LONGEST_GUESSED = 64  # characters; nobody mistypes a longer word, and difflib is quadratic


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant, or None. A word that is known is no guess."""
    if len(word) > _LONGEST_GUESSED or word in known:
        return None
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def integer(minimum: int, maximum: int, *, unit: str = "") -> ValueType[int]:
    """A whole number from minimum to maximum."""

    def parse(text: str, _: Context) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise BadValue(f"{text!r} is not a whole number")
        value = int(text)
        if not minimum <= value <= maximum:
            raise BadValue(f"{value} is not within {minimum} to {maximum}")
        return value

    return ValueType(name="integer", unit=unit, bounds=f"{minimum} to {maximum}", parse=parse)


def optional(of: ValueType[T]) -> ValueType[T | None]:
    """Another type, or ``none``."""

    def parse(value: str, context: Context) -> T | None:
        return None if value == "none" else of.parse(value, context)

    def show(value: T | None) -> str:
        return "none" if value is None else of.show(value)

    bounds = f"none, or {of.bounds}" if of.bounds else "or none"
    return ValueType(
        name=of.name, unit=of.unit, bounds=bounds, parse=parse, show=show, none="none", multiline=of.multiline
    )


def boolean() -> ValueType[bool]:
    """Either yes or no: also true or false, on or off, 1 or 0."""

    def parse(text: str, _: Context) -> bool:
        word = text.lower()
        if word in _YES:
            return True
        if word in _NO:
            return False
        raise BadValue(f"{text!r} is neither yes nor no")

    return ValueType(name="boolean", bounds="yes or no", parse=parse, show=lambda value: "yes" if value else "no")


def text(*, longest: int = 4096, empty: bool = True) -> ValueType[str]:
    """Text of at most `longest` characters. Quotes around it keep spaces: ``" a "``."""

    def parse(raw: str, _: Context) -> str:
        value = raw[1:-1] if len(raw) >= 2 and raw[0] == raw[-1] == '"' else raw
        if len(value) > longest:
            raise BadValue(f"the text has {len(value)} characters, more than {longest}")
        if not value and not empty:
            raise BadValue("the text is empty")
        return value

    def show(value: str) -> str:
        return f'"{value}"' if not value or value != value.strip() or value[0] == value[-1] == '"' else value

    return ValueType(name="text", bounds=f"at most {longest} characters", parse=parse, show=show)


def choice(*words: str) -> ValueType[str]:
    """One of the words."""

    def parse(value: str, _: Context) -> str:
        if value not in words:
            raise BadValue(f"{value!r} is not one of {', '.join(words)}", suggestion=nearest(value, words))
        return value

    return ValueType(name="choice", bounds=" | ".join(words), parse=parse)


def choices(*words: str) -> ValueType[frozenset[str]]:
    """Any number of the words, separated by commas or space; ``none`` for none of them."""

    def parse(value: str, _: Context) -> frozenset[str]:
        if value == "none":
            return frozenset()
        found = set()
        for match in re.finditer(r"[^\s,]+", value):
            if match[0] not in words:
                message = f"{match[0]!r} is not one of {', '.join(words)}"
                raise BadValue(message, at=match.start(), suggestion=nearest(match[0], words))
            found.add(match[0])
        if not found:
            raise BadValue("the value is empty; write 'none' for none")
        return frozenset(found)

    def show(value: frozenset[str]) -> str:
        return " ".join(word for word in words if word in value) or "none"

    return ValueType(
        name="choices", bounds=f"none, or any of {', '.join(words)}", parse=parse, show=show, multiline=True
    )


def _quantity(value: str, units: Mapping[str, Fraction | int], example: str) -> Fraction:
    """A number and its unit, exactly: a float would make 0.3 of something less than it is."""
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise BadValue(f"{value!r} is not a number with a unit, such as {example}")
    number, unit = match.groups()
    if not unit and Fraction(number) == 0:
        return Fraction(0)
    if not unit:
        raise BadValue(f"{value!r} needs a unit ({', '.join(units)}), such as {example}")
    if unit not in units:
        folded = {one.lower(): one for one in units}
        likely = folded.get(unit.lower()) or nearest(unit, list(units))
        meant = f"{number}{likely}" if likely else None
        raise BadValue(f"{unit!r} is not a unit ({', '.join(units)})", at=match.start(2), suggestion=meant)
    return Fraction(number) * units[unit]


def show_duration(seconds: float) -> str:
    """Seconds as the shortest text with a unit that means exactly them: 300.0 -> '5m', 0.25 -> '250ms'."""
    exact = Fraction(repr(seconds))
    if not exact:
        return "0s"
    for unit in ("w", "d", "h", "m", "s"):
        if exact % _SECONDS[unit] == 0:
            return f"{exact / _SECONDS[unit]}{unit}"
    return f"{Decimal(repr(seconds)) * 1000:f}".rstrip("0").removesuffix(".") + "ms"


def duration(minimum: float, maximum: float) -> ValueType[float]:
    """A time span with a unit (ms, s, m, h, d, w), in seconds as a float."""

    def parse(value: str, _: Context) -> float:
        seconds = float(_quantity(value, _SECONDS, "30s or 5m"))
        if not minimum <= seconds <= maximum:
            raise BadValue(f"{value} is not within {show_duration(minimum)} to {show_duration(maximum)}")
        return seconds

    bounds = f"{show_duration(minimum)} to {show_duration(maximum)}"
    return ValueType(name="duration", unit="ms, s, m, h, d or w", bounds=bounds, parse=parse, show=show_duration)


def show_size(octets: int) -> str:
    """Octets as the shortest exact text with a unit: 65536 -> '64KiB'."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if octets and octets % _OCTETS[unit] == 0:
            return f"{octets // _OCTETS[unit]}{unit}"
    return f"{octets}B"


def size(minimum: int, maximum: int) -> ValueType[int]:
    """A number of octets with a unit (B, KiB, MiB, GiB, TiB)."""

    def parse(value: str, _: Context) -> int:
        octets = _quantity(value, _OCTETS, "64KiB")
        if octets.denominator != 1:
            raise BadValue(f"{value} is not a whole number of octets")
        if not minimum <= octets <= maximum:
            raise BadValue(f"{value} is not within {show_size(minimum)} to {show_size(maximum)}")
        return int(octets)

    bounds = f"{show_size(minimum)} to {show_size(maximum)}"
    return ValueType(name="size", unit="B, KiB, MiB, GiB or TiB", bounds=bounds, parse=parse, show=show_size)


@frozen
class Rate:
    """So many events in so long a time.

    :param count: how many may come at once and in each period.
    :param period: seconds.
    """

    count: int
    period: float

    @property
    def per_second(self) -> float:
        """The rate in events a second."""
        return self.count / self.period

    def __str__(self) -> str:
        spelled = show_duration(self.period)
        return f"{self.count}/{spelled[1:] if spelled[0] == '1' and not spelled[1].isdigit() else spelled}"


def rate(*, most: int = 10_000_000) -> ValueType[Rate | None]:
    """A count by a time (``10/s``, ``100/5m``), or ``none``. The count is also the burst."""

    def parse(value: str, _: Context) -> Rate | None:
        if value == "none":
            return None
        match = re.fullmatch(r"([0-9]{1,9})[ \t]*/[ \t]*([0-9]{0,9})[ \t]*([A-Za-z]+)", value)
        if match is None:
            raise BadValue(f"{value!r} is not a rate such as 10/s or 100/5m")
        count, number, unit = match.groups()
        if unit not in _SECONDS:
            likely = unit.lower() if unit.lower() in _SECONDS else nearest(unit, list(_SECONDS))
            meant = f"{count}/{number}{likely}" if likely else None
            raise BadValue(f"{unit!r} is not a unit ({', '.join(_SECONDS)})", at=match.start(3), suggestion=meant)
        period = float(int(number or 1) * _SECONDS[unit])
        if not 1 <= int(count) <= most or period <= 0:
            raise BadValue(f"{value} is not 1 to {most} in a time longer than none")
        return Rate(int(count), period)

    def show(value: Rate | None) -> str:
        return "none" if value is None else str(value)

    return ValueType(
        name="rate",
        unit="events by ms, s, m, h, d or w",
        bounds="none, or COUNT/TIME",
        parse=parse,
        show=show,
        none="none",
    )


def items(
    one: Callable[[str], T], *, name: str, bounds: str = "", show: Callable[[T], str] = str
) -> ValueType[tuple[T, ...]]:
    """Many values, separated by commas, spaces or lines; `one` parses each and raises BadValue."""

    def parse(value: str, _: Context) -> tuple[T, ...]:
        found, wrong = [], []
        for match in re.finditer(r"[^\s,]+", value):
            try:
                found.append(one(match[0]))
            except BadValue as bad:
                wrong.append(BadValue(bad.message, at=match.start() + bad.at, suggestion=bad.suggestion))
        if wrong:
            raise together(wrong)
        return tuple(found)

    def show_all(values: tuple[T, ...]) -> str:
        return ", ".join(map(show, values))

    return ValueType(name=name, bounds=bounds, parse=parse, show=show_all, multiline=True)


def network(value: str) -> Network:
    """A CIDR network or a single address; v4-mapped v6 is folded to v4."""
    try:
        found = ipaddress.ip_network(value)
    except ValueError:
        try:
            meant = str(ipaddress.ip_network(value, strict=False))
        except ValueError:
            raise BadValue(f"{value!r} is not a network such as 192.0.2.0/24 or 2001:db8::/32") from None
        raise BadValue(f"{value!r} has host bits set", suggestion=meant) from None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= 96:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, found.prefixlen - 96))
    return found


def networks() -> ValueType[tuple[Network, ...]]:
    """CIDR networks and addresses, separated by commas, spaces or lines."""
    return items(network, name="networks", bounds="CIDR, such as 192.0.2.0/24 or ::1")


def resolve(value: str, context: Context) -> Path:
    """A path as it stands in a file, made absolute: from that file's directory, ``~`` being a home directory."""
    if "\0" in value:
        raise BadValue("a path has no NUL")
    if not value:
        raise BadValue("the path is empty")
    try:
        return context.directory / Path(value).expanduser()
    except RuntimeError:
        raise BadValue(f"{value!r}: that home directory is not known") from None


def path() -> ValueType[Path | None]:
    """A path; a relative one starts at the directory of the file that names it; ``~`` is the home directory."""
    return ValueType(name="path", parse=resolve)


def octal_mode() -> ValueType[int]:
    """A file mode in octal, such as 0660."""

    def parse(value: str, _: Context) -> int:
        if not re.fullmatch(r"0?[0-7]{3}", value):
            raise BadValue(f"{value!r} is not a mode in octal such as 0660")
        return int(value, 8)

    return ValueType(name="mode", unit="octal", bounds="0000 to 0777", parse=parse, show=lambda value: f"{value:04o}")


def timezone() -> ValueType[str]:
    """A time-zone name of the IANA database (``Europe/Berlin``), ``UTC``, or ``local``."""

    def parse(value: str, _: Context) -> str:
        if value != "local":
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise BadValue(f"{value!r} is not a time zone such as UTC, local or Europe/Berlin") from None
        return value

    return ValueType(name="timezone", bounds="local, UTC or an IANA name", parse=parse)
