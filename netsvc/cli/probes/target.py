"""What to probe: URLs such as ``echo+udp://[::1]:9090`` become targets. No I/O."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen

# Scheme -> its port when none is given (IANA), or None where there is no such port.
STREAM_PORTS: dict[str, int | None] = {
    "echo": 7,
    "discard": 9,
    "daytime": 13,
    "qotd": 17,
    "chargen": 19,
    "time": 37,
    "http": 80,
    "https": 443,
    "greeter": None,
    "filetransfer": None,
    "tcp": None,
}
DATAGRAM_SCHEMES = ("echo", "discard", "daytime", "qotd", "chargen", "time")
SCHEMES = tuple(STREAM_PORTS) + tuple(f"{scheme}+udp" for scheme in DATAGRAM_SCHEMES)


class BadTargetError(ValueError):
    """A URL that cannot be probed. Its text is one line for people."""


@frozen
class Target:
    """One service at one address.

    :param url: as the person gave it.
    :param scheme: the service, without ``+udp``.
    :param datagram: whether over UDP.
    :param host: a name or an address, without brackets.
    :param port: 1 to 65535.
    :param path: path and query of an HTTP URL, else empty.
    """

    url: str
    scheme: str
    datagram: bool
    host: str
    port: int
    path: str = ""


def parse_target(url: str) -> Target:
    """Read a URL. Raises BadTargetError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadTargetError(f"{url!r}: {error}") from None
    scheme, datagram = parts.scheme.removesuffix("+udp"), parts.scheme.endswith("+udp")
    if parts.scheme not in SCHEMES:
        raise BadTargetError(f"{url!r} has no scheme that can be probed ({', '.join(SCHEMES)})")
    if not host:
        raise BadTargetError(f"{url!r} has no host")
    if parts.username is not None or parts.password is not None:
        raise BadTargetError(f"a URL for {host!r} has a user name or a password; probes log in nowhere")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise BadTargetError(f"{url!a} has characters that no URL has")
    if port is None:
        port = STREAM_PORTS[scheme]
    if not port:
        raise BadTargetError(f"{url!r} needs a port, such as {parts.scheme}://{host}:9999")
    web = scheme in ("http", "https")
    if not web and (parts.path not in ("", "/") or parts.query):
        raise BadTargetError(f"{url!r}: only http and https have a path")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "") if web else ""
    return Target(url, scheme, datagram, host, port, path)
