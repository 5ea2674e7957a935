r"""Listen lines: Twisted's endpoint strings, read into frozen addresses that the runtime binds.

Read here and not with serverFromString: that raises a bare ValueError or TypeError without a place,
needs Twisted, and hides the socket that a reload and workers must keep. ``udp:`` is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from netsvc.config.endpoint_fields import Arguments, Field, listen_line, split_fields
from netsvc.config.options import Context, ValueType
from netsvc.config.tls import TLS_ARGUMENTS, TlsPlace, names_tls, read_tls, tls_fields
from netsvc.config.values import nearest
from netsvc.errors import BadValue, together

DEFAULT_BACKLOG = 1024  # connections; the kernel caps it at net.core.somaxconn
MAX_UNIX_PATH = 107  # octets; sun_path has 108 with its NUL, unix(7)
DEFAULT_MODE = 0o666  # of a UNIX socket's file, as in Twisted's unix: endpoints


@frozen(kw_only=True)
class TcpAddress:
    """A TCP listener. Port 0 is a free port. An empty interface is every IPv4 address.

    :param haproxy: the connections begin with a PROXY header (from trusted sources only).
    """

    port: int
    interface: str = ""
    backlog: int = DEFAULT_BACKLOG
    tls: TlsPlace | None = None
    haproxy: bool = False

    def __str__(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}:{_host_port(self.interface, self.port)}"

    @property
    def endpoint(self) -> str:
        """The listen line that means this."""
        backlog = self.backlog if self.backlog != DEFAULT_BACKLOG else None
        return listen_line(
            self.haproxy,
            "tls" if self.tls else "tcp",
            self.port,
            interface=self.interface,
            backlog=backlog,
            **tls_fields(self.tls),
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
        return listen_line(False, "udp", self.port, interface=self.interface)


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
        return listen_line(self.haproxy, "unix", self.path, mode=mode, backlog=backlog)


@frozen(kw_only=True)
class SystemdAddress:
    """A socket that systemd bound and passed in: by its index or its FileDescriptorName (sd_listen_fds(3)).

    Whether it is stream or datagram, v4, v6 or unix, is asked of the socket itself.
    """

    index: int | None = None
    name: str | None = None
    tls: TlsPlace | None = None
    haproxy: bool = False

    def __str__(self) -> str:
        return f"systemd:{self.name if self.name is not None else self.index}"

    @property
    def endpoint(self) -> str:
        """The listen line that means this."""
        return listen_line(self.haproxy, "systemd", index=self.index, name=self.name, **tls_fields(self.tls))


ListenAddress = TcpAddress | UdpAddress | UnixAddress | SystemdAddress


def _host_port(interface: str, port: int) -> str:
    return f"[{interface}]:{port}" if ":" in interface else f"{interface or '*'}:{port}"


def _tcp(fields: list[Field], _: Context, haproxy: bool) -> ListenAddress:
    arguments = Arguments(fields, ("port", "interface", "backlog"), positional=3)  # as Twisted has them
    return TcpAddress(
        port=arguments.number("port", 0, 65535),
        interface=arguments.interface(),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        haproxy=haproxy,
    )


def _tls_tcp(fields: list[Field], context: Context, haproxy: bool) -> ListenAddress:
    # Only the port may go without its name: Twisted's order (key, certificate, method, interface) invites mistakes.
    arguments = Arguments(fields, ("port", "interface", "backlog", *TLS_ARGUMENTS))
    return TcpAddress(
        port=arguments.number("port", 0, 65535),
        interface=arguments.interface(),
        backlog=arguments.number("backlog", 1, 65535, DEFAULT_BACKLOG),
        tls=read_tls(arguments, context),
        haproxy=haproxy,
    )


def _unix(fields: list[Field], context: Context, haproxy: bool) -> ListenAddress:
    # Twisted's lockfile is accepted and of no effect: whether a socket file is stale is the runtime's to find out.
    arguments = Arguments(fields, ("address", "mode", "backlog", "lockfile"), positional=4)
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


def _systemd(fields: list[Field], context: Context, haproxy: bool) -> ListenAddress:
    arguments = Arguments(fields, ("domain", "index", "name", "tls", *TLS_ARGUMENTS))
    arguments.word("domain", ("INET", "INET6", "UNIX"))  # Twisted asks for it; we ask the socket
    index, name = arguments.text("index"), arguments.text("name")
    if (index is None) == (name is None):
        raise BadValue("give either index=NUMBER or name=FileDescriptorName")
    wants_tls = arguments.word("tls", ("yes", "no"))
    has_keys = names_tls(arguments)
    if wants_tls == "no" and has_keys:
        raise BadValue("tls=no contradicts the keys that are named", at=arguments.at("tls"))
    return SystemdAddress(
        index=None if index is None else arguments.number("index", 0, 65535),
        name=name,
        tls=read_tls(arguments, context) if wants_tls == "yes" or has_keys else None,
        haproxy=haproxy,
    )


def _udp(fields: list[Field], _: Context, __: bool) -> ListenAddress:
    arguments = Arguments(fields, ("port", "interface"))
    return UdpAddress(port=arguments.number("port", 0, 65535), interface=arguments.interface())


_SCHEMES: dict[str, Callable[[list[Field], Context, bool], ListenAddress]] = {
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
    fields = split_fields(line)
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
