"""Binds listen addresses to sockets. The runtime owns every socket: services never see one.

Sockets are made here and adopted by the reactor, because Twisted shuts down listeners that it made
itself, which would close them for the workers and reloads that share them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable

from attrs import frozen

from netsvc.config.listen import ListenAddress, SystemdAddress, TcpAddress, UdpAddress, UnixAddress
from netsvc.config.tls import TlsPlace
from netsvc.errors import StartError

_HINTS = {
    errno.EACCES: " (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
    errno.EADDRINUSE: " (another program listens there)",
    errno.EADDRNOTAVAIL: " (this machine has no such address)",
}


@frozen(eq=False)
class BoundSocket:
    """A socket that listens (or, for datagrams, is bound).

    :param address: the listen line it came from.
    :param socket: non-blocking, close-on-exec.
    :param path: the socket file to remove at the end, with its (device, inode); None for others.
    """

    address: ListenAddress
    socket: socket.socket
    path: tuple[str, tuple[int, int]] | None = None

    @property
    def datagram(self) -> bool:
        """Whether it takes datagrams rather than connections."""
        return self.socket.type == socket.SOCK_DGRAM

    @property
    def tls(self) -> TlsPlace | None:
        """The certificates, for a TLS listener."""
        return getattr(self.address, "tls", None)

    @property
    def haproxy(self) -> bool:
        """Whether connections begin with a PROXY header."""
        return getattr(self.address, "haproxy", False)

    @property
    def on_loopback(self) -> bool:
        """Whether only loopback traffic can arrive. A wildcard counts as loopback: the kernel itself drops
        loopback sources that come in by another interface ("martians").
        """
        host = self.socket.getsockname()[0]
        return host.startswith("127.") or host in ("::1", "0.0.0.0", "::")  # noqa: S104 - a comparison

    def where(self) -> str:
        """The place in words, with the port that a port 0 became."""
        if self.socket.family == socket.AF_UNIX:
            name = self.socket.getsockname()
            return f"unix:{name}" if isinstance(name, str) else f"unix:@{name[1:].decode(errors='backslashreplace')}"
        host, port = self.socket.getsockname()[:2]
        scheme = "udp" if self.datagram else "tls" if self.tls else "tcp"
        return f"{scheme}:[{host}]:{port}" if ":" in host else f"{scheme}:{host}:{port}"

    def give(self, uid: int, gid: int) -> None:
        """Make its file another user's, whom it then lets in. Never another file than ours, and no link's target.

        :param uid: -1 leaves the user.
        :raises OSError: it cannot be done.
        """
        if self.path is None:
            return
        name, identity = self.path
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) == identity:
                os.chown(f"/proc/self/fd/{descriptor}", uid, gid)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close it and remove its file, if the file is still ours."""
        self.socket.close()
        if self.path is not None:
            name, identity = self.path
            with contextlib.suppress(OSError):
                found = os.lstat(name)
                if (found.st_dev, found.st_ino) == identity:
                    os.unlink(name)


def bind(address: ListenAddress, take_inherited: Callable[[SystemdAddress], list[int]]) -> list[BoundSocket]:
    """Bind one listen address.

    :param take_inherited: gives the descriptors that systemd passed for an address.
    :return: one bound socket; for ``systemd:name=`` as many as carry the name.
    :raise StartError: it cannot be had; the text is one clear line without the section.
    """
    try:
        match address:
            case TcpAddress():
                return [BoundSocket(address, _inet(address, socket.SOCK_STREAM, address.backlog))]
            case UdpAddress():
                return [BoundSocket(address, _inet(address, socket.SOCK_DGRAM, 0))]
            case UnixAddress():
                return [_unix(address)]
            case SystemdAddress():
                return [_inherited(address, descriptor) for descriptor in take_inherited(address)]
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise StartError(f"cannot listen on {address}: {error.strerror or error}{hint}") from None


def _inet(address: TcpAddress | UdpAddress, kind: socket.SocketKind, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.interface else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.interface, address.port))
        if kind == socket.SOCK_STREAM:
            made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


def _unix(address: UnixAddress) -> BoundSocket:
    name = str(address.path)
    _remove_stale(name)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        # Not by chmod: who can write in the directory could put a link to another file there in between.
        mask = os.umask(0o777 & ~address.mode)
        try:
            made.bind(name)
        finally:
            os.umask(mask)
        made.listen(address.backlog)
    except BaseException:
        made.close()
        raise
    found = os.lstat(name)
    return BoundSocket(address, made, (name, (found.st_dev, found.st_ino)))


def _remove_stale(name: str) -> None:
    """Remove a socket file on which nobody listens any more; leave everything else alone."""
    try:
        if not stat.S_ISSOCK(os.lstat(name).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(name) == errno.ECONNREFUSED:
            os.unlink(name)


def _inherited(address: SystemdAddress, descriptor: int) -> BoundSocket:
    made = socket.socket(fileno=os.dup(descriptor))  # systemd's own stays open for a restart to find
    made.setblocking(False)
    made.set_inheritable(False)
    if made.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        made.close()
        raise StartError(f"cannot listen on {address}: the socket is neither a stream nor a datagram socket")
    if made.type == socket.SOCK_DGRAM and made.family == socket.AF_UNIX:
        made.close()
        raise StartError(f"cannot listen on {address}: the socket is a UNIX datagram socket, which no service speaks")
    if made.type == socket.SOCK_STREAM and not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        made.close()
        raise StartError(f"cannot listen on {address}: the socket does not listen (Accept= must be no)")
    return BoundSocket(address, made)
