r"""Listen lines: Twisted's endpoint strings, read into frozen addresses that the runtime binds.

Read here and not with serverFromString: that raises a bare ValueError or TypeError without a place,
needs Twisted, and hides the socket that a reload and workers must keep. The syntax is Twisted's
(twisted.internet.endpoints, "strports"): fields between colons, ``\`` quotes the next character,
``name=value`` for the named ones. ``udp:`` is ours.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.values import nearest, resolve
from netsvc.errors import BadValue, together

DEFAULT_BACKLOG = 1024  # connections; the kernel caps it at net.core.somaxconn
MAX_UNIX_PATH = 107  # octets; sun_path has 108 with its NUL, unix(7)
DEFAULT_MODE = 0o666  # of a UNIX socket's file, as in Twisted's unix: endpoints


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

    @property
    def endpoint(self) -> str:
        """The listen line that means this."""
        backlog = self.backlog if self.backlog != DEFAULT_BACKLOG else None
        return _line(
            self.haproxy,
            "tls" if self.tls else "tcp",
            self.port,
            interface=self.interface,
            backlog=backlog,
            **_keys(self.tls),
        )


@frozen(kw_only=True)
class UdpAddress:
    """A UDP listener."""

    port: int
    interface: str = ""

    def __str__(self) -> str:
        return f"udp:{_host_port(self.interface, self.port)}"

    @property
    def endpoint(self) -> str:
        """The listen line that means this."""
        return _line(False, "udp", self.port, interface=self.interface)


@frozen(kw_only=True)
class UnixAddress:
    """A UNIX stream listener; mode is the socket file's."""

    path: Path
    mode: int = DEFAULT_MODE
    backlog: int = DEFAULT_BACKLOG
    haproxy: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def endpoint(self) -> str:
        """The listen line that means this."""
        mode = f"{self.mode:03o}" if self.mode != DEFAULT_MODE else None
        backlog = self.backlog if self.backlog != DEFAULT_BACKLOG else None
        return _line(self.haproxy, "unix", self.path, mode=mode, backlog=backlog)


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

    @property
    def endpoint(self) -> str:
        """The listen line that means this."""
        return _line(self.haproxy, "systemd", index=self.index, name=self.name, **_keys(self.tls))


ListenAddress = TcpAddress | UdpAddress | UnixAddress | SystemdAddress


def _host_port(interface: str, port: int) -> str:
    return f"[{interface}]:{port}" if ":" in interface else f"{interface or '*'}:{port}"


def _line(haproxy: bool, *positional: object, **named: object) -> str:
    fields = [_quoted(str(one)) for one in positional]
    fields += [f"{name}={_quoted(str(value))}" for name, value in named.items() if value is not None and value != ""]
    return ":".join(["haproxy", *fields] if haproxy else fields)


def _quoted(text: str) -> str:
    return re.sub(r"[\\:=]", r"\\\g<0>", text)


def _keys(tls: Tls | None) -> dict[str, Path | None]:
    return {} if tls is None else {"privateKey": tls.key, "certKey": tls.certificate, "extraCertChain": tls.chain}


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


_COLON = "a colon within a value (an IPv6 address) is written \\:"


