"""Listen lines: Twisted's endpoint strings, read into frozen addresses that the runtime binds.

Read here and not with serverFromString: that raises a bare ValueError or TypeError without a place,
needs Twisted, and hides the socket that a reload and workers must keep. The syntax is Twisted's
(twisted.internet.endpoints, "strports"): fields between colons, ``\\`` quotes the next character,
``name=value`` for the named ones. ``udp:`` is ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.values import nearest
from netsvc.errors import BadValue

DEFAULT_BACKLOG = 1024  # connections; the kernel caps it at net.core.somaxconn


@frozen
class Tls:
    """Certificates of a TLS listener.

    :param certificate: PEM file of the certificate (and, if `chain` is None, of what it has of the chain).
    :param key: PEM file of the private key.
    :param chain: PEM file of the intermediate certificates, or None.
    """

    certificate: Path
    key: Path
    chain: Path | None = None


@frozen(kw_only=True)
class TcpAddress:
    """A TCP listener. Port 0 is a free port. An empty interface is every IPv4 address.

    :param haproxy: the connections begin with a PROXY header (from trusted sources only).
    """

    port: int
    interface: str = ""
    backlog: int = DEFAULT_BACKLOG
    tls: Tls | None = None
    haproxy: bool = False

    def __str__(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}:{_host_port(self.interface, self.port)}"


@frozen(kw_only=True)
class UdpAddress:
    """A UDP listener."""

    port: int
    interface: str = ""

    def __str__(self) -> str:
        return f"udp:{_host_port(self.interface, self.port)}"


@frozen(kw_only=True)
class UnixAddress:
    """A UNIX stream listener; mode is the socket file's."""

    path: Path
    mode: int = 0o666
    backlog: int = DEFAULT_BACKLOG
    haproxy: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}"


@frozen(kw_only=True)
class SystemdAddress:
    """A socket that systemd bound and passed in: by its index or its FileDescriptorName (sd_listen_fds(3)).

    Whether it is stream or datagram, v4, v6 or unix, is asked of the socket itself.
    """

    index: int | None = None
    name: str | None = None
    tls: Tls | None = None
    haproxy: bool = False

    def __str__(self) -> str:
        return f"systemd:{self.name if self.name is not None else self.index}"


ListenAddress = TcpAddress | UdpAddress | UnixAddress | SystemdAddress


def _host_port(interface: str, port: int) -> str:
    return f"[{interface}]:{port}" if ":" in interface else f"{interface or '*'}:{port}"


@frozen
class _Field:
    """One field between colons, and where it begins."""

    at: int
    name: str | None
    value: str


def _fields(line: str) -> list[_Field]:
    """Split at colons; a backslash quotes what follows; the first unquoted '=' ends a name."""
    fields: list[_Field] = []
    at, name, text, position = 0, None, "", 0
    while position <= len(line):
        character = line[position : position + 1]
        if character == "\\" and position + 1 < len(line):
            position += 1
            text += line[position]
        elif character in (":", ""):
            fields.append(_Field(at, name, text))
            at, name, text = position + 1, None, ""
        elif character == "=" and name is None:
            name, text = text, ""
        else:
            text += character
        position += 1
    return fields


class _Arguments:
    """The fields of one listen line, taken one by one; what is left over at the end is a fault."""

    def __init__(self, fields: list[_Field], known: tuple[str, ...], positional: int) -> None:
        self._given: dict[str, _Field] = {}
        for index, one in enumerate(fields):
            name = one.name if one.name is not None else (known[index] if index < positional else None)
            if name is None:
                raise BadValue(f"{one.value!r} is one field too many", at=one.at)
            if name not in known:
                hint = nearest(name, known)
                raise BadValue(f"{name!r} is not an argument here ({', '.join(known)})", at=one.at, suggestion=hint)
            if name in self._given:
                raise BadValue(f"{name!r} is given twice", at=one.at)
            self._given[name] = one

    def text(self, name: str) -> str | None:
        one = self._given.get(name)
        return None if one is None else one.value

    def number(self, name: str, low: int, high: int, default: int | None = None, base: int = 10) -> int:
        one = self._given.get(name)
        if one is None or not one.value:
            if default is None:
                raise BadValue(f"the {name} is missing")
            return default
        digits = r"[0-7]{1,4}" if base == 8 else r"[0-9]{1,9}"
        if not re.fullmatch(digits, one.value) or not low <= int(one.value, base) <= high:
            what = "an octal mode" if base == 8 else f"a whole number from {low} to {high}"
            raise BadValue(f"{name} {one.value!r} is not {what}", at=one.at)
        return int(one.value, base)

    def interface(self) -> str:
        one = self._given.get("interface")
        if one is None or not one.value:
            return ""
        try:
            return str(ipaddress.ip_address(one.value.strip("[]")))
        except ValueError:
            raise BadValue(f"interface {one.value!r} is not an IP address", at=one.at) from None

    def file(self, name: str, context: Context) -> Path | None:
        one = self._given.get(name)
        return None if one is None else context.directory / Path(one.value).expanduser()


