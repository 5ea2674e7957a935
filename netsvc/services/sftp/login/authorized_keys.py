"""The authorized_keys file: the keys of one user, and on which conditions each is taken (sshd(8)). No I/O.

    ssh-ed25519 AAAA... comment
    from="192.0.2.0/24,!192.0.2.9",expiry-time="20271231" ssh-rsa AAAA...

An option that limits what a key may do, and that nothing here knows, makes its line unused: it must not be more than
its writer wanted. What only limits things that are not offered anyway (terminals, forwarding) is fine.
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from attrs import evolve, frozen

from netsvc.services.sftp.login import public_keys
from netsvc.services.sftp.login.public_keys import PublicKey

LONGEST_FILE = 1 << 20  # octets

_HARMLESS = frozenset(
    {
        *("restrict", "pty", "port-forwarding", "agent-forwarding", "x11-forwarding", "user-rc"),
        *("no-pty", "no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-user-rc"),
        *("permitopen", "permitlisten"),
    }
)
_OPTION = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,|\Z)')
_TIME = re.compile(r"(\d{8})(\d{4}(?:\d\d)?)?(Z?)", re.ASCII)
_PATTERN = re.compile(r"!?[0-9A-Fa-f.:*?]+(?:/\d{1,3})?", re.ASCII)
_KINDS = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[^ \t]*[ \t]")


@frozen
class AuthorizedKey:
    """One key and its conditions.

    :param sources: patterns of addresses, one of which must fit; empty for any address.
    :param expires: seconds since the epoch; None for never.
    :param touched: whether its token must have been touched.
    :param verified: whether its token must have known who touched it.
    """

    key: PublicKey
    sources: tuple[str, ...] = ()
    expires: float | None = None
    touched: bool = True
    verified: bool = False

    def why_not(self, host: str | None, now: float) -> str | None:
        """Why it is not taken from a peer at a time (seconds since the epoch); None when it is."""
        if self.expires is not None and now >= self.expires:
            return "the key has expired"
        if self.sources and not _fits(self.sources, host):
            return "the key is not for this address"
        return None


def parse(octets: bytes) -> tuple[dict[bytes, AuthorizedKey], tuple[str, ...]]:
    """The keys of a file, by what is sent of them; and why which lines are not used."""
    found: dict[bytes, AuthorizedKey] = {}
    faults = []
    for number, line in _lines(octets):
        try:
            one = _read_line(line)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
        else:
            found.setdefault(one.key.blob, one)
    return found, tuple(faults)


def _lines(octets: bytes) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(octets.decode("utf-8", "replace").split("\n"), 1):
        stripped = line.strip(" \t\r")
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _read_line(line: str) -> AuthorizedKey:
    options = ""
    if not _KINDS.match(line):
        options, line = _split_options(line)
    kind, _, rest = line.partition(" ")
    written = rest.split(maxsplit=1)
    try:
        blob = binascii.a2b_base64(written[0], strict_mode=True)
    except (IndexError, ValueError):
        raise ValueError("there is no key in it") from None
    try:
        key = public_keys.read(blob)
    except ValueError as error:
        raise ValueError(str(error) or "a damaged key") from None
    if key.kind != kind.encode():
        raise ValueError("the key is of another kind than it says")
    return _with_options(AuthorizedKey(key), options)


def _split_options(line: str) -> tuple[str, str]:
    """The options of a line, and what follows."""
    quoted = False
    for at, character in enumerate(line):
        if character == '"' and line[at - 1 : at] != "\\":
            quoted = not quoted
        elif character in " \t" and not quoted:
            return line[:at], line[at:].strip().replace("\t", " ")
    raise ValueError("there is no key in it")


def _with_options(one: AuthorizedKey, options: str) -> AuthorizedKey:
    at = 0
    while at < len(options):
        found = _OPTION.match(options, at)
        if found is None:
            raise ValueError("its options are malformed")
        at = found.end()
        name, value = found[1].lower(), found[2]
        if name == "from" and value:
            one = evolve(one, sources=_sources(value))
        elif name == "expiry-time" and value:
            expires = _time(value)
            one = evolve(one, expires=expires if one.expires is None else min(one.expires, expires))
        elif name == "no-touch-required" and value is None:
            one = evolve(one, touched=False)
        elif name == "verify-required" and value is None:
            one = evolve(one, verified=True)
        elif name not in _HARMLESS and (name, value) != ("command", "internal-sftp"):
            raise ValueError(f"the option {found[1]} is not known here")
    return one


def _sources(value: str) -> tuple[str, ...]:
    patterns = tuple(value.split(","))
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError("from= has a pattern that is no address (names of hosts are not looked up)")
        if "/" in pattern:
            ipaddress.ip_network(pattern.removeprefix("!"))
    return patterns


def _fits(patterns: tuple[str, ...], host: str | None) -> bool:
    """Whether an address fits one pattern, and none with a `!`."""
    if host is None:
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    fits = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if address in ipaddress.ip_network(bare) if "/" in bare else fnmatchcase(str(address), bare.lower()):
            if bare != pattern:
                return False
            fits = True
    return fits


def _time(value: str) -> float:
    """YYYYMMDD[HHMM[SS]][Z] in seconds since the epoch; without a Z in local time."""
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError("expiry-time is not YYYYMMDD[HHMM[SS]][Z]")
    try:
        read = datetime.strptime(f"{found[1]}{(found[2] or '').ljust(6, '0')}", "%Y%m%d%H%M%S")
    except ValueError:
        raise ValueError("expiry-time is no time") from None
    return (read.replace(tzinfo=UTC) if found[3] else read).timestamp()