class _Arguments:
    """The fields of one listen line, taken one by one; what is left over at the end is a fault.

    :param known: the names; the first `positional` of them may be given without a name, in that order.
    """

    def __init__(self, fields: list[_Field], known: tuple[str, ...], positional: int = 1) -> None:
        self._given: dict[str, _Field] = {}
        unnamed = 0
        for one in fields:
            name = one.name
            if name is None:
                if unnamed == positional:
                    raise BadValue(f"{one.value!r} is one field too many; {_COLON}", at=one.at)
                name = known[unnamed]
                unnamed += 1
            if name not in known:
                message = f"{name!r} is not an argument here ({', '.join(known)})"
                raise BadValue(message, at=one.at, suggestion=nearest(name, known))
            if name in self._given:
                hint = "" if one.name is not None else f"; {_COLON}"
                raise BadValue(f"{name!r} is given twice{hint}", at=one.at)
            self._given[name] = one

    def at(self, name: str) -> int:
        """Where the argument stands in the line; 0 when it is not there."""
        one = self._given.get(name)
        return 0 if one is None else one.at

    def text(self, name: str) -> str | None:
        one = self._given.get(name)
        if one is not None and not one.value:
            raise BadValue(f"the {name} is empty", at=one.at)
        return None if one is None else one.value

    def number(self, name: str, low: int, high: int, default: int | None = None, base: int = 10) -> int:
        value = self.text(name)
        if value is None:
            if default is None:
                raise BadValue(f"the {name} is missing")
            return default
        digits = r"[0-7]{1,4}" if base == 8 else r"[0-9]{1,9}"
        if not re.fullmatch(digits, value) or not low <= int(value, base) <= high:
            what = "an octal mode" if base == 8 else f"a whole number from {low} to {high}"
            raise BadValue(f"{name} {value!r} is not {what}", at=self.at(name))
        return int(value, base)

    def word(self, name: str, known: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value is not None and value not in known:
            hint = nearest(value, known)
            raise BadValue(f"{name} {value!r} is not one of {', '.join(known)}", at=self.at(name), suggestion=hint)
        return value

    def interface(self) -> str:
        one = self._given.get("interface")
        if one is None or not one.value:
            return ""
        try:
            return str(ipaddress.ip_address(one.value.strip("[]")))
        except ValueError:
            raise BadValue(f"interface {one.value!r} is not an IP address", at=one.at) from None

    def file(self, name: str, context: Context) -> Path | None:
        value = self.text(name)
        try:
            return None if value is None else resolve(value, context)
        except BadValue as bad:
            raise BadValue(bad.message, at=self.at(name)) from None


_TLS_ARGUMENTS = ("privateKey", "certKey", "extraCertChain")


def _tls(arguments: _Arguments, context: Context) -> Tls:
    key = arguments.file("privateKey", context) or context.directory / "server.pem"  # the default of ssl: endpoints
    certificate = arguments.file("certKey", context) or key
    chain = arguments.file("extraCertChain", context)
    for name, file in (("privateKey", key), ("certKey", certificate), ("extraCertChain", chain)):
        if file is not None:
            try:
                _check_readable(file)
            except OSError as error:
                raise BadValue(f"{str(file)!r} cannot be read: {error.strerror}", at=arguments.at(name)) from None
    return Tls(certificate=certificate, key=key, chain=chain)


def _check_readable(file: Path) -> None:
    # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "it is not a regular file")
    finally:
        os.close(descriptor)


def _tcp(fields: list[_Field], _: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("port", "interface", "backlog"), positional=3)  # as Twisted has them
    return TcpAddress(
        port=arguments.number("port", 0, 65535),
        interface=arguments.interface(),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        haproxy=haproxy,
    )


def _tls_tcp(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    # Only the port may go without its name: Twisted's order (key, certificate, method, interface) invites mistakes.
    arguments = _Arguments(fields, ("port", "interface", "backlog", *_TLS_ARGUMENTS))
    return TcpAddress(
        port=arguments.number("port", 0, 65535),
        interface=arguments.interface(),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        tls=_tls(arguments, context),
        haproxy=haproxy,
    )


def _unix(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    # Twisted's lockfile is accepted and of no effect: whether a socket file is stale is the runtime's to find out.
    arguments = _Arguments(fields, ("address", "mode", "backlog", "lockfile"), positional=4)
    arguments.word("lockfile", ("0", "1"))
    path = arguments.file("address", context)
    if path is None:
        raise BadValue("the path is missing")
    if len(bytes(path)) > MAX_UNIX_PATH:
        raise BadValue(f"the path {str(path)!r} is longer than {MAX_UNIX_PATH} octets", at=arguments.at("address"))
    return UnixAddress(
        path=path,
        mode=arguments.number("mode", 0, 0o777, DEFAULT_MODE, base=8),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        haproxy=haproxy,
    )


def _systemd(fields: list[_Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("domain", "index", "name", "tls", *_TLS_ARGUMENTS))
    arguments.word("domain", ("INET", "INET6", "UNIX"))  # Twisted asks for it; we ask the socket
    index, name = arguments.text("index"), arguments.text("name")
    if (index is None) == (name is None):
        raise BadValue("give either index=NUMBER or name=FileDescriptorName")
    wants_tls = arguments.word("tls", ("yes", "no"))
    has_keys = any(arguments.text(one) is not None for one in _TLS_ARGUMENTS)
    if wants_tls == "no" and has_keys:
        raise BadValue("tls=no contradicts the keys that are named", at=arguments.at("tls"))
    return SystemdAddress(
        index=None if index is None else arguments.number("index", 0, 65535),
        name=name,
        tls=_tls(arguments, context) if wants_tls == "yes" or has_keys else None,
        haproxy=haproxy,
    )


def _udp(fields: list[_Field], _: Context, __: bool) -> ListenAddress:
    arguments = _Arguments(fields, ("port", "interface"))
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
    if "\0" in line:
        raise BadValue("an endpoint has no NUL", at=line.index("\0"))
    fields = _fields(line)
    haproxy = fields[0].name is None and fields[0].value == "haproxy"
    if haproxy:
        fields = fields[1:]
    known = tuple(one for one in _SCHEMES if one != "udp") if haproxy else (*_SCHEMES, "haproxy")
    if not fields:
        raise BadValue(f"haproxy: goes before another endpoint ({', '.join(known)})", at=len(line))
    scheme = fields[0].value
    if scheme not in known or fields[0].name is not None:
        hint = f"tcp:{line}" if line.isascii() and line.isdigit() else nearest(scheme, known)
        message = f"{line.partition(':')[0]!r} is not a kind of endpoint ({', '.join(known)})"
        raise BadValue(
            message if not haproxy else f"{scheme!r} cannot follow haproxy:", at=fields[0].at, suggestion=hint
        )
    return _SCHEMES[scheme](fields[1:], context, haproxy)


def endpoints() -> ValueType[tuple[ListenAddress, ...]]:
    """One listen line or more, each on a line of its own."""

    def parse(value: str, context: Context) -> tuple[ListenAddress, ...]:
        found: dict[ListenAddress, None] = {}  # in the order of their lines
        wrong: list[BadValue] = []
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
                wrong.append(BadValue(bad.message, at=at + bad.at, suggestion=bad.suggestion))
                continue
            if address in found:
                wrong.append(BadValue(f"{stripped!r} stands twice", at=at))
            found[address] = None
        if wrong:
            raise together(wrong)
        if not found:
            raise BadValue("there is no endpoint; write one such as tcp:8000:interface=127.0.0.1")
        return tuple(found)

    return ValueType(
        name="endpoints",
        bounds="tcp: tls: ssl: unix: systemd: haproxy: udp:, one a line",
        parse=parse,
        show=lambda addresses: "\n".join(one.endpoint for one in addresses),
        multiline=True,
    )