_TLS_ARGUMENTS = ("privateKey", "certKey", "extraCertChain")


def _tls(arguments: _Arguments, context: Context) -> Tls:
    key = arguments.file("privateKey", context) or context.directory / "server.pem"  # the default of ssl: endpoints
    certificate = arguments.file("certKey", context) or key
    chain = arguments.file("extraCertChain", context)
    for file in filter(None, (key, certificate, chain)):
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise BadValue(f"{str(file)!r} cannot be read: {error.strerror}") from None
    return Tls(certificate=certificate, key=key, chain=chain)


def _tcp(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("port", "interface", "backlog"), 1)
    return TcpAddress(
        port=arguments.number("port", 0, 65535),
        interface=arguments.interface(),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        haproxy=haproxy,
    )


def _tls_tcp(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("port", "interface", "backlog", *_TLS_ARGUMENTS), 1)
    return TcpAddress(
        port=arguments.number("port", 0, 65535),
        interface=arguments.interface(),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        tls=_tls(arguments, context),
        haproxy=haproxy,
    )


def _unix(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("address", "mode", "backlog", "lockfile"), 1)
    path = arguments.file("address", context)
    if path is None or not arguments.text("address"):
        raise BadValue("the path is missing")
    if len(bytes(path)) > 107:  # sun_path has 108 octets with its NUL, unix(7)
        raise BadValue(f"the path {str(path)!r} is longer than 107 octets")
    return UnixAddress(
        path=path,
        mode=arguments.number("mode", 0, 0o777, 0o666, base=8),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        haproxy=haproxy,
    )


def _systemd(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("domain", "index", "name", "tls", *_TLS_ARGUMENTS), 1)
    index, name = arguments.text("index"), arguments.text("name")
    if (index is None) == (name is None):
        raise BadValue("give either index=NUMBER or name=FileDescriptorName")
    wants_tls = any(arguments.text(one) is not None for one in _TLS_ARGUMENTS)
    return SystemdAddress(
        index=None if index is None else arguments.number("index", 0, 65535),
        name=name,
        tls=_tls(arguments, context) if wants_tls else None,
        haproxy=haproxy,
    )


def _udp(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("port", "interface"), 1)
    return UdpAddress(port=arguments.number("port", 0, 65535), interface=arguments.interface())


_SCHEMES: dict[str, Callable[[list[_Field], Context, bool], ListenAddress]] = {
    "tcp": _tcp,
    "tls": _tls_tcp,
    "ssl": _tls_tcp,
    "unix": _unix,
    "systemd": _systemd,
    "udp": _udp,
}


def parse_listen(line: str, context: Context) -> ListenAddress:
    """Read one listen line; raises BadValue with the offset of the field at fault."""
    fields = _fields(line)
    haproxy = fields[0].value == "haproxy"
    if haproxy:
        fields = fields[1:]
    scheme = fields[0].value if fields else ""
    known = tuple(_SCHEMES) if haproxy else (*_SCHEMES, "haproxy")
    if scheme not in _SCHEMES or fields[0].name is not None or (haproxy and scheme == "udp"):
        at = fields[0].at if fields else len(line)
        hint = nearest(scheme, known)
        raise BadValue(f"{scheme!r} is not a kind of endpoint ({', '.join(known)})", at=at, suggestion=hint)
    return _SCHEMES[scheme](fields[1:], context, haproxy)


def endpoints() -> ValueType[tuple[ListenAddress, ...]]:
    """One listen line or more, each on a line of its own."""

    def parse(value: str, context: Context) -> tuple[ListenAddress, ...]:
        found: list[ListenAddress] = []
        offset = 0
        for line in value.split("\n"):
            stripped = line.strip()
            at = offset + len(line) - len(line.lstrip())
            offset += len(line) + 1
            if not stripped:
                continue
            try:
                address = parse_listen(stripped, context)
            except BadValue as bad:
                raise BadValue(bad.message, at=at + bad.at, suggestion=bad.suggestion) from None
            if address in found:
                raise BadValue(f"{stripped!r} stands twice", at=at)
            found.append(address)
        if not found:
            raise BadValue("there is no endpoint; write one such as tcp:8000:interface=127.0.0.1")
        return tuple(found)

    return ValueType(
        name="endpoints",
        bounds="tcp: tls: ssl: unix: systemd: haproxy: udp:, one a line",
        parse=parse,
        show=lambda addresses: "\n".join(map(str, addresses)),
        multiline=True,
    )
